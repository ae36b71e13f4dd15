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
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QDQQuantizer, QuantType
from onnxruntime.quantization.calibrate import create_calibrator
from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

from tl_export.errors import ExportError
from tl_export.graph.network_part import leads_to
from tl_infer.errors import first_line
from tl_infer.model.contract import LOGITS
from tl_infer.system.temporaries import temporary_folder
from tl_train.preprocess.graph import TENSOR_NAME

_OPERATORS = sorted({*QDQRegistry, *QLinearOpsRegistry})
_WITH_WEIGHTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
# The last of these gives the logits, which stay float: with 256 levels close classes would tie. Between two layers the
# value is quantized all the same, as the input of the second.
_FLOAT_OUTPUT = ("Gemm", "MatMul")

Layer = tuple[str, ...]


class QuantizableNetwork:
    """A network with the ranges of its values measured; gives int8 versions of itself.

    Attributes:
        layers: in the order of the network, the names of nodes that are quantized together: a convolution or linear
            layer with the activations, sums and poolings that follow it.

    """

    def __init__(self, network: onnx.ModelProto, tensors: Iterable[npt.NDArray[np.float32]]) -> None:
        """Measure the ranges.

        Args:
            network: as `network_part` gives it.
            tensors: preprocessed images, float32 (3, h, w), like those to come.

        Raises:
            ExportError: onnxruntime cannot run or quantize the network, or there are no images.

        """
        self._network = _named(network)
        with _explained("measure the ranges of"), _quiet():
            self._network = onnx.shape_inference.infer_shapes(self._network)
            self._ranges = _measure_ranges(self._network, tensors)
        self.layers = _layers(self._network)

    def int8(self, excluded: Collection[str] = (), only: Collection[str] | None = None) -> onnx.ModelProto:
        """The network in int8: weights per channel and signed, activations unsigned, biases int32.

        Args:
            excluded: names of nodes that stay float.
            only: names of the nodes that become int8; None for all that can.

        """
        duplicate = onnx.ModelProto()
        duplicate.CopyFrom(self._network)
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
    result = onnx.ModelProto()
    result.CopyFrom(network)
    seen: set[str] = set()
    for number, node in enumerate(result.graph.node):
        if not node.name or node.name in seen:
            node.name = f"{node.op_type}_{number}"
        seen.add(node.name)
    return result


def _layers(network: onnx.ModelProto) -> tuple[Layer, ...]:
    """The nodes that may be quantized; those that no logit depends on (the heatmap) stay float."""
    nodes = list(network.graph.node)
    needed = leads_to(nodes, LOGITS)
    weights = {tensor.name for tensor in network.graph.initializer}
    layers: list[list[str]] = [[]]
    for node in nodes:
        if node.op_type not in _OPERATORS or not needed.intersection(node.output):
            continue
        if LOGITS in node.output and node.op_type not in _FLOAT_OUTPUT:
            continue
        if node.op_type in _WITH_WEIGHTS and weights.intersection(node.input):
            layers.append([])
        layers[-1].append(node.name)
    return tuple(tuple(layer) for layer in layers if layer)


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
