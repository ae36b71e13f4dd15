"""Every fit, anchor, fill, colour and filter against Pillow, whose picture is placed by a geometry written here anew.

Pillow resizes one axis at a time, horizontally first: that is what it does by itself before version 13, and what
bicubic is defined to be here.
"""

import fractions
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tl_infer import PreprocessSpec, load_image
from tl_train.preprocess.graph import Preprocessor

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
ANCHORS = ["center", "top-left", "top-right", "bottom-left", "bottom-right"]


def levels_of(pixels: np.ndarray, **fields: object) -> np.ndarray:
    """Our gray levels, whole numbers (h, w, 3)."""
    spec = PreprocessSpec(mean=(0, 0, 0), std=(1 / 255,) * 3, **fields)
    found = Preprocessor(spec)(pixels).transpose(1, 2, 0)
    assert found.shape == (*spec.size, 3)
    np.testing.assert_allclose(found, np.rint(found), atol=1e-4)
    return np.rint(found).astype(int)


def half_up(numerator: int, denominator: int) -> int:
    return math.floor(fractions.Fraction(numerator, denominator) + fractions.Fraction(1, 2))


def fitted(shape: tuple[int, int], size: tuple[int, int], fit: str) -> tuple[int, int]:
    """The size of the picture on the canvas: the scale that the tighter side allows, both sides rounded."""
    (height, width), (rows, columns) = shape, size
    scale = min(fractions.Fraction(rows, height), fractions.Fraction(columns, width))
    if fit == "pad" and scale >= 1:
        return shape
    return tuple(max(1, half_up(side * scale.numerator, scale.denominator)) for side in shape)


def resized(image: Image.Image, height: int, width: int, resample: str) -> Image.Image:
    wide = image.resize((width, image.height), FILTERS[resample])
    return wide.resize((width, height), FILTERS[resample])


