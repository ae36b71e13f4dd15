import io

import numpy as np
import pytest
from PIL import Image, ImageFile

from attacks import png_files
from attacks.jpeg_files import photo
from tl_infer import ImageError, ImageTooLargeError, load_image


def encoded(**options: object) -> bytes:
    buffer = io.BytesIO()
    photo().save(buffer, "PNG", **options)
    return buffer.getvalue()


def test_a_cut_png_is_refused_even_with_an_end_chunk():
    whole = encoded()
    pixels = load_image(whole)
    for position in [*range(8, len(whole) - 12, 61), *range(len(whole) - 40, len(whole) - 12)]:
        with pytest.raises(ImageError, match=r"truncated|known format|checksum"):
            load_image(png_files.cut_and_ended(whole, position))
    np.testing.assert_array_equal(load_image(png_files.cut_and_ended(whole, len(whole) - 12)), pixels)
    with pytest.raises(ImageError, match="there is no end chunk"):
        load_image(whole[:-12])


def test_every_changed_bit_of_the_pixels_is_noticed():
    whole = encoded()
    start = whole.index(b"IDAT") + 4
    for position in range(start, len(whole) - 20, 101):
        changed = bytearray(whole)
        changed[position] ^= 16
        with pytest.raises(ImageError, match="the checksum of its pixel data is wrong"):
            load_image(bytes(changed))


def test_chunks_are_limited():
    with pytest.raises(ImageError, match="a PNG of more than 100000 chunks, the limit"):
        load_image(png_files.many_chunks(100_000))
    assert load_image(png_files.many_chunks(1000)).shape == (8, 8, 3)


def test_a_host_that_takes_truncated_images_has_limits_too(monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(ImageError, match="a PNG of more than 100000 chunks, the limit"):
        load_image(png_files.many_chunks(100_000))
    whole = png_files.many_chunks(3)
    assert load_image(whole[:-14]).shape == (8, 8, 3)


def test_the_hosts_own_limit_of_pixels_is_named(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "WEBP")
    with pytest.raises(ImageTooLargeError, match=r"Image size \(64 pixels\).*PIL.Image.MAX_IMAGE_PIXELS"):
        load_image(file.getvalue())
