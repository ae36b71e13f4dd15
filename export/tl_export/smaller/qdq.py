"""int8 by onnxruntime.quantization: ranges from images, then a network with QuantizeLinear/DequantizeLinear pairs.

The only module of tl_export that names onnxruntime.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Collection, Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QDQQuantizer, QuantType
from onnxruntime.quantization.calibrate import create_calibrator
from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

from tl_export.errors import ExportError
from tl_export.graph.network_head import GraphHead, find_head
from tl_export.graph.network_part import copy_of, leads_to
from tl_infer.errors import first_line
from tl_infer.system.temporaries import temporary_folder
from tl_train.preprocess.graph import TENSOR_NAME

_OPERATORS = sorted({*QDQRegistry, *QLinearOpsRegistry})
_WITH_WEIGHTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
# Between two of these the value is quantized all the same, as the input of the second.
_FLOAT_OUTPUT = ("Gemm", "MatMul")
# What may lie between the last layer and the head, which sees the pooled features as they are.
_POOLING = ("Flatten", "GlobalAveragePool", "Identity", "ReduceMean", "Reshape", "Squeeze")
# Between these and the quantization of their output onnxruntime takes a layer for one that is to be quantized.
_ACTIVATIONS = ("Clip", "Relu")

_LOWEST = "lowest_float32"

Layer = tuple[str, ...]


class QuantizableNetwork:
    """A network with the ranges of its values measured; gives int8 versions of itself.

    The head stays float: it costs next to no time, the heatmap needs its weights in float anyway, and it can be fitted
    again on exactly what it sees.

    Attributes:
        float32: the network as it was given, its nodes named.
        head: its head.
        layers: in the order of the network, the names of nodes that are quantized together: a convolution or linear
            layer with the activations, sums and poolings that follow it.

    """

    def __init__(self, network: onnx.ModelProto, tensors: Iterable[npt.NDArray[np.float32]]) -> None:
        """Measure the ranges.

        Args:
            network: as `network_part` gives it.
            tensors: preprocessed images, float32 (3, h, w), like those to come.

        Raises:
            ExportError: onnxruntime cannot run or quantize the network, there are no images, or the network does not
                end in a plain linear layer.

        """
        self.float32 = self._network = _named(network)
        head = find_head(self._network)
        if head is None:
            raise ExportError("int8 needs a network that ends in a linear layer with a bias; export without --int8")
        self.head = head
        with _explained("measure the ranges of"), _quiet():
            self._network = onnx.shape_inference.infer_shapes(self._network)
            self._ranges = _measure_ranges(self._network, tensors)
        self.layers = _layers(self._network, head)

    def int8(self, excluded: Collection[str] = (), only: Collection[str] | None = None) -> onnx.ModelProto:
        """The network in int8: weights per channel and signed, activations unsigned, biases int32.

        Measured on Lite0 (10 classes, one thread, AVX-512 VNNI), how many times as fast as float32, and the noise in
        the logits: this 1.76 and 0.65%; one scale per weight tensor 1.73 and 8.6%; weights of 7 bits 1.71 and 2.7%;
        unsigned weights 0.21.

        Args:
            excluded: names of nodes that stay float.
            only: names of the nodes that become int8; None for all that can.

        """
        duplicate = copy_of(self._network)
        chosen = {name for layer in self.layers for name in layer} if only is None else set(only)
        nodes = sorted(chosen.difference(excluded))
        if not nodes:
            return duplicate
        with _explained("quantize"), _quiet():
            quantizer = QDQQuantizer(
                duplicate,
                per_channel=True,
                reduce_range=False,
                weight_qType=QuantType.QInt8,
                activation_qType=QuantType.QUInt8,
                tensors_range=self._ranges,
                nodes_to_quantize=nodes,
                nodes_to_exclude=[],
                op_types_to_quantize=_OPERATORS,
                extra_options={"OpTypesToExcludeOutputQuantization": list(_FLOAT_OUTPUT)},
            )
            quantizer.quantize_model()
            quantizer.model.topological_sort()
        result: onnx.ModelProto = quantizer.model.model
        _keep_float_layers(result)
        return result


def _measure_ranges(network: onnx.ModelProto, tensors: Iterable[npt.NDArray[np.float32]]) -> Any:
    """Smallest and largest value of every tensor over the images, in onnxruntime's own form."""
    with temporary_folder() as folder:  # onnxruntime wants files
        path = folder / "network.onnx"
        path.write_bytes(network.SerializeToString())
        calibrator = create_calibrator(
            path,
            _OPERATORS,
            augmented_model_path=str(folder / "observed.onnx"),
            calibrate_method=CalibrationMethod.MinMax,
        )
        calibrator.collect_data(_Reader(tensors))
        return calibrator.compute_data()


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime ships no types
    """Feeds images to onnxruntime one by one."""

    def __init__(self, tensors: Iterable[npt.NDArray[np.float32]]) -> None:
        self._tensors = iter(tensors)

    def get_next(self) -> dict[str, npt.NDArray[np.float32]] | None:
        """The next image, or None after the last."""
        tensor = next(self._tensors, None)
        return None if tensor is None else {TENSOR_NAME: tensor[np.newaxis]}


