import io

import numpy as np
import pytest
from PIL import Image

from attacks import tiff_files
from attacks.jpeg_files import many_scans, photo
from tl_infer import ImageError, ImageTooLargeError, Limits, load_image

COMPRESSIONS = (None, "tiff_lzw", "tiff_deflate", "packbits", "jpeg", "zstd")


def encoded(**options: object) -> bytes:
    buffer = io.BytesIO()
    photo(128, 96).save(buffer, "TIFF", **options)
    return buffer.getvalue()


def test_tiles_count_as_what_they_decode_to():
    with pytest.raises(ImageTooLargeError, match="676000000 pixels in tiles of 26000 x 26000, the limit is 50000000"):
        load_image(tiff_files.huge_tile())
    with pytest.raises(ImageTooLargeError, match="65536 pixels in tiles of 256 x 256, the limit is 1000 in all"):
        load_image(tiff_files.huge_tile(16, 256), Limits(max_pixels=1000))
    assert load_image(tiff_files.huge_tile(16, 256, stored_rows=256)).shape == (16, 16, 3)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (tiff_files.many_strips(100_000), "100000 strips or tiles, expected 16 at most"),
        (tiff_files.two_widths(16, 20_000), "TIFF tag 256 is there twice"),
        (tiff_files.long_tag(1_000_001), "TIFF tag 338 has 1000001 values, the limit is 1000000"),
        (
            b"II+\0\x08\0\0\0" + (16).to_bytes(8, "little") + (1 << 17).to_bytes(8, "little"),
            "a TIFF directory of 131072 entr",
        ),
        (b"MM\0+" + bytes(100), "a big-endian BigTIFF: not supported"),
        (b"II*\0" + bytes(4), "the directory of the TIFF ends after the file"),
        (tiff_files.tiff([(256, 4, [5])]), "a TIFF without a width or height"),
        (tiff_files.tiff([(256, 4, [5]), (257, 4, [5]), (322, 4, [0])]), "tiles of 0 x 0 pixels"),
    ],
)
def test_a_layout_that_does_not_fit_is_refused(data, message):
    with pytest.raises(ImageError, match=message):
        load_image(data)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_cut_file_is_refused(compression):
    whole = encoded(compression=compression)
    load_image(whole)
    for position in range(0, len(whole), len(whole) // 50):
        with pytest.raises(ImageError, match=r"empty|known format|truncated|damaged|without"):
            load_image(whole[:position])


def test_old_jpeg_compression_is_held_to_its_end():
    whole = tiff_files.old_jpeg()
    assert load_image(whole).shape == (48, 64, 3)
    for cut in range(1, 1200, 100):
        with pytest.raises(ImageError, match="truncated"):
            load_image(whole[:-cut])


def test_scans_inside_a_tiff_are_counted(monkeypatch):
    monkeypatch.setattr("attacks.tiff_files.encoded", lambda image, **_: many_scans(_progressive(image), 200))
    with pytest.raises(ImageError, match="a JPEG of more than 100 scans"):
        load_image(tiff_files.old_jpeg())


def _progressive(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", progressive=True)
    return buffer.getvalue()


def test_tiled_and_64_bit_files_are_read():
    plain = np.asarray(photo(128, 96))
    for options in ({"big_tiff": True}, {"tiffinfo": {322: 32, 323: 48}, "compression": "tiff_lzw"}):
        np.testing.assert_array_equal(load_image(encoded(**options)), plain)


@pytest.mark.parametrize("options", [{}, {"tiffinfo": {322: 32, 323: 32}}, {"tiffinfo": {278: 16}}])
def test_jpeg_data_that_is_cut_inside_a_tiff_is_refused(options):
    whole = encoded(compression="jpeg", **options)
    pixels = load_image(whole)
    start = whole.rindex(b"\xff\xda") + 14
    end = whole.index(b"\xff\xd9", start)
    for position in range(start, end - 16, 5):  # the length stays: zeros follow
        cut = whole[:position] + b"\xff\xd9" + bytes(end - position) + whole[end + 2 :]
        with pytest.raises(ImageError, match="truncated: coded data is missing"):
            load_image(cut)
    assert pixels.shape == (96, 128, 3)
