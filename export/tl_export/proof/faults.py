"""Fault injection: what runtimes and callers get wrong, to see whether the checks notice."""

from collections.abc import Callable, Mapping

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tl_export.graph.network_part import copy_of
from tl_infer.model.contract import INPUT_NAME
from tl_train.preprocess.filters import WIDENING


def without_antialias(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose filters do not widen when the image shrinks, as those of many resizes elsewhere."""
    copy = copy_of(model)
    for node in copy.graph.node:
        if node.name.endswith(f"/{WIDENING}"):
            node.input[0] = node.input[1]  # the larger of 1 and 1, instead of the scale and 1
    return copy


def with_swapped_channels(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that answers as to a caller who passes blue, green, red."""
    copy = copy_of(model)
    for node in copy.graph.node:
        node.input[:] = ["rgb" if name == INPUT_NAME else name for name in node.input]
    copy.graph.initializer.append(numpy_helper.from_array(np.array([2, 1, 0]), "bgr"))
    copy.graph.node.insert(0, helper.make_node("Gather", [INPUT_NAME, "bgr"], ["rgb"], axis=3))
    return copy


FAULTS: Mapping[str, Callable[[onnx.ModelProto], onnx.ModelProto]] = {
    "resize without antialias": without_antialias,
    "swapped channels": with_swapped_channels,
}
