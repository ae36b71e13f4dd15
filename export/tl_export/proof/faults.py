"""Fault injection: what runtimes and callers get wrong, to see whether the checks notice."""

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tl_infer.model.contract import INPUT_NAME


def without_antialias(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy as computed by a runtime that ignores `antialias`, as OpenVINO and OpenCV's dnn did."""
    copy = _copy(model)
    for node in _resizes(copy.graph):
        for attribute in node.attribute:
            if attribute.name in ("antialias", "exclude_outside"):  # the latter is only allowed with the former
                attribute.i = 0
    return copy


def with_swapped_channels(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that answers as to a caller who passes blue, green, red."""
    copy = _copy(model)
    for node in copy.graph.node:
        node.input[:] = ["rgb" if name == INPUT_NAME else name for name in node.input]
    copy.graph.initializer.append(numpy_helper.from_array(np.array([2, 1, 0]), "bgr"))
    copy.graph.node.insert(0, helper.make_node("Gather", [INPUT_NAME, "bgr"], ["rgb"], axis=3))
    return copy


FAULTS: Mapping[str, Callable[[onnx.ModelProto], onnx.ModelProto]] = {
    "resize without antialias": without_antialias,
    "swapped channels": with_swapped_channels,
}


def _resizes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        if node.op_type == "Resize":
            yield node
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _resizes(attribute.g)


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy
