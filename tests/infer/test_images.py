import io
import os
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from tl_infer import ImageError, Limits, load_image

# Asymmetric in every way, so that any turn or swap of colours shows.
PICTURE = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3) * 2


def encoded(image: Image.Image, format: str, **options: object) -> bytes:  # noqa: A002 - Pillow's word
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "GIF", "WEBP"])
def test_lossless_formats_give_the_stored_pixels(format, tmp_path):  # noqa: A002
    gray_levels = np.repeat(PICTURE[:, :, :1], 3, axis=2)  # few enough colours for GIF's palette
    path = tmp_path / "picture"
    path.write_bytes(encoded(Image.fromarray(gray_levels), format, **({"lossless": True} if format == "WEBP" else {})))
    pixels = load_image(path)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    np.testing.assert_array_equal(pixels, gray_levels)


def test_every_kind_of_source_gives_the_same_pixels(tmp_path):
    image = Image.fromarray(PICTURE)
    data = encoded(image, "PNG")
    path = tmp_path / "a.png"
    path.write_bytes(data)
    for source in (path, str(path), data, image, PICTURE):
        np.testing.assert_array_equal(load_image(source), PICTURE)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP"])
def test_exif_orientation_is_applied_bit_for_bit(orientation, format):  # noqa: A002
    image = Image.fromarray(PICTURE)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(image, format, exif=exif, **({"lossless": True} if format == "WEBP" else {}))
    image.getexif()[0x0112] = orientation
    np.testing.assert_array_equal(load_image(data), np.asarray(ImageOps.exif_transpose(image)))


def test_orientation_six_means_the_top_of_the_picture_is_its_right_side():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(Image.fromarray(PICTURE), "PNG", exif=exif)
    np.testing.assert_array_equal(load_image(data), np.rot90(PICTURE, k=-1))


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_unknown_orientation_leaves_the_picture_as_it_is(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(load_image(encoded(Image.fromarray(PICTURE), "PNG", exif=exif)), PICTURE)


def test_damaged_exif_does_not_lose_the_picture():
    data = encoded(Image.fromarray(PICTURE), "PNG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xffgarbage")
    np.testing.assert_array_equal(load_image(data), PICTURE)


def test_gray_and_one_bit_become_three_equal_channels():
    gray = PICTURE[:, :, 0]
    np.testing.assert_array_equal(load_image(encoded(Image.fromarray(gray), "PNG")), np.dstack([gray] * 3))
    bits = gray > 60
    np.testing.assert_array_equal(load_image(encoded(Image.fromarray(bits), "PNG"))[..., 1], bits * 255)


@pytest.mark.parametrize(("color", "alpha", "expected"), [(100, 255, 100), (100, 0, 255), (100, 51, 224)])
def test_transparency_is_laid_over_white(color, alpha, expected):
    rgba = Image.new("RGBA", (2, 2), (color, color, color, alpha))
    for data in (encoded(rgba, "PNG"), encoded(rgba.convert("LA"), "PNG"), encoded(rgba, "WEBP", lossless=True)):
        assert load_image(data)[0, 0].tolist() == [expected] * 3
    assert load_image(np.asarray(rgba))[0, 0].tolist() == [expected] * 3


def test_palette_pictures_with_and_without_a_transparent_colour():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    assert load_image(encoded(image, "PNG")).tolist() == [[[10, 20, 30], [40, 50, 60]]]
    assert load_image(encoded(image, "PNG", transparency=0)).tolist() == [[[255, 255, 255], [40, 50, 60]]]
    assert load_image(encoded(image, "GIF", transparency=0)).tolist() == [[[255, 255, 255], [40, 50, 60]]]


def test_a_transparent_gray_value_is_laid_over_white():
    image = Image.fromarray(np.array([[0, 100]], dtype=np.uint8))
    assert load_image(encoded(image, "PNG", transparency=100))[0, :, 0].tolist() == [0, 255]


@pytest.mark.parametrize("bits", [16, 12])
def test_a_transparent_value_of_sixteen_bits_is_laid_over_white(bits):
    values = np.zeros((300, 2000), np.uint16)  # more than is converted at once
    values[:, 1] = 3000
    data = encoded(Image.fromarray(values), "PNG", transparency=3000)
    assert load_image(data, Limits(bit_depth=bits))[-1, :3, 0].tolist() == [0, 255, 0]


def test_cmyk_ink_becomes_its_colour():
    cyan_ink = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    for data in (encoded(cyan_ink, "TIFF"), encoded(cyan_ink, "JPEG", quality=100)):
        red, green, blue = load_image(data)[8, 8].tolist()
        assert red <= 2
        assert green >= 253
        assert blue >= 253


def test_sixteen_bits_are_scaled_not_clipped():
    values = np.array([[0, 128, 129, 257, 32768, 65535]], dtype=np.uint16)
    for data in (encoded(Image.fromarray(values), "PNG"), encoded(Image.fromarray(values), "TIFF")):
        assert load_image(data)[0, :, 0].tolist() == [0, 0, 1, 1, 128, 255]
    assert load_image(Image.fromarray(values.astype(np.int32)))[0, :, 0].tolist() == [0, 0, 1, 1, 128, 255]


def test_values_with_no_defined_scale_are_refused():
    with pytest.raises(ImageError, match="values from 0 to 70000, expected 0 to 65535"):
        load_image(Image.fromarray(np.array([[0, 70000]], dtype=np.int32)))
    with pytest.raises(ImageError, match=r"values from 0 to 1.5, expected 0 to 1"):
        load_image(Image.fromarray(np.array([[0, 1.5]], dtype=np.float32)))
    with pytest.raises(ImageError, match="expected 0 to 1"):
        load_image(Image.fromarray(np.array([[0, np.nan]], dtype=np.float32)))
    unit = Image.fromarray(np.array([[0, 0.5, 1]], dtype=np.float32))
    assert load_image(encoded(unit, "TIFF"))[0, :, 0].tolist() == [0, 128, 255]


def test_only_the_first_frame_counts():
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert load_image(data)[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 4), np.float32), "float32.*expected uint8"),
        (np.zeros((4, 4, 2), np.uint8), "expected .H, W., .H, W, 3. or .H, W, 4."),
        (np.zeros((1, 4, 4, 3), np.uint8), "expected"),
        (np.zeros((0, 4, 3), np.uint8), "4 x 0 pixels"),
    ],
)
def test_arrays_of_another_form_are_refused(array, message):
    with pytest.raises(ImageError, match=message):
        load_image(array)


