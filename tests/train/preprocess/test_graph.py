import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional

from tl_infer import PreprocessSpec, load_image
from tl_train.config import TrainConfig
from tl_train.errors import ConfigError
from tl_train.preprocess.graph import Preprocessor, build_graph, spec_for
from tl_train.preprocess.resize import FLOAT_RESIZE_MAX_PIXELS

SIZES = [(224, 224), (64, 200), (700, 500), (33, 31)]  # shrinking and enlarging, both orientations, odd


def levels(size: tuple[int, int], color: str = "rgb") -> Preprocessor:
    """A preprocessor whose output is the gray levels 0..255 themselves."""
    return Preprocessor(PreprocessSpec(size=size, mean=(0, 0, 0), std=(1 / 255,) * 3, color=color))


def difference(ours: np.ndarray, oracle: np.ndarray) -> np.ndarray:
    """Absolute difference of our (3, h, w) and an oracle's (h, w, 3) or (h, w), in gray levels."""
    if oracle.ndim == 2:
        oracle = np.dstack([oracle] * 3)
    return np.abs(np.rint(ours).astype(int) - oracle.transpose(2, 0, 1).astype(int))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("color", ["rgb", "gray"])
def test_pillow_agrees_within_one_level_on_real_photos(photos, size, color):
    preprocess = levels(size, color)
    for path in photos[::3]:
        pixels = load_image(path)
        image = Image.fromarray(pixels)
        image = image.convert("L") if color == "gray" else image
        oracle = np.asarray(image.resize(size[::-1], Image.Resampling.BILINEAR))
        assert difference(preprocess(pixels), oracle).max() <= 1


@pytest.mark.parametrize("size", SIZES)
def test_torchvision_agrees_within_one_level_on_real_photos(photos, size):
    preprocess = levels(size)
    for path in photos[1::3]:
        pixels = load_image(path)
        resized = functional.resize(torch.from_numpy(pixels).permute(2, 0, 1), list(size), antialias=True)
        assert difference(preprocess(pixels), resized.permute(1, 2, 0).numpy()).max() <= 1


@pytest.mark.parametrize("turned", [False, True])
def test_torchvisions_bicubic_agrees_within_one_level_on_real_photos(photos, turned):
    preprocess = Preprocessor(PreprocessSpec(size=(224, 224), mean=(0,) * 3, std=(1 / 255,) * 3, resample="bicubic"))
    for path in photos[1::6]:
        pixels = np.ascontiguousarray(np.rot90(load_image(path), int(turned)))
        resized = functional.resize(
            torch.tensor(pixels).permute(2, 0, 1), [224, 224], InterpolationMode.BICUBIC, antialias=True
        )
        assert difference(preprocess(pixels), resized.permute(1, 2, 0).numpy()).max() <= 1


def test_gray_is_pillows_bit_for_bit_before_resizing(photos):
    for path in photos[2::3]:
        pixels = load_image(path)
        oracle = np.asarray(Image.fromarray(pixels).convert("L"))
        assert difference(levels(pixels.shape[:2], "gray")(pixels), oracle).max() == 0


def test_gray_is_exact_for_every_combination_at_the_edges():
    values = np.array([0, 1, 127, 128, 254, 255], dtype=np.uint8)
    pixels = np.stack(np.meshgrid(values, values, values), axis=-1).reshape(12, 18, 3)
    oracle = np.asarray(Image.fromarray(pixels).convert("L"))
    assert difference(levels((12, 18), "gray")(pixels), oracle).max() == 0


def test_normalisation_is_torchvisions(photos):
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    pixels = load_image(photos[0])
    height, width = pixels.shape[:2]
    ours = Preprocessor(PreprocessSpec(size=(height, width), mean=mean, std=std))(pixels)
    theirs = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, std)])(pixels)
    np.testing.assert_allclose(ours, theirs.numpy(), atol=2e-6)


def test_large_pictures_take_the_other_branch_and_agree_too():
    pixels = np.random.default_rng(0).integers(0, 256, (1500, 1500, 3), dtype=np.uint8)
    assert pixels.shape[0] * pixels.shape[1] > FLOAT_RESIZE_MAX_PIXELS
    oracle = np.asarray(Image.fromarray(pixels).resize((200, 100), Image.Resampling.BILINEAR))
    assert difference(levels((100, 200))(pixels), oracle).max() <= 1


@settings(deadline=None, max_examples=200)
@given(
    shape=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    size=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    values=st.sampled_from([2, 4, 256]),
    seed=st.integers(0, 1000),
)
def test_pillow_agrees_within_one_level_for_any_sizes(shape, size, values, seed):
    steps = np.linspace(0, 255, values).astype(np.uint8)
    pixels = np.random.default_rng(seed).choice(steps, (*shape, 3))
    oracle = np.asarray(Image.fromarray(pixels).resize(size[::-1], Image.Resampling.BILINEAR))
    assert difference(levels(size)(pixels), oracle).max() <= 1


def test_a_picture_of_the_right_size_is_left_alone():
    pixels = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    assert difference(levels((40, 30))(pixels), pixels).max() == 0


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (2, 3)])
def test_the_smallest_and_thinnest_pictures_work(shape):
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    oracle = np.asarray(Image.fromarray(pixels).resize((32, 32), Image.Resampling.BILINEAR))
    assert difference(levels((32, 32))(pixels), oracle).max() <= 1


def test_the_graph_is_small_and_readable_by_old_runtimes():
    model = build_graph(PreprocessSpec(size=(224, 224), mean=(0.5,) * 3, std=(0.5,) * 3))
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 18)]
    assert model.ir_version == 8
    assert all(node.name.startswith("preprocess/") for node in model.graph.node)
    onnx.checker.check_model(model, full_check=True)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"fit": "crop", "size": None, "resize_px": 200},
            r"resize_px: found 200, expected 224 to 4096 .*; the input is 224 x 224",
        ),
        ({"fit": "crop", "size": 4000}, r"resize_px: found 4571, expected 4000 to 4096"),
    ],
)
def test_options_that_do_not_fit_the_size_are_named(fields, message):
    config = TrainConfig.of("digits", **fields)
    with pytest.raises(ConfigError, match=message):
        spec_for(config.input, config.input.size_px or (224, 224), (0,) * 3, (1,) * 3)


def test_a_configuration_becomes_a_spec():
    config = TrainConfig.of("digits", fit="pad", anchor="bottom-left", fill="#01Ff80", resample="bicubic", color="gray")
    assert spec_for(config.input, (64, 64), (0.5,) * 3, (0.25,) * 3) == PreprocessSpec(
        size=(64, 64), mean=(0.5,) * 3, std=(0.25,) * 3, color="gray", fit="pad", anchor="bottom-left",
        fill=(1, 255, 128), resample="bicubic",
    )  # fmt: skip
    assert spec_for(TrainConfig.of("digits", fit="crop").input, (224, 224), (0,) * 3, (1,) * 3).resize_px == 256
