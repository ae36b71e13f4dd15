"""Files made to do harm: each gives a picture or one ImageError, in a bounded time, and the next one is unharmed."""

import io
import os
import socket
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from attacks import png_files
from support import onnx_bytes
from tl_infer import Classification, Classifier, ImageError, Limits, load_image
from tl_infer.images import FORMATS

NOISE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


PROGRESSIVE = encoded(Image.fromarray(NOISE), "JPEG", progressive=True)


@pytest.mark.parametrize("field", ["max_file_bytes", "max_pixels", "max_side_px", "max_scans"])
@pytest.mark.parametrize("value", [0, float("nan")])
def test_a_limit_below_one_is_refused(field, value):
    with pytest.raises(ValueError, match=f"{field}: found {value}, expected 1 or more"):
        Limits(**{field: value})


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_of_a_jpeg_bit_for_bit(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(NOISE), "JPEG", exif=exif)
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(load_image(data), expected)


def test_what_is_not_a_regular_file_is_never_opened(tmp_path):
    os.mkfifo(tmp_path / "fifo.png")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    (tmp_path / "to-fifo.png").symlink_to(tmp_path / "fifo.png")
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "s.png"))
    try:
        for name, reason in [("fifo.png", "not a regular file"), ("to-fifo.png", "not a regular file"),
                             ("s.png", "not a regular file"), ("loop.png", "symbolic links")]:  # fmt: skip
            with pytest.raises(ImageError, match=reason):
                load_image(tmp_path / name)
    finally:
        server.close()
    for device in ("/dev/zero", "/dev/tty", "/proc"):
        with pytest.raises(ImageError, match="cannot be read"):
            load_image(device)
    with pytest.raises(ImageError, match="null"):
        load_image("a\0b")


def test_no_descriptor_is_left_open(tmp_path):
    os.mkfifo(tmp_path / "fifo.png")
    (tmp_path / "bad.png").write_bytes(b"x")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        for path in (tmp_path, tmp_path / "fifo.png", tmp_path / "bad.png"):
            with pytest.raises(ImageError, match="not"):
                load_image(path)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_decompression_bomb_is_refused():
    with pytest.raises(ImageError, match="13000 x 13000 pixels, the limit is 50000000"):
        load_image(png_files.bomb())


@pytest.mark.parametrize("kind", FORMATS)
def test_the_content_decides_not_the_name(tmp_path, kind):
    path = tmp_path / "picture.eps.txt"
    path.write_bytes(encoded(Image.fromarray(NOISE), kind))
    assert load_image(path).shape == (48, 64, 3)


@pytest.mark.parametrize("kind", ["ICO", "PCX", "SGI", "DDS", "PDF", "EPS", "ICNS"])
def test_other_formats_that_pillow_knows_are_refused(kind):
    with pytest.raises(ImageError, match="not an image in a known format"):
        load_image(encoded(Image.new("RGB", (64, 64)), kind))


def test_other_colour_spaces_become_rgb():
    assert load_image(Image.new("HSV", (1, 1), (0, 255, 255))).tolist() == [[[255, 0, 0]]]
    assert load_image(Image.new("YCbCr", (1, 1), (255, 128, 128))).tolist() == [[[255, 255, 255]]]
    assert load_image(Image.new("LAB", (1, 1), (255, 128, 128))).min() >= 254


def test_pillows_globals_are_left_alone():
    before = (Image.MAX_IMAGE_PIXELS, Image.preinit, Image.registered_extensions().get(".eps"))
    load_image(PROGRESSIVE)
    assert before == (Image.MAX_IMAGE_PIXELS, Image.preinit, Image.registered_extensions().get(".eps"))


