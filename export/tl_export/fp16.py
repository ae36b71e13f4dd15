"""Weights stored as float16 and cast to float32 once, when the file is opened: about half the size, the same speed."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tl_export.splice import network_part, with_network

# How far a probability of such a file may be from the trained float32 model's, in place of verify's 1e-4. Rounding to
# float16 moves a weight by at most 2^-11 of itself. Measured on real photographs it moved a probability by up to
# @MEASURED@; a real fault (a wrong mean, swapped channels) by 1e-2 and more.
FP16_MAX_PROBABILITY_DIFFERENCE = 5e-3

# Biases and other small tensors would save nothing, and the casts make the graph longer.
_MIN_VALUES = 256


def store_weights_as_fp16(model: onnx.ModelProto) -> onnx.ModelProto:
    """The file with its network's weights in float16, each behind a Cast to float32.

    Runtimes fold the casts while they open the file, so that they compute in float32 as before. Constants of the
    preprocessing, small tensors, and tensors with a value that float16 cannot hold (above 65,504) stay float32.

    Args:
        model: a finished file; not changed.

    Returns:
        A model that passed the ONNX checker.

    """
    network = network_part(model)
    stored, casts = [], []
    for tensor in network.graph.initializer:
        halved = _as_fp16(tensor)
        if halved is not None:
            casts.append(helper.make_node("Cast", [halved.name], [tensor.name], halved.name, to=TensorProto.FLOAT))
        stored.append(tensor if halved is None else halved)
    nodes = list(network.graph.node)
    del network.graph.node[:], network.graph.initializer[:]
    network.graph.node.extend([*casts, *nodes])
    network.graph.initializer.extend(stored)
    return with_network(model, network)


def _as_fp16(tensor: onnx.TensorProto) -> onnx.TensorProto | None:
    """The tensor in float16 under a name of its own, or None where it stays as it is."""
    if tensor.data_type != TensorProto.FLOAT:
        return None
    values = numpy_helper.to_array(tensor)
    if values.size < _MIN_VALUES:
        return None
    with np.errstate(over="ignore"):
        halved = values.astype(np.float16)
    if not np.isfinite(halved).all():
        return None
    return numpy_helper.from_array(halved, f"{tensor.name}.fp16")
