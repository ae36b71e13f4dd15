import io
import time

import numpy as np
import pytest
from PIL import Image

from attacks import further_files
from attacks.further_files import encoded
from attacks.jpeg_files import photo
from tl_infer import ImageError, ImageTooLargeError, Limits, load_image

LIMITS = Limits(formats=("jpeg2000",))
FORMS = {
    "one tile": {},
    "codestream": {"no_jp2": True},
    "tiles": {"tile_size": (32, 32)},
    "lossy": {"irreversible": True, "quality_mode": "rates", "quality_layers": [40, 20, 5]},
    "precincts": {"precinct_size": (64, 64), "codeblock_size": (16, 16)},
    "progression": {"progression": "PCRL", "num_resolutions": 3},
}
forms = pytest.mark.parametrize("options", FORMS.values(), ids=FORMS)


@forms
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_the_pixels_are_pillows(options, mode):
    data = encoded(photo(128, 96).convert(mode), "JPEG2000", **options)
    with Image.open(io.BytesIO(data)) as image:
        np.testing.assert_array_equal(load_image(data, LIMITS), np.asarray(image.convert("RGB")))


def test_reversible_files_give_the_stored_pixels():
    np.testing.assert_array_equal(load_image(encoded(photo(), "JPEG2000"), LIMITS), np.asarray(photo()))
    clear = photo().convert("RGBA")
    clear.putalpha(0)
    assert (load_image(encoded(clear, "JPEG2000"), LIMITS) == 255).all()


def test_sixteen_bits_of_grey_are_scaled_whatever_the_bit_depth():
    values = np.array([[0, 128, 129, 257], [32768, 65535, 4095, 5]], dtype=np.uint16).repeat(8, 0).repeat(8, 1)
    data = encoded(Image.fromarray(values), "JPEG2000")
    expected = (values.astype(int) * 255 + 32767) // 65535
    for limits in (LIMITS, Limits(formats=("jpeg2000",), bit_depth=12)):
        np.testing.assert_array_equal(load_image(data, limits)[..., 0], expected)


@forms
def test_a_cut_file_is_refused_wherever_it_is_cut(options):
    whole = encoded(photo(128, 96), "JPEG2000", **options)
    for position in [*range(0, len(whole), len(whole) // 100), len(whole) - 1]:
        with pytest.raises(ImageError, match=r"empty|known format|truncated"):
            load_image(whole[:position], LIMITS)


def test_a_cut_codestream_is_refused_even_with_an_end_marker():
    whole = encoded(photo(128, 96), "JPEG2000", no_jp2=True, tile_size=(32, 32))
    for position in range(60, len(whole) - 2, 97):
        with pytest.raises(ImageError, match=r"truncated|no marker where one is expected"):
            load_image(whole[:position] + b"\xff\xd9", LIMITS)
    parts = [place for place in range(len(whole)) if whole[place : place + 4] == b"\xff\x90\0\x0a"]
    with pytest.raises(ImageError, match="truncated: 11 of 12 tiles are there"):
        load_image(whole[: parts[-1]] + b"\xff\xd9", LIMITS)


def test_every_changed_byte_gives_an_image_or_one_error():
    whole = encoded(photo(24, 17), "JPEG2000")
    images = 0
    for position in range(0, len(whole), 7):
        changed = bytearray(whole)
        changed[position] ^= 0x55
        try:
            images += load_image(bytes(changed), LIMITS).ndim == 3
        except ImageError as error:
            assert error.reason.isprintable()  # noqa: PT017 - either outcome is right
    assert images


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (further_files.jpeg2000(7000, 7000, precinct=0), "blocks, the limit is 2000000"),
        (further_files.jpeg2000(7000, 7000, block=2), "blocks, the limit is 2000000"),
        (further_files.jpeg2000(2048, 2048, layers=65_535, precinct=6), "packets, the limit is 10000000"),
        (further_files.jpeg2000(7000, 16), "a JPEG 2000 image of 191844 tiles, the limit is 4096"),
        (further_files.jpeg2000(64, 16), "truncated: 1 of 16 tiles are there"),
        (further_files.many_boxes(1_000_000), "more than 1000 boxes"),
        (further_files.many_header_boxes(1_000_000), "100000 bytes of header"),
    ],
)
def test_what_is_too_much_is_refused_before_it_is_decoded(data, message):
    started = time.process_time()
    with pytest.raises(ImageError, match=message):
        load_image(data, LIMITS)
    assert time.process_time() - started < 0.5


def test_the_size_in_the_codestream_counts_too():
    whole = encoded(Image.new("L", (64, 64)), "JPEG2000")
    place = whole.index(b"ihdr") + 4
    smaller = whole[:place] + (16).to_bytes(4, "big") + whole[place + 4 :]
    with pytest.raises(ImageError, match="it declares 64 x 16 and 64 x 64 pixels"):
        load_image(smaller, LIMITS)
    with pytest.raises(ImageTooLargeError, match="100000 x 100000 pixels, the limit is 50000000 in all"):
        load_image(further_files.jpeg2000(100_000, 100_000), LIMITS)
    with pytest.raises(ImageTooLargeError, match="64 x 64 pixels, the limit is 4095 in all"):
        load_image(whole, Limits(formats=("jpeg2000",), max_pixels=4095))
