"""The preprocessing: `PreprocessSpec` -> ONNX graph, and `Preprocessor`, which runs that graph.

There is no second implementation. Training and evaluation run this graph through onnxruntime, export splices the very
same graph in front of the network, so what the model was trained on and what the shipped file computes cannot differ.
It is built by hand and never traced: exporters of torch emit a resize with other borders.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from tl_infer.contract import INPUT_NAME, PreprocessSpec
from tl_infer.images import Pixels
from tl_train.errors import ConfigError

OPSET = 18  # the first with an antialiased Resize; onnxruntime reads it since 1.14
TENSOR_NAME = "tensor"

# Luma of ITU-R BT.601 in 16-bit fixed point. Source: Pillow's Convert.c, macro L24, behind mode "L".
_LUMA = (19595, 38470, 7471)
_LUMA_HALF = 0x8000
_LUMA_BITS = 1 << 16

# Just above 1920 x 1080.
FLOAT_RESIZE_MAX_PIXELS = 1 << 21

# `exclude_outside` renormalises the filter at the borders; without it border values are off by up to 16 levels.
_LINEAR = {
    "mode": "linear",
    "antialias": 1,
    "exclude_outside": 1,
    "coordinate_transformation_mode": "half_pixel",
}


class Preprocessor:
    """Runs the preprocessing graph of a spec; thread-safe.

    Attributes:
        spec: what the graph was built from.

    """

    def __init__(self, spec: PreprocessSpec) -> None:
        """Build the graph and open it.

        Raises:
            ConfigError: the spec asks for something the graph cannot do.

        """
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

    Raises:
        ConfigError: the spec asks for something the graph cannot do.

    """
    if spec.fit != "squash" or spec.resample != "bilinear":
        raise ConfigError(f"fit {spec.fit}, resample {spec.resample}: only squash with bilinear can be built so far")
    graph = _GraphBuilder()
    value = graph.node("Transpose", [INPUT_NAME], "channels_first", perm=[0, 3, 1, 2])
    if spec.color == "gray":
        value = _gray(graph, value)
    value = _resize(graph, value, spec)
    _normalize(graph, value, spec)
    return graph.model(spec)


class _GraphBuilder:
    """Collects nodes and constants; names carry a prefix so that they never meet those of the network."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[TensorProto] = []

    def node(self, op: str, inputs: Sequence[str], name: str, output: str = "", **attributes: Any) -> str:
        """Add a node with one output; returns the output's name."""
        output = output or f"preprocess/{name}"
        self._nodes.append(helper.make_node(op, inputs, [output], name=f"preprocess/{name}", **attributes))
        return output

    def constant(self, values: npt.ArrayLike, dtype: npt.DTypeLike, name: str) -> str:
        """Add a constant; returns its name."""
        self._constants.append(numpy_helper.from_array(np.asarray(values, dtype), f"preprocess/{name}"))
        return f"preprocess/{name}"

    def model(self, spec: PreprocessSpec) -> onnx.ModelProto:
        """The finished, checked model."""
        graph = helper.make_graph(
            self._nodes,
            "preprocess",
            [helper.make_tensor_value_info(INPUT_NAME, TensorProto.UINT8, ["N", "H", "W", 3])],
            [helper.make_tensor_value_info(TENSOR_NAME, TensorProto.FLOAT, ["N", 3, *spec.size])],
            self._constants,
        )
        opset = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(
            graph,
            opset_imports=opset,
            ir_version=helper.find_min_ir_version_for(opset),
            producer_name="tl-toolkit",
        )
        onnx.checker.check_model(model, full_check=True)
        return model


def _gray(graph: _GraphBuilder, value: str) -> str:
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


def _resize(graph: _GraphBuilder, value: str, spec: PreprocessSpec) -> str:
    """uint8 [N, c, H, W] -> float [N, c, h, w] with whole gray levels, aspect ratio ignored.

    Pillow rounds between the horizontal and the vertical pass, and two such roundings that differ at a tie end up two
    levels apart. Resizing in float rounds once, at the end, and is therefore never more than one level from any of
    them. It takes twelve bytes a pixel, though, so large pictures (which are only ever shrunk) are resized in uint8:
    as fast, 200 MB less for 12 megapixels, and a second level of difference was seen in 1 of 50,000 tiny pictures.
    """
    batch_and_channels = graph.node("Shape", [value], "batch_and_channels", start=0, end=2)
    height_and_width = graph.constant(spec.size, np.int64, "height_and_width")
    sizes = graph.node("Concat", [batch_and_channels, height_and_width], "sizes", axis=0)
    is_large = _has_more_pixels_than(graph, value, FLOAT_RESIZE_MAX_PIXELS)
    in_uint8, in_float = _Branch("uint8"), _Branch("float")
    in_uint8.node("Resize", [value, "", "", sizes], **_LINEAR)
    in_uint8.node("Cast", in_uint8.last, to=TensorProto.FLOAT)
    in_float.node("Cast", [value], to=TensorProto.FLOAT)
    in_float.node("Resize", [*in_float.last, "", "", sizes], **_LINEAR)
    in_float.node("Round", in_float.last)
    return graph.node("If", [is_large], "resized", then_branch=in_uint8.graph(), else_branch=in_float.graph())


def _has_more_pixels_than(graph: _GraphBuilder, value: str, limit: int) -> str:
    """Whether H times W of [N, c, H, W] is above the limit: a boolean scalar."""
    sides = graph.node("Shape", [value], "sides", start=2, end=4)
    pixels = graph.node("ReduceProd", [sides], "pixels", keepdims=0)
    return graph.node("Greater", [pixels, graph.constant(limit, np.int64, "float_limit")], "is_large")


class _Branch:
    """A chain of nodes inside an `If`; reads the values of the graph around it."""

    def __init__(self, name: str) -> None:
        self._name = f"preprocess/resize_{name}"
        self._nodes: list[onnx.NodeProto] = []

    @property
    def last(self) -> list[str]:
        """The output of the last node, as inputs of the next."""
        return list(self._nodes[-1].output)

    def node(self, op: str, inputs: Sequence[str], **attributes: Any) -> None:
        """Add a node to the chain."""
        name = f"{self._name}/{op}"
        self._nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))

    def graph(self) -> onnx.GraphProto:
        """The branch; its output is the last node's."""
        output = helper.make_tensor_value_info(self.last[0], TensorProto.FLOAT, None)
        return helper.make_graph(self._nodes, self._name, [], [output])


def _normalize(graph: _GraphBuilder, value: str, spec: PreprocessSpec) -> str:
    """(x / 255 - mean) / std as one multiplication and one addition per value."""
    mean, std = np.asarray(spec.mean), np.asarray(spec.std)
    scale = graph.constant((1 / (255 * std)).reshape(1, 3, 1, 1), np.float32, "scale")
    offset = graph.constant((-mean / std).reshape(1, 3, 1, 1), np.float32, "offset")
    scaled = graph.node("Mul", [value, scale], "scaled")
    return graph.node("Add", [scaled, offset], "normalized", output=TENSOR_NAME)
