import numpy as np
import pytest
from PIL import Image

from attacks.further_files import encoded, tga
from attacks.jpeg_files import photo
from tl_infer import ImageError, ImageTooLargeError, Limits, load_image

LIMITS = Limits(formats=("tga",))
TRANSLUCENT = photo().convert("RGBA")
TRANSLUCENT.putalpha(Image.linear_gradient("L").resize(TRANSLUCENT.size))
FORMS = {
    "colour": photo(),
    "grey": photo().convert("L"),
    "palette": photo().quantize(9),
    "alpha": TRANSLUCENT,
    "grey and alpha": TRANSLUCENT.convert("LA"),
}


@pytest.mark.parametrize("compression", [None, "tga_rle"])
@pytest.mark.parametrize("image", FORMS.values(), ids=FORMS)
def test_every_form_is_read_whole_and_refused_where_it_is_cut(image, compression):
    whole = encoded(image, "TGA", compression=compression)
    expected = Image.new("RGBA", image.size, "white")
    expected.alpha_composite(image.convert("RGBA"))
    pixels = load_image(whole, LIMITS)
    np.testing.assert_array_equal(pixels, np.asarray(expected.convert("RGB")))
    end = len(whole) - 26 if whole.endswith(b"TRUEVISION-XFILE.\0") else len(whole)
    for position in [*range(0, end, end // 100), end - 1]:
        with pytest.raises(ImageError, match=r"empty|known format|truncated|damaged"):
            load_image(whole[:position], LIMITS)


def test_the_fourth_byte_is_alpha_only_where_the_file_declares_it():
    values = bytes([10, 20, 30, 0, 40, 50, 60, 255])
    assert load_image(tga(2, 32, 2, 1, 0x20, values), LIMITS).tolist() == [[[30, 20, 10], [60, 50, 40]]]
    assert load_image(tga(2, 32, 2, 1, 0x28, values), LIMITS).tolist() == [[[255, 255, 255], [60, 50, 40]]]
    assert load_image(tga(3, 16, 2, 1, 0x20, b"\x07\x00\x09\xff"), LIMITS)[0, :, 0].tolist() == [7, 9]


def test_sixteen_bits_of_colour_are_opaque():
    red_and_blue = (31 << 10).to_bytes(2, "little") + (31 | 1 << 15).to_bytes(2, "little")
    for flags in (0x20, 0x21):
        assert load_image(tga(2, 16, 2, 1, flags, red_and_blue), LIMITS).tolist() == [[[255, 0, 0], [0, 0, 255]]]


@pytest.mark.parametrize(("flags", "expected"), [(0x20, [1, 2, 3, 4]), (0, [3, 4, 1, 2]), (0x30, [2, 1, 4, 3])])
def test_rows_and_columns_begin_where_the_header_says(flags, expected):
    assert load_image(tga(3, 8, 2, 2, flags, b"\1\2\3\4"), LIMITS)[..., 0].ravel().tolist() == expected


@pytest.mark.parametrize(
    "data",
    [
        tga(1, 8, 1, 1, data=b"\0"),  # Pillow takes it for grey
        tga(1, 16, 1, 1, data=bytes(2), colours=bytes(3)),  # Pillow gives black
        tga(3, 24, 1, 1, data=bytes(3)),
        tga(4, 8, 1, 1, data=b"\0"),
        tga(3, 8, 0, 1),
        tga(3, 8, 1, 1, 0xE0, b"\0"),
        bytes(100),
        b"\0\0\1\0" + bytes(100),  # an icon
    ],
)
def test_what_does_not_fit_together_is_no_such_file(data):
    with pytest.raises(ImageError, match="not an image in a known format"):
        load_image(data, LIMITS)


def test_sizes_are_limited_and_pixels_have_to_be_there():
    with pytest.raises(ImageTooLargeError, match="65535 x 65535 pixels, the limit is 50000000 in all"):
        load_image(tga(10, 24, 65_535, 65_535), LIMITS)
    with pytest.raises(ImageError, match="damaged image: it is truncated: pixels are missing"):
        load_image(tga(2, 24, 7000, 7000, data=bytes(1000)), LIMITS)
    with pytest.raises(ImageError, match="damaged image: image file is truncated"):
        load_image(tga(10, 24, 700, 700, data=b"\xff\0\0\0"), LIMITS)


def test_every_changed_byte_gives_an_image_or_one_error():
    whole = encoded(TRANSLUCENT, "TGA", compression="tga_rle")
    for position in [*range(18), *range(18, len(whole), 97)]:
        changed = bytearray(whole)
        changed[position] ^= 0x55
        try:
            assert load_image(bytes(changed), Limits(formats=("tga",), max_pixels=10**6)).ndim == 3
        except ImageError as error:
            assert error.reason.isprintable()  # noqa: PT017 - either outcome is right
