import dataclasses

import numpy as np
import onnx.utils
import onnxruntime
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


def test_large_pictures_agree_too():
    pixels = np.random.default_rng(0).integers(0, 256, (1500, 1500, 3), dtype=np.uint8)
    oracle = np.asarray(Image.fromarray(pixels).resize((200, 100), Image.Resampling.BILINEAR))
    assert difference(levels((100, 200))(pixels), oracle).max() <= 1


@settings(max_examples=200)
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


# What every runtime has. Not among them: `If`, `Loop`, `Resize`, and operators with a rank that depends on values.
PORTABLE = {
    "Abs", "Add", "And", "Cast", "Ceil", "Clip", "Concat", "Div", "Expand", "Floor", "Gather", "GreaterOrEqual", "Less",
    "MatMul", "Max", "Min", "Mod", "Mul", "Neg", "Range", "ReduceMax", "ReduceMin", "ReduceSum", "Relu", "Reshape",
    "Round", "Shape", "Slice", "Split", "Squeeze", "Sub", "Transpose", "Unsqueeze", "Where",
}  # fmt: skip
EVERY_FORM = [
    PreprocessSpec(
        size=(65, 48), mean=(0.5,) * 3, std=(0.5,) * 3, fit=fit, resample=resample, color=color,
        resize_px=80 if fit == "crop" else None,
    )
    for fit in ("squash", "letterbox", "pad", "crop")
    for resample in ("bilinear", "bicubic")
    for color in ("rgb", "gray")
]  # fmt: skip


@pytest.mark.parametrize("spec", EVERY_FORM, ids=lambda spec: f"{spec.fit}-{spec.resample}-{spec.color}")
def test_the_graph_is_of_portable_operators_with_known_ranks(spec):
    model = onnx.shape_inference.infer_shapes(build_graph(spec), strict_mode=True, data_prop=True)
    assert {node.op_type for node in model.graph.node} <= PORTABLE
    shapes = {value.name: value.type.tensor_type for value in (*model.graph.value_info, *model.graph.output)}
    for node in model.graph.node:
        assert all(shapes[name].HasField("shape") for name in node.output), node.name
    assert len(model.graph.node) < 400


@pytest.mark.parametrize("spec", EVERY_FORM, ids=lambda spec: f"{spec.fit}-{spec.resample}-{spec.color}")
def test_a_batch_gives_what_its_pictures_give_one_by_one(spec):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 90, 70, 3), dtype=np.uint8)
    session = onnxruntime.InferenceSession(build_graph(spec).SerializeToString(), providers=["CPUExecutionProvider"])
    (batch,) = session.run(None, {"image": pixels})
    preprocess = Preprocessor(spec)
    np.testing.assert_array_equal(batch, np.stack([preprocess(image) for image in pixels]))


@pytest.mark.parametrize("spec", EVERY_FORM[::4], ids=lambda spec: spec.fit)
def test_whole_numbers_of_32_bits_suffice_for_the_largest_pictures(spec):
    """Several runtimes have no others, and their answer would be wrong without an error."""
    model = build_graph(dataclasses.replace(spec, size=(4096, 4096), resize_px=spec.resize_px and 4096))
    values = onnx.shape_inference.infer_shapes(model).graph.value_info
    names = [value.name for value in values if value.type.tensor_type.elem_type == onnx.TensorProto.INT64]
    assert len(names) > 20
    geometry = onnx.utils.Extractor(onnx.shape_inference.infer_shapes(model)).extract_model(["image"], names)
    session = onnxruntime.InferenceSession(geometry.SerializeToString(), providers=["CPUExecutionProvider"])
    for shape in ((65_535, 2), (2, 65_535)):
        results = session.run(names, {"image": np.zeros((1, *shape, 3), np.uint8)})
        for name, found in zip(names, results, strict=True):
            assert np.abs(found).max() < 2**31, name


def test_another_graph_has_another_key():
    one, same, other = (
        Preprocessor(PreprocessSpec(size=(32, 32), mean=(0.5,) * 3, std=(0.5,) * 3, resample=resample)).key
        for resample in ("bilinear", "bilinear", "bicubic")
    )
    assert one == same != other


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
