import functools
import io

import numpy as np
import pytest
from PIL import Image

from attacks import further_files
from attacks.further_files import container, encoded, size_property
from attacks.jpeg_files import photo
from tl_infer import ImageError, ImageTooLargeError, Limits, load_image
from tl_infer.formats.further.av1 import Coded, coded_av1
from tl_infer.formats.further.boxes import Reader

try:
    import pillow_heif
except ImportError:
    pillow_heif = None
else:
    pillow_heif.register_heif_opener()  # to write such files; nothing of ours needs it

needs_heif = pytest.mark.skipif(pillow_heif is None, reason="needs the extra heif (pillow-heif)")
BRANDS = [pytest.param(b"avif", id="avif"), pytest.param(b"heic", id="heic", marks=needs_heif)]
both = pytest.mark.parametrize("brand", BRANDS)
NAMES = {b"avif": "AVIF", b"heic": "HEIF"}


@functools.cache
def limits(brand: bytes) -> Limits:
    return Limits(formats=(brand.decode(),))


def written(brand: bytes, image: Image.Image, **options: object) -> bytes:
    lossless = {"quality": 100, "subsampling": "4:4:4"} if brand == b"avif" else {"quality": -1, "chroma": 444}
    return encoded(image, NAMES[brand], **{**lossless, **options})


@both
def test_the_pixels_are_those_of_the_decoder(brand):
    for size in ((64, 48), (17, 9), (333, 40)):
        data = written(brand, photo(*size))
        with Image.open(io.BytesIO(data)) as image:
            np.testing.assert_array_equal(load_image(data, limits(brand)), np.asarray(image.convert("RGB")))
    apart = load_image(written(brand, photo()), limits(brand)).astype(int) - np.asarray(photo())
    assert np.abs(apart).max() <= 4


@both
def test_transparency_is_laid_over_white_and_grey_repeated(brand):
    clear = photo().convert("RGBA")
    clear.putalpha(0)
    assert (load_image(written(brand, clear), limits(brand)) == 255).all()
    grey = load_image(written(brand, photo().convert("L")), limits(brand))
    assert np.ptp(grey, axis=2).max() <= 1
    assert np.abs(grey[..., 0].astype(int) - np.asarray(photo().convert("L"))).max() <= 4