def test_every_hard_file_gives_exactly_one_result_and_harms_no_other(tmp_path):
    random = np.random.default_rng(1)
    good = tmp_path / "good.png"
    Image.new("RGB", (5, 5), "red").save(good)
    hard: list[Path] = []
    for kind in FORMATS:
        data = encoded(Image.fromarray(NOISE), kind)
        for tenth in range(11):
            hard.append(tmp_path / f"{tenth}.{kind}")
            hard[-1].write_bytes(data[: len(data) * tenth // 10])
        for number in range(20):
            flipped = bytearray(data)
            for position in random.integers(0, len(data), 3):
                flipped[position] ^= 1 << int(random.integers(8))
            hard.append(tmp_path / f"flipped {number}.{kind}")
            hard[-1].write_bytes(flipped)
    for name, data in [
        (b"bomb.png", png_files.bomb()),
        (b"odd\xff\n\x1b[2J.png", b"x"),
        (b"-rf.png", b""),
        (b"=1+1.png", b"GIF89a"),
    ]:
        hard.append(tmp_path / os.fsdecode(name))
        hard[-1].write_bytes(data)
    sources = [path for each in hard for path in (each, good)]
    results = list(Classifier(onnx_bytes.color_model()).classify_many(sources))
    assert len(results) == len(sources)
    for path, result in zip(sources, results, strict=True):
        if path == good:
            assert isinstance(result, Classification)
            assert result.label == "red"
        elif isinstance(result, ImageError):
            assert result.where == str(path)
            assert 0 < len(result.reason) < 300
            assert "\n" not in result.reason
    whole = [result for path, result in zip(sources, results, strict=True) if path.name.startswith("10.")]
    assert all(isinstance(result, Classification) for result in whole)
    cut = [
        result for path, result in zip(sources, results, strict=True) if path.name[:2] in {f"{n}." for n in range(10)}
    ]
    assert len(cut) == 10 * len(FORMATS)
    assert all(isinstance(result, ImageError) for result in cut)


def test_fast_decoding_reduces_large_jpegs_only(tmp_path):
    smooth = Image.linear_gradient("L").resize((800, 600)).convert("RGB")
    jpeg = encoded(smooth, "JPEG")
    assert load_image(jpeg, fast_for_px=100).shape == (150, 200, 3)
    assert load_image(jpeg, fast_for_px=400).shape == (600, 800, 3)
    assert load_image(encoded(smooth, "PNG"), fast_for_px=100).shape == (600, 800, 3)
    reduced = load_image(jpeg, fast_for_px=100).astype(int)
    expected = np.asarray(smooth.reduce(4)).astype(int)
    assert np.abs(reduced - expected).max() <= 4
    exif = Image.Exif()
    exif[0x0112] = 6
    assert load_image(encoded(smooth, "JPEG", exif=exif), fast_for_px=100).shape == (200, 150, 3)
    with pytest.raises(ImageError, match="800 x 600 pixels, the limit is 400000"):
        load_image(jpeg, Limits(max_pixels=400_000), fast_for_px=100)


@settings(max_examples=300)
@given(data=st.data(), kind=st.sampled_from(FORMATS))
def test_fuzz_cut_flipped_and_swapped_bytes_give_a_picture_or_an_image_error(data, kind):
    original = encoded(Image.fromarray(NOISE[:8, :8]), kind)
    start = data.draw(st.integers(0, len(original)))
    length = data.draw(st.integers(0, len(original) - start))
    changed = original[:start] + data.draw(st.binary(max_size=40)) + original[start + length :]
    try:
        pixels = load_image(changed, Limits(max_pixels=1_000_000), fast_for_px=data.draw(st.sampled_from([None, 4])))
    except ImageError as error:
        assert error.reason.isprintable()  # noqa: PT017 - either outcome is right
    else:
        assert pixels.dtype == np.uint8
        assert pixels.shape[2] == 3


@settings(max_examples=200)
@given(st.binary(max_size=300))
def test_fuzz_any_bytes_give_a_picture_or_an_image_error(data):
    try:
        load_image(data, Limits(max_pixels=1_000_000))
    except ImageError as error:
        assert error.reason.isprintable()  # noqa: PT017 - either outcome is right
