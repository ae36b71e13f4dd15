"""The preprocessing: `PreprocessSpec` -> ONNX graph, and `Preprocessor`, which runs that graph.

There is no second implementation. Training and evaluation run this graph through onnxruntime, export splices the very
same graph in front of the network, so what the model was trained on and what the shipped file computes cannot differ.
It is built by hand and never traced: exporters of torch emit a resize with other borders.
"""

import hashlib

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper

from tl_infer.images import Pixels
from tl_infer.model.contract import INPUT_NAME, PreprocessSpec
from tl_train.config.network import InputConfig
from tl_train.errors import ConfigError
from tl_train.preprocess.onnx_builder import GraphBuilder
from tl_train.preprocess.placement import fit_image

TENSOR_NAME = "tensor"

# The share of the resized image that a crop takes; the way ImageNet is evaluated: 224 of 256.
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
        key: SHA-256 (hex) of the graph: another graph, other tensors. What is computed of tensors is kept under it.

    """

    def __init__(self, spec: PreprocessSpec) -> None:
        """Build the graph and open it."""
        self.spec = spec
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1  # the callers run images in parallel
        options.inter_op_num_threads = 1
        model = build_graph(spec).SerializeToString(deterministic=True)
        self.key = hashlib.sha256(model).hexdigest()
        self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def __call__(self, pixels: Pixels) -> npt.NDArray[np.float32]:
        """Preprocess one image: uint8 (H, W, 3) RGB -> float32 (3, h, w), normalised."""
        (tensor,) = self._session.run([TENSOR_NAME], {INPUT_NAME: pixels[np.newaxis]})
        result: npt.NDArray[np.float32] = tensor[0]
        return result


def build_graph(spec: PreprocessSpec) -> onnx.ModelProto:
    """The preprocessing as an ONNX model.

    Returns:
        A checked model: input `image` uint8 [N, H, W, 3], output `tensor` float32 [N, 3, h, w].

    """
    graph = GraphBuilder()
    value = fit_image(graph, spec)
    _normalize(graph, value, spec)
    image = helper.make_tensor_value_info(INPUT_NAME, TensorProto.UINT8, ["N", "H", "W", 3])
    tensor = helper.make_tensor_value_info(TENSOR_NAME, TensorProto.FLOAT, ["N", 3, *spec.size])
    return graph.model([image], [tensor])


def _normalize(graph: GraphBuilder, value: str, spec: PreprocessSpec) -> str:
    """(x / 255 - mean) / std as one multiplication and one addition per value."""
    mean, std = np.asarray(spec.mean), np.asarray(spec.std)
    scale = graph.constant((1 / (255 * std)).reshape(1, 3, 1, 1), np.float32, "scale")
    offset = graph.constant((-mean / std).reshape(1, 3, 1, 1), np.float32, "offset")
    scaled = graph.node("Mul", [value, scale], "scaled")
    return graph.node("Add", [scaled, offset], "normalized", output=TENSOR_NAME)