@both
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_the_container_turns_the_image_and_exif_does_not_turn_it_again(brand, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = written(brand, photo(), exif=exif.tobytes())  # which becomes a property of the container
    upright = np.rot90(np.asarray(photo()), {1: 0, 3: 2, 6: -1, 8: 1}[orientation]).astype(int)
    found = load_image(data, limits(brand))
    assert found.shape == upright.shape
    assert np.abs(found - upright).max() <= 4


@both
def test_a_cut_file_is_refused_wherever_it_is_cut(brand):
    whole = written(brand, photo())
    load_image(whole, limits(brand))
    for position in [*range(0, len(whole), len(whole) // 120), len(whole) - 1]:
        with pytest.raises(ImageError, match=r"empty|known format|truncated"):
            load_image(whole[:position], limits(brand))


@both
def test_cut_coded_data_in_a_whole_container_is_refused(brand):
    kind, data, configuration = further_files.coded(brand, photo(256, 192))
    properties = [size_property(256, 192), configuration]
    assert load_image(container(brand, [(1, kind, data, properties)]), limits(brand)).shape == (192, 256, 3)
    for position in range(0, len(data) - 1, len(data) // 40):
        with pytest.raises(ImageError, match="damaged image"):
            load_image(container(brand, [(1, kind, data[:position], properties)]), limits(brand))


@both
def test_every_changed_byte_gives_an_image_or_one_error(brand):
    whole = written(brand, photo(24, 17))
    images = 0
    for position in range(0, len(whole), 7):
        changed = bytearray(whole)
        changed[position] ^= 0x55
        try:
            images += load_image(bytes(changed), limits(brand)).ndim == 3
        except ImageError as error:
            assert error.reason.isprintable()  # noqa: PT017 - either outcome is right
    assert images


@both
def test_what_is_coded_counts_not_what_is_declared(brand):
    with pytest.raises(ImageTooLargeError, match="1024 x 1024 pixels where 16 x 16 are declared"):
        load_image(further_files.larger_inside(brand), limits(brand))
    with pytest.raises(ImageTooLargeError, match="100000 x 100000 pixels, the limit is 50000000 in all"):
        load_image(further_files.larger_inside(brand, 64, 100_000), limits(brand))


@both
def test_grids_are_held_to_the_limits(brand):
    whole = further_files.grid(brand, 2, 2, [2, 3, 4, 5], declared_px=128)
    pixels = load_image(whole, limits(brand))
    assert pixels.shape == (128, 128, 3)
    assert pixels[..., 0].min() >= 250
    tight = Limits(formats=(brand.decode(),), max_pixels=128 * 128)
    assert load_image(whole, tight).shape == (128, 128, 3)
    with pytest.raises(ImageTooLargeError, match="128 x 128 pixels, the limit is 16383 in all"):
        load_image(whole, Limits(formats=(brand.decode(),), max_pixels=128 * 128 - 1))
    cells = list(range(2, 27))
    with pytest.raises(ImageTooLargeError, match="coded images of 102400 pixels, the limit is 65536"):
        load_image(further_files.grid(brand, 5, 5, cells, declared_px=128), tight)
    with pytest.raises(ImageError, match="a cell of its grid is there twice"):
        load_image(further_files.grid(brand, 2, 2, [2, 3, 4, 4], declared_px=128), limits(brand))
    with pytest.raises(ImageError, match="a grid of 255 x 255 cells has 4"):
        load_image(further_files.grid(brand, 255, 255, [2, 3, 4, 5], declared_px=128), limits(brand))


def test_frames_of_an_avif_are_limited():
    assert load_image(further_files.hidden_frames(0), limits(b"avif")).shape == (64, 64, 3)
    with pytest.raises(ImageError, match="101 frames in one image, the limit is 8"):
        load_image(further_files.hidden_frames(100), limits(b"avif"))


@needs_heif
def test_slices_of_a_heic_are_limited():
    with pytest.raises(ImageError, match="an image of 101 slices, the limit is 100"):
        load_image(further_files.repeated_slices(100), limits(b"heic"))


@both
@pytest.mark.parametrize(
    ("items", "references", "message"),
    [
        ([(1, b"av99", b"", [])], [], "an image of the form 'av99': not supported"),
        ([(1, b"iovl", b"", [size_property(16, 16)])], [], "an image of the form 'iovl': not supported"),
        ([(1, b"grid", b"\0" * 8, [])], [], "an image does not say its size once"),
        ([(1, b"grid", b"\0" * 3, [size_property(16, 16)])], [], "the layout of its grid is too short"),
        ([(1, b"grid", b"\0" * 8, [size_property(16, 16)])], [], "image of 0 x 0 pixels"),
        ([(1, b"grid", b"\0\0\0\0\0\x10\0\x10", [size_property(16, 16)])], [(b"dimg", 1, [9])], "no coded image"),
        ([(1, b"grid", b"\0\0\0\0\0\x10\0\x10", [size_property(16, 16)])], [(b"dimg", 1, [1])], "no coded image"),
    ],
)
def test_what_is_no_single_image_is_refused(brand, items, references, message):
    with pytest.raises(ImageError, match=message):
        load_image(container(brand, items, references), limits(brand))


@both
def test_sequences_and_repeated_boxes_are_refused(brand):
    whole = written(brand, photo())
    with pytest.raises(ImageError, match="it is an image sequence, expected a single image"):
        load_image(whole + further_files.box(b"moov"), limits(brand))
    place = whole.index(b"meta") - 4
    end = place + int.from_bytes(whole[place : place + 4], "big")
    twice = whole[:place] + further_files.box(b"meta", whole[place + 8 : end], further_files.box(b"pitm", bytes(6)))
    with pytest.raises(ImageError, match="the box 'pitm' is there twice"):
        load_image(twice + whole[end:], limits(brand))


def test_boxes_are_counted():
    many = further_files.box(b"ftyp", b"avif", bytes(4)) + further_files.box(b"free") * 200_000
    with pytest.raises(ImageError, match="more than 100000 boxes and entries, the limit"):
        load_image(many, limits(b"avif"))


def test_an_av1_sequence_header_that_says_all_it_can_say():
    """Source of the order and the widths: AV1 bitstream specification, 5.5.1 to 5.5.5."""
    bits = "000001"  # profile, no still picture, no reduced header, timing:
    bits += f"{1:032b}{30:032b}100101"  # units, scale, equal intervals of 5
    bits += f"1{2:05b}{1:032b}{9:05b}{9:05b}"  # decoder model: delays of 3 bits
    bits += f"1{1:05b}"  # delays of the display, two operating points:
    bits += f"{1:012b}{9:05b}1110110101{3:04b}"  # level with a tier, decoder model, delay
    bits += f"{0:012b}{7:05b}00"  # level without one, neither
    bits += f"{11:04b}{9:04b}{4000 - 1:012b}{600 - 1:010b}"
    header = int(bits.ljust(320, "0"), 2).to_bytes(40, "big")
    unit = bytes([1 << 3 | 2, len(header)]) + header
    frame = bytes([6 << 3 | 2, 1, 0])
    assert coded_av1(Reader(b"", "it"), unit + frame * 2) == Coded(4000, 600, 2)
    with pytest.raises(ImageError, match="a unit of its AV1 data ends after them"):
        coded_av1(Reader(b"", "it"), unit + bytes([6 << 3 | 2]) + b"\xff" * 9)
    with pytest.raises(ImageError, match="AV1 data without a frame"):
        coded_av1(Reader(b"", "it"), unit)