def _named(network: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which every node has a name of its own; nodes are chosen by name."""
    result = copy_of(network)
    seen: set[str] = set()
    for number, node in enumerate(result.graph.node):
        if not node.name or node.name in seen:
            node.name = f"{node.op_type}_{number}"
        seen.add(node.name)
    return result


def _layers(network: onnx.ModelProto, head: GraphHead) -> tuple[Layer, ...]:
    """The nodes that may be quantized: not the head, nor the pooling before it, nor what no logit depends on."""
    nodes = list(network.graph.node)
    needed = leads_to(nodes, _before_pooling(nodes, head.seen))
    weights = {tensor.name for tensor in network.graph.initializer}
    layers: list[list[str]] = [[]]
    for node in nodes:
        if node.op_type not in _OPERATORS or not needed.intersection(node.output):
            continue
        if node.op_type in _WITH_WEIGHTS and weights.intersection(node.input):
            layers.append([])
        layers[-1].append(node.name)
    return tuple(tuple(layer) for layer in layers if layer)


def _before_pooling(nodes: list[onnx.NodeProto], seen: str) -> str:
    """The value that is pooled into what the head sees."""
    made_by = {name: node for node in nodes for name in node.output}
    while seen in made_by and made_by[seen].op_type in _POOLING:
        seen = made_by[seen].input[0]
    return seen


def _keep_float_layers(network: onnx.ModelProto) -> None:
    """Keep onnxruntime from quantizing layers that were left in float; modified in place.

    Where a float layer lies between int8 ones, its optimizer (1.32) quantizes the weights after all, with one scale for
    the whole tensor: a depthwise layer that was to be spared then made fifteen times the noise of all others together.
    It does so where nothing but a Clip or Relu lies between the layer and the quantization of its output; a Max with
    the lowest number changes nothing and is something else.
    Source: onnxruntime/core/optimizer/qdq_transformer/weight_bias_quantization.cc.
    """
    graph = network.graph
    made_by = {name: node for node in graph.node for name in node.output}
    floats = {tensor.name for tensor in graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        if node.op_type == "QuantizeLinear" and _is_of_float_layer(node.input[0], made_by, floats):
            kept = f"{node.input[0]}_float"
            nodes.append(helper.make_node("Max", [node.input[0], _LOWEST], [kept], kept))
            node.input[0] = kept
        nodes.append(node)
    if len(nodes) > len(graph.node):
        lowest = np.array(np.finfo(np.float32).min, np.float32)
        graph.initializer.append(numpy_helper.from_array(lowest, _LOWEST))
    del graph.node[:]
    graph.node.extend(nodes)


def _is_of_float_layer(value: str, made_by: dict[str, onnx.NodeProto], weights: set[str]) -> bool:
    """Whether a value is computed by a layer with float weights, through activations at most."""
    node = made_by.get(value)
    while node is not None and node.op_type in _ACTIVATIONS:
        node = made_by.get(node.input[0])
    return node is not None and node.op_type in _WITH_WEIGHTS and node.input[1] in weights


@contextlib.contextmanager
def _explained(verb: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise ExportError(
            f"onnxruntime cannot {verb} the network: {first_line(error)}; export without --int8"
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the quantizer's advice to its own users off the terminal; errors still raise."""
    root, handler = logging.getLogger(), logging.NullHandler()
    # logging.warning() on a root without handlers installs one for good.
    root.addHandler(handler)
    before = root.manager.disable
    logging.disable(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logging.disable(before)
            root.removeHandler(handler)
