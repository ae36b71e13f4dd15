import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from support import onnx_bytes
from support.sixteen_bit_files import png_of, tiff_of
from tl_infer import Classifier, ImageError, Limits, ModelFileError, load_image
from tl_infer.model.contract import BIT_DEPTH_KEY, read_bit_depth
from tl_infer.sixteen_bit import depth_advice, depth_used


def values(channels, most, seed=0, shape=(5, 7)):
    found = np.random.default_rng(seed).integers(0, most + 1, (*shape, channels), dtype=np.uint16)
    found[0, 0] = most
    return found


def scaled(found, bits):
    most = 2**bits - 1
    return (found.astype(np.int64) * 255 + most // 2) // most


@given(bits=st.integers(8, 16), seed=st.integers(0, 99), kind=st.sampled_from(["PNG", "TIFF"]))
def test_grey_of_any_depth_is_scaled_from_its_own_range(bits, seed, kind):
    grey = values(1, 2**bits - 1, seed)[..., 0]
    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, kind)
    pixels = load_image(buffer.getvalue(), Limits(bit_depth=bits))
    np.testing.assert_array_equal(pixels, np.repeat(scaled(grey, bits)[..., None], 3, axis=2))
    assert pixels.max() == 255


@given(
    bits=st.integers(8, 15),
    seed=st.integers(0, 99),
    form=st.sampled_from([(png_of, {}), (tiff_of, {}), (tiff_of, {"big_endian": True}), (tiff_of, {"deflate": True})]),
)
def test_colour_of_any_depth_keeps_its_low_bytes(bits, seed, form):
    encode, fields = form
    colour = values(3, 2**bits - 1, seed)
    data = encode(colour, **fields)
    np.testing.assert_array_equal(load_image(data, Limits(bit_depth=bits)), scaled(colour, bits))
    np.testing.assert_array_equal(load_image(data), colour >> 8)


@pytest.mark.parametrize("channels", [2, 4])
def test_transparency_always_has_sixteen_bits(channels):
    found = values(channels, 4095)
    found[..., -1] = 65535
    found[1, 1, -1] = 0
    pixels = load_image(png_of(found), Limits(bit_depth=12))
    expected = scaled(np.repeat(found[..., :1], 3, axis=2) if channels == 2 else found[..., :3], 12)
    expected[1, 1] = 255  # laid over white
    np.testing.assert_array_equal(pixels, expected)


def test_an_image_with_a_depth_is_turned_upright_too():
    colour = values(3, 4095)
    exif = Image.Exif()
    exif[0x0112] = 6
    data = png_of(colour, exif=exif.tobytes().removeprefix(b"Exif\0\0"))
    np.testing.assert_array_equal(load_image(data, Limits(bit_depth=12)), np.rot90(scaled(colour, 12), k=-1))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_value_that_needs_more_bits_is_refused(channels):
    data = png_of(values(channels, 4096))
    with pytest.raises(ImageError, match=r"with values from .* to 4096, expected 0 to 4095 with a bit depth of 12"):
        load_image(data, Limits(bit_depth=12))


def test_images_of_eight_bits_do_not_change():
    levels = values(3, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, "PNG")
    for source in (buffer.getvalue(), levels, Image.fromarray(levels)):
        np.testing.assert_array_equal(load_image(source, Limits(bit_depth=10)), levels)


@pytest.mark.parametrize("bits", [7, 17])
def test_a_depth_out_of_range_is_refused(bits):
    with pytest.raises(ValueError, match=f"bit_depth: found {bits}, expected 8 to 16"):
        Limits(bit_depth=bits)


@given(highest=st.integers(0, 65535), channels=st.sampled_from([1, 3]))
def test_the_depth_that_is_proposed_holds_the_values_or_nearly(highest, channels):
    brightest = int(load_image(png_of(np.full((1, 1, channels), highest, np.uint16))).max())
    bits = depth_used(brightest)
    assert bits == 16 or highest < 2**bits + 256, "a level of 8 bits stands for that many values"
    assert bits == 8 or highest >= 2 ** (bits - 2) - 256, "and no smaller of the usual ones would do"


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({}, None),
        ({16: 5}, None),
        ({16: 5, 14: 3}, None),
        (
            {12: 5, 10: 2},
            "7 16-bit image(s) have no value above 4095 of 65535, so they come out nearly black, as of a cam",
        ),
        ({14: 1}, "1 16-bit image(s) have no value above 16383 of 65535, so they come out too dark"),
        (
            {16: 5, 12: 2, 14: 1},
            "2 of 8 16-bit images have no value above 4095 of 65535, so they come out nearly black",
        ),
    ],
)
def test_what_is_said_of_dark_images(counts, message):
    advice = depth_advice(counts)
    assert advice is None if message is None else advice.startswith(message)


def with_depth(text):
    return onnx_bytes.color_model(metadata={BIT_DEPTH_KEY: text})


def test_a_model_may_say_the_depth_and_the_caller_has_the_last_word():
    data = png_of(np.full((8, 8, 3), (4095, 1000, 0), np.uint16))
    plain, deep = Classifier(onnx_bytes.color_model()), Classifier(with_depth("12"))
    assert (plain.limits.bit_depth, deep.limits.bit_depth) == (None, 12)
    assert Classifier(with_depth("12"), limits=Limits(bit_depth=16)).limits.bit_depth == 16
    assert plain.classify(data).probability != deep.classify(data).probability
    assert deep.classify(data).top == plain.classify(load_image(data, Limits(bit_depth=12))).top
    assert list(plain.classify_many([data, data]))
    assert plain.sixteen_bit_images == {12: 3}
    assert deep.sixteen_bit_images == {}
    import pickle

    assert pickle.loads(pickle.dumps(deep)).limits == deep.limits


@pytest.mark.parametrize("text", ["7", "16", "012", "12 ", "twelve"])
def test_a_model_with_a_depth_that_is_none_is_refused(text):
    with pytest.raises(ModelFileError, match=r"tl.bit_depth: found '.*', expected 8 to 15"):
        Classifier(with_depth(text))
    assert read_bit_depth({}) is None


def test_a_size_above_pillows_own_limit_is_read_where_ours_allows_it():
    header = struct.pack(">IIBBBBB", 20_000, 10_000, 1, 0, 0, 0, 0)
    packed = zlib.compressobj(9)
    rows = b"".join(packed.compress(bytes(2501)) for _ in range(10_000)) + packed.flush()
    chunks = [(b"IHDR", header), (b"IDAT", rows), (b"IEND", b"")]
    body = b"".join(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
                    for kind, data in chunks)  # fmt: skip
    data = b"\x89PNG\r\n\x1a\n" + body
    with pytest.raises(ImageError, match=r"20000 x 10000 pixels, the limit is 50000000 in all"):
        load_image(data)
    assert load_image(data, Limits(max_pixels=200_000_000)).shape == (10_000, 20_000, 3)
