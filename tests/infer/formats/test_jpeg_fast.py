"""The extra `fast`: the pixels and the errors of Pillow, whatever the file."""

import io
import random
import sys

import numpy as np
import pytest
from PIL import Image

from attacks.jpeg_files import encoded, photo
from tl_infer import ImageError, load_image
from tl_infer.formats import jpeg_fast
from tl_infer.formats.checks import check_file
from tl_infer.limits import DEFAULT_LIMITS

simplejpeg = pytest.importorskip("simplejpeg")


@pytest.fixture(autouse=True)
def checked_anew():
    jpeg_fast.fast_decoder.cache_clear()
    yield
    jpeg_fast.fast_decoder.cache_clear()


def fast(data):
    """What the fast decoder says, None if it leaves the file to Pillow."""
    outline = check_file(data, "it", DEFAULT_LIMITS)
    return jpeg_fast.decode_fast(Image.open(io.BytesIO(data)), data, outline)


def by_pillow(data, monkeypatch):
    """Pixels or the error, without simplejpeg."""
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "simplejpeg", None)
        jpeg_fast.fast_decoder.cache_clear()
        found = outcome(data)
    jpeg_fast.fast_decoder.cache_clear()
    return found


def outcome(data):
    try:
        return load_image(data)
    except ImageError as error:
        return str(error)


def same(first, second):
    if isinstance(first, str) or isinstance(second, str):
        return isinstance(first, str) and isinstance(second, str) and first == second
    return np.array_equal(first, second)


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0", "4:1:1"])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("size", [(1, 1), (7, 300), (333, 201)])
def test_the_pixels_are_those_of_pillow(subsampling, progressive, size, monkeypatch):
    data = encoded(photo(*size), subsampling=subsampling, progressive=progressive)
    assert fast(data) is not None
    np.testing.assert_array_equal(fast(data), np.asarray(Image.open(io.BytesIO(data))))
    assert same(load_image(data), by_pillow(data, monkeypatch))


@pytest.mark.parametrize("orientation", range(10))
def test_the_orientation_is_applied(orientation, monkeypatch):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(photo(60, 40), exif=exif)
    assert fast(data) is not None
    pixels = load_image(data)
    assert pixels.flags["C_CONTIGUOUS"]
    assert same(pixels, by_pillow(data, monkeypatch))


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_other_colours_are_left_to_pillow(mode):
    assert fast(encoded(photo(60, 40).convert(mode))) is None


def test_a_reduced_decoding_is_left_to_pillow():
    data = encoded(photo(640, 480))
    assert load_image(data, fast_for_px=64).shape == (120, 160, 3)


def test_real_photographs(photos, monkeypatch):
    for path in photos[:10]:
        data = path.read_bytes()
        assert same(load_image(data), by_pillow(data, monkeypatch)), path


@pytest.mark.parametrize("progressive", [False, True])
def test_a_file_that_is_cut_is_the_same_error(progressive, monkeypatch):
    data = encoded(photo(200, 150), progressive=progressive)
    for cut in (3, 10, 100, len(data) // 2):
        for damaged in (data[:-cut], data[:-cut] + b"\xff\xd9"):
            found = by_pillow(damaged, monkeypatch)
            assert isinstance(found, str)
            assert outcome(damaged) == found


@pytest.mark.parametrize("progressive", [False, True])
def test_changed_files_are_the_same_pixels_or_the_same_error(progressive, monkeypatch):
    chance = random.Random(7)
    data = encoded(photo(90, 70), progressive=progressive)
    changed = []
    for _ in range(150):
        damaged = bytearray(data)
        for _ in range(chance.randint(1, 3)):
            damaged[chance.randrange(2, len(damaged))] = chance.randrange(256)
        changed.append(bytes(damaged))
    found = [outcome(each) for each in changed]
    assert sum(isinstance(each, str) for each in found) not in (0, len(found))
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "simplejpeg", None)
        jpeg_fast.fast_decoder.cache_clear()
        expected = [outcome(each) for each in changed]
    assert all(map(same, found, expected))


@pytest.mark.parametrize("fault", ["other pixels", "takes what is cut", "raises", "an older version"])
def test_a_decoder_that_does_not_agree_is_not_used(fault, monkeypatch):
    right = simplejpeg.decode_jpeg

    def wrong(data, colorspace, *, fastdct, fastupsample, strict):
        if fault == "raises":
            raise RuntimeError("broken")
        pixels = right(data, colorspace, strict=strict and fault != "takes what is cut")
        if fault == "other pixels":
            pixels[0, 0, 0] ^= 1
        return pixels

    def older(data, colorspace, *, fastdct, fastupsample):
        return right(data, colorspace)

    data = encoded(photo(60, 40))
    expected = load_image(data)
    assert fast(data) is not None
    monkeypatch.setattr(simplejpeg, "decode_jpeg", older if fault == "an older version" else wrong)
    jpeg_fast.fast_decoder.cache_clear()
    assert fast(data) is None
    assert same(load_image(data), expected)