def oracle(
    pixels: np.ndarray, size: tuple[int, int], fit: str, resample: str = "bilinear", color: str = "rgb",
    anchor: str = "center", fill: tuple[int, int, int] = (0, 0, 0), resize_px: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Pillow's gray levels (h, w, 3), and where the picture is (h, w)."""
    image, (rows, columns) = Image.fromarray(pixels), size
    canvas = Image.new("RGB", (columns, rows), fill)
    if color == "gray":
        image, canvas = image.convert("L"), canvas.convert("L")
    where = Image.new("1", (columns, rows), 1)
    if fit == "squash":
        canvas = resized(image, rows, columns, resample)
    elif fit == "crop":
        shorter = min(image.size)
        height, width = (half_up(side * resize_px, shorter) for side in (image.height, image.width))
        left, top = (width - columns) // 2, (height - rows) // 2
        canvas = resized(image, height, width, resample).crop((left, top, left + columns, top + rows))
    else:
        height, width = fitted((image.height, image.width), size, fit)
        across, down = columns - width, rows - height
        left = {"center": across // 2}.get(anchor, across if "right" in anchor else 0)
        top = {"center": down // 2}.get(anchor, down if "bottom" in anchor else 0)
        canvas.paste(resized(image, height, width, resample), (left, top))
        where.paste(0, (0, 0, columns, rows))
        where.paste(1, (left, top, left + width, top + height))
    return np.asarray(canvas.convert("RGB")).astype(int), np.asarray(where)


def assert_agrees(pixels: np.ndarray, **fields: object) -> None:
    ours, (theirs, where) = levels_of(pixels, **fields), oracle(pixels, **fields)
    assert np.abs(ours - theirs).max() <= 1
    np.testing.assert_array_equal(ours[~where], theirs[~where], err_msg="the fill is exact")


sides = st.integers(1, 70)
spec_fields = st.fixed_dictionaries(
    {
        "size": st.tuples(sides, sides),
        "fit": st.sampled_from(["squash", "letterbox", "pad", "crop"]),
        "anchor": st.sampled_from(ANCHORS),
        "fill": st.tuples(*[st.integers(0, 255)] * 3),
        "color": st.sampled_from(["rgb", "gray"]),
        "resample": st.sampled_from(list(FILTERS)),
    }
)
enlargements = st.integers(0, 40)


def made(shape: tuple[int, int], steps: int, seed: int) -> np.ndarray:
    values = np.linspace(0, 255, steps).astype(np.uint8)
    return np.random.default_rng(seed).choice(values, (*shape, 3))


def with_resize_px(fields: dict[str, object], more: int) -> dict[str, object]:
    return {**fields, "resize_px": max(fields["size"]) + more if fields["fit"] == "crop" else None}


@settings(max_examples=400)
@given(fields=spec_fields, shape=st.tuples(sides, sides), more=enlargements, steps=st.sampled_from([2, 4, 256]),
       seed=st.integers(0, 1000))  # fmt: skip
def test_every_option_agrees_with_pillow_within_one_level(fields, shape, more, steps, seed):
    assert_agrees(made(shape, steps, seed), **with_resize_px(fields, more))


@settings(max_examples=60)
@given(fields=spec_fields, long=st.integers(71, 4000), short=st.integers(1, 40), upright=st.booleans(),
       more=enlargements, seed=st.integers(0, 1000))  # fmt: skip
def test_long_and_thin_pictures_agree_too(fields, long, short, upright, more, seed):
    shape = (long, short) if upright else (short, long)
    assert_agrees(made(shape, 256, seed), **with_resize_px(fields, more))


@pytest.mark.parametrize("fit", ["squash", "letterbox", "pad", "crop"])
@pytest.mark.parametrize("resample", list(FILTERS))
@pytest.mark.parametrize("shape", [(1, 1), (1499, 1501), (4000, 530), (530, 4000)])
def test_the_extremes_agree_too(fit, resample, shape):
    resize_px = 75 if fit == "crop" else None
    assert_agrees(made(shape, 2, 0), size=(64, 65), fit=fit, resample=resample, fill=(9, 8, 7), resize_px=resize_px)


@pytest.mark.parametrize("fit", ["squash", "letterbox", "pad", "crop"])
@pytest.mark.parametrize("resample", list(FILTERS))
def test_photos_agree(photos, fit, resample):
    for path in photos[::5]:
        resize_px = 256 if fit == "crop" else None
        assert_agrees(load_image(path), size=(224, 224), fit=fit, resample=resample, resize_px=resize_px)


@pytest.mark.parametrize("anchor", ANCHORS)
@pytest.mark.parametrize("fill", [(0, 0, 0), (255, 255, 255), (1, 200, 30)])
def test_pad_puts_the_chapters_pictures_on_the_canvas_untouched(anchor, fill):
    pixels = made((64, 64), 256, 0)
    found = levels_of(pixels, size=(225, 256), fit="pad", anchor=anchor, fill=fill)
    top = {"center": 80}.get(anchor, 161 if "bottom" in anchor else 0)  # one row more below: 80 + 64 + 81
    left = {"center": 96}.get(anchor, 192 if "right" in anchor else 0)
    expected = np.full((225, 256, 3), fill)
    expected[top : top + 64, left : left + 64] = pixels
    np.testing.assert_array_equal(found, expected)


def test_pad_shrinks_only_what_is_larger():
    for shape, inside in (((50, 30), (50, 30)), ((64, 64), (64, 64)), ((65, 10), (64, 10)), ((640, 10), (64, 1))):
        found = levels_of(np.full((*shape, 3), 255, np.uint8), size=(64, 64), fit="pad", anchor="top-left")
        assert (found[: inside[0], : inside[1]] == 255).all()
        assert found.sum() == 3 * 255 * inside[0] * inside[1]


def test_letterbox_rounds_half_up_and_keeps_a_pixel():
    for shape, inside in (((3, 4), (48, 64)), ((128, 3), (64, 2)), ((256, 2), (64, 1)), ((1, 4000), (1, 64))):
        found = levels_of(np.full((*shape, 3), 255, np.uint8), size=(64, 64), fit="letterbox", anchor="bottom-right")
        assert (found[64 - inside[0] :, 64 - inside[1] :] == 255).all()
        assert found.sum() == 3 * 255 * inside[0] * inside[1]


def test_the_fill_of_a_gray_picture_is_its_luma():
    fill = (200, 10, 90)
    (expected,) = {Image.new("RGB", (1, 1), fill).convert("L").getpixel((0, 0))}
    found = levels_of(made((4, 4), 256, 0), size=(8, 4), fit="pad", anchor="top-left", color="gray", fill=fill)
    assert (found[4:] == expected).all()


def test_normalisation_reaches_the_padding_too():
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    spec = PreprocessSpec(size=(8, 8), mean=mean, std=std, fit="pad", anchor="top-left", fill=(255, 0, 128))
    corner = Preprocessor(spec)(made((4, 4), 256, 0))[:, -1, -1]
    np.testing.assert_allclose(corner, (np.array([1, 0, 128 / 255]) - mean) / std, rtol=1e-5)


@pytest.mark.parametrize(("shape", "kept"), [((2, 65_000), 512), ((65_001, 3), 769)])
def test_a_crop_of_an_extremely_long_picture_loses_the_ends_first(shape, kept):
    # 2^24 / 256^2 = 256 times the shorter side, and one more where the rest would not halve.
    pixels = made(shape, 2, 0)
    fields = {"size": (224, 224), "fit": "crop", "resize_px": 256}
    start = (max(shape) - kept) // 2
    middle = slice(start, start + kept)
    without_ends = pixels[:, middle] if shape[1] > shape[0] else pixels[middle]
    assert_agrees(np.ascontiguousarray(without_ends), **fields)
    np.testing.assert_array_equal(levels_of(pixels, **fields), levels_of(np.ascontiguousarray(without_ends), **fields))


def test_one_preprocessor_takes_pictures_of_all_shapes():
    preprocess = Preprocessor(PreprocessSpec(size=(32, 48), mean=(0,) * 3, std=(1,) * 3, fit="letterbox"))
    assert {preprocess(made(shape, 2, 0)).shape for shape in ((1, 1), (9, 70), (70, 9))} == {(3, 32, 48)}