def test_something_that_is_no_picture_at_all_is_a_type_error():
    with pytest.raises(TypeError, match=r"found BytesIO; give what its read\(\) returns"):
        load_image(io.BytesIO(b"x"))
    with pytest.raises(TypeError, match=r"found bytearray; give bytes\(...\) of it"):
        load_image(bytearray(b"x"))
    with pytest.raises(TypeError, match="found int"):
        load_image(5)


def test_a_pil_image_that_is_closed_or_verified_says_so(tmp_path):
    Image.fromarray(PICTURE).save(tmp_path / "p.png")
    closed, verified = Image.open(tmp_path / "p.png"), Image.open(tmp_path / "p.png")
    closed.close()
    verified.verify()
    for image in (closed, verified):
        with pytest.raises(ImageError, match="PIL image: damaged, or closed or verified before: "):
            load_image(image)


def test_what_is_no_picture_is_refused_with_its_path(tmp_path):
    text = tmp_path / "notes.jpg"
    text.write_text("not an image")
    (tmp_path / "empty.png").touch()
    os.mkfifo(tmp_path / "pipe.png")
    for name, reason in [
        ("notes.jpg", "not an image in a known format"),
        ("empty.png", "the file is empty"),
        ("pipe.png", "not a regular file"),
        ("absent.png", "No such file"),
        ("", "not a regular file|directory"),
    ]:
        with pytest.raises(ImageError, match=reason) as caught:
            load_image(tmp_path / name)
        assert caught.value.where == str(tmp_path / name)


def test_postscript_never_reaches_an_interpreter():
    with pytest.raises(ImageError, match="not an image in a known format"):
        load_image(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n")


@pytest.mark.parametrize("format", ["PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF"])
def test_a_truncated_file_is_an_error_never_a_guess(format):  # noqa: A002
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), format)
    for tenth in range(10):
        with pytest.raises(ImageError, match=r"damaged|not an image|empty"):
            load_image(data[: len(data) * tenth // 10])


def test_a_truncated_webp_is_said_to_be_damaged():
    data = encoded(Image.fromarray(PICTURE), "WEBP")
    with pytest.raises(ImageError, match="damaged image: it is truncated"):
        load_image(data[:-1])


def test_limits_are_checked_before_decoding(tmp_path):
    # PNG headers that promise many pixels and hold none: whoever decodes first will not say "pixels".
    for side_px in (8_000, 10_000, 30_000):
        header = b"IHDR" + struct.pack(">IIBBBBB", side_px, side_px, 8, 2, 0, 0, 0)
        chunks = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)) + b"\0\0\xff\xffIDAT"
        with pytest.raises(ImageError, match="pixels, the limit is 50000000"):
            load_image(b"\x89PNG\r\n\x1a\n" + chunks)
    with pytest.raises(ImageError, match="7 x 5 pixels, the limit is 34"):
        load_image(PICTURE, Limits(max_pixels=34))
    with pytest.raises(ImageError, match="70000 x 1 pixels, the limit is 65535 for a side"):
        load_image(np.zeros((1, 70_000, 3), np.uint8))
    path = tmp_path / "a.png"
    path.write_bytes(encoded(Image.fromarray(PICTURE), "PNG"))
    with pytest.raises(ImageError, match="bytes, the limit is 10"):
        load_image(path, Limits(max_file_bytes=10))


@settings(max_examples=300)
@given(data=st.data(), format=st.sampled_from(["PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF"]))
def test_flipped_bytes_give_a_picture_or_an_image_error(data, format):  # noqa: A002
    original = bytearray(encoded(Image.fromarray(PICTURE), format))
    for _ in range(data.draw(st.integers(1, 8))):
        original[data.draw(st.integers(0, len(original) - 1))] = data.draw(st.integers(0, 255))
    try:
        pixels = load_image(bytes(original), Limits(max_pixels=1_000_000))
    except ImageError as error:
        assert "\n" not in str(error)  # noqa: PT017 - either outcome is right
    else:
        assert pixels.dtype == np.uint8
        assert pixels.shape[2] == 3


def test_a_high_transparent_picture_is_composited_as_a_whole_one_is():
    values = np.random.default_rng(0).integers(0, 256, (777, 5, 4), dtype=np.uint8)
    white = Image.new("RGBA", (5, 777), "white")
    expected = np.asarray(Image.alpha_composite(white, Image.fromarray(values)).convert("RGB"))
    np.testing.assert_array_equal(load_image(values), expected)


def test_a_limit_of_the_file_size_needs_no_memory(tmp_path):
    Image.new("RGB", (3, 2)).save(tmp_path / "a.png")
    assert load_image(tmp_path / "a.png", Limits(max_file_bytes=2**62)).shape == (2, 3, 3)
