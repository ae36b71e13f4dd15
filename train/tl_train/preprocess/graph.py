"""The preprocessing: `PreprocessSpec` -> ONNX graph, and `Preprocessor`, which runs that graph.

There is no second implementation. Training and evaluation run this graph through onnxruntime, export splices the very
same graph in front of the network, so what the model was trained on and what the shipped file computes cannot differ.
It is built by hand and never traced: exporters of torch emit a resize with other borders.
"""

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper

from tl_infer.images import Pixels
from tl_infer.model.contract import INPUT_NAME, PreprocessSpec
from tl_train.config.groups import InputConfig
from tl_train.errors import ConfigError
from tl_train.preprocess.onnx_builder import GraphBuilder
from tl_train.preprocess.placement import fit_picture

TENSOR_NAME = "tensor"

# Luma of ITU-R BT.601 in 16-bit fixed point. Source: Pillow's Convert.c, macro L24, behind mode "L".
_LUMA = (19595, 38470, 7471)
_LUMA_HALF = 0x8000
_LUMA_BITS = 1 << 16

# The share of the resized picture that a crop takes; the way ImageNet is evaluated: 224 of 256.
_CROP_SHARE = 0.875


def spec_for(
    config: InputConfig, size: tuple[int, int], mean: tuple[float, float, float], std: tuple[float, float, float]
) -> PreprocessSpec:
    """The preprocessing that a configuration asks for.

    Args:
        config: fit, anchor, fill, colour, resample, resize_px.
        size: height and width of the network's input, pixels.
        mean: the architecture's, per channel on the 0..1 scale.
        std: likewise.

    Raises:
        ConfigError: the options do not fit together or do not fit the size.

    """
    resize_px = config.resize_px
    if config.fit == "crop" and resize_px is None:
        resize_px = round(max(size) / _CROP_SHARE)
    try:
        return PreprocessSpec(
            size=size, mean=mean, std=std, color=config.color, fit=config.fit, anchor=config.anchor,
            fill=config.fill_rgb, resample=config.resample, resize_px=resize_px,
        )  # fmt: skip
    except ValueError as error:
        raise ConfigError(f"{error}; the input is {size[0]} x {size[1]} pixels") from error


class Preprocessor:
    """Runs the preprocessing graph of a spec; thread-safe.

    Attributes:
        spec: what the graph was built from.

    """

    def __init__(self, spec: PreprocessSpec) -> None:
        """Build the graph and open it."""
        self.spec = spec
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1  # the callers run pictures in parallel
        options.inter_op_num_threads = 1
        model = build_graph(spec).SerializeToString()
        self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def __call__(self, pixels: Pixels) -> npt.NDArray[np.float32]:
        """Preprocess one picture: uint8 (H, W, 3) RGB -> float32 (3, h, w), normalised."""
        (tensor,) = self._session.run([TENSOR_NAME], {INPUT_NAME: pixels[np.newaxis]})
        result: npt.NDArray[np.float32] = tensor[0]
        return result


def build_graph(spec: PreprocessSpec) -> onnx.ModelProto:
    """The preprocessing as an ONNX model.

    Returns:
        A checked model: input `image` uint8 [N, H, W, 3], output `tensor` float32 [N, 3, h, w].

    """
    graph = GraphBuilder()
    value = graph.node("Transpose", [INPUT_NAME], "channels_first", perm=[0, 3, 1, 2])
    fill: tuple[int, ...] = spec.fill
    if spec.color == "gray":
        value, fill = _gray(graph, value), (_luma(spec.fill),)
    value = fit_picture(graph, value, spec, fill)
    _normalize(graph, value, spec)
    image = helper.make_tensor_value_info(INPUT_NAME, TensorProto.UINT8, ["N", "H", "W", 3])
    tensor = helper.make_tensor_value_info(TENSOR_NAME, TensorProto.FLOAT, ["N", 3, *spec.size])
    return graph.model([image], [tensor])


def _gray(graph: GraphBuilder, value: str) -> str:
    """uint8 [N, 3, H, W] -> uint8 [N, 1, H, W], bit for bit Pillow's `convert("L")`.

    The one channel becomes three again when the per-channel mean and std are applied.
    """
    wide = graph.node("Cast", [value], "gray_int", to=TensorProto.INT32)
    weights = graph.constant(np.reshape(_LUMA, (1, 3, 1, 1)), np.int32, "luma_weights")
    weighted = graph.node("Mul", [wide, weights], "gray_weighted")
    axes = graph.constant([1], np.int64, "channel_axis")
    total = graph.node("ReduceSum", [weighted, axes], "gray_sum", keepdims=1)
    rounded = graph.node("Add", [total, graph.constant(_LUMA_HALF, np.int32, "luma_half")], "gray_rounded")
    luma = graph.node("Div", [rounded, graph.constant(_LUMA_BITS, np.int32, "luma_bits")], "gray_luma")
    return graph.node("Cast", [luma], "gray", to=TensorProto.UINT8)


def _luma(color: tuple[int, int, int]) -> int:
    """The grey level of an RGB colour, by the formula of `_gray`."""
    return (sum(level * weight for level, weight in zip(color, _LUMA, strict=True)) + _LUMA_HALF) // _LUMA_BITS


def _normalize(graph: GraphBuilder, value: str, spec: PreprocessSpec) -> str:
    """(x / 255 - mean) / std as one multiplication and one addition per value."""
    mean, std = np.asarray(spec.mean), np.asarray(spec.std)
    scale = graph.constant((1 / (255 * std)).reshape(1, 3, 1, 1), np.float32, "scale")
    offset = graph.constant((-mean / std).reshape(1, 3, 1, 1), np.float32, "offset")
    scaled = graph.node("Mul", [value, scale], "scaled")
    return graph.node("Add", [scaled, offset], "normalized", output=TENSOR_NAME)
