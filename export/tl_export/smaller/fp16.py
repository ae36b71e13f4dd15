"""Weights stored as float16 and cast to float32 once, when the file is opened: about half the size, same speed."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tl_export.graph.network_part import network_part, with_network

# Smaller tensors stay float32: depthwise kernels and biases, some 1% of the file and most of the error.
# Measured on Lite0, 1000 classes: all tensors in float16 1.98 times smaller, off by up to 0.018; from 2048 values on
# 1.97 and 0.0027; from 8192 on 1.95 and 0.0018; from 20,000 on 1.90 and 0.0016.
MIN_VALUES = 8192

_QUANTIZING = ("QuantizeLinear", "DequantizeLinear")


def store_weights_as_fp16(model: onnx.ModelProto) -> onnx.ModelProto:
    """The file with its network's weights in float16, each followed by a Cast to float32.

    Runtimes fold the casts while they open the file, so they compute in float32 as before. Constants of the
    preprocessing, small tensors, tensors with a value that float16 cannot hold (above 65,504), and the scales of int8
    stay float32.

    Args:
        model: a finished file; not changed.

    Returns:
        A model that passed the ONNX checker.

    """
    network = network_part(model)
    scales = {name for node in network.graph.node if node.op_type in _QUANTIZING for name in node.input[1:]}
    stored, casts = [], []
    for tensor in network.graph.initializer:
        halved = None if tensor.name in scales else _as_fp16(tensor)
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
    if values.size < MIN_VALUES:
        return None
    with np.errstate(over="ignore"):
        halved = values.astype(np.float16)
    if not np.isfinite(halved).all():
        return None
    return numpy_helper.from_array(halved, f"{tensor.name}.fp16")
