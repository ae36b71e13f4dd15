"""An int8 file without what its numbers do not need: 11 to 15% of its size (Lite0), with the same int8 arithmetic.

Beside the weights, onnxruntime's quantizer stores for every channel a zero point that is zero, the scale of the bias,
which is a product of two other scales, and the zero of that. The bank of the familiarity and what is left of float
weights are rounded, too.
"""

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tl_export.graph.familiarity import round_bank
from tl_export.graph.network_part import reads
from tl_export.smaller.fp16 import store_weights_as_fp16

_WITH_BIAS = ("Conv", "ConvTranspose", "Gemm")

# What onnxruntime's quantizer appends to names, and what is as good; a name stands in three places or four.
_ENDINGS = {
    "_QuantizeLinear_Output": "/q",
    "_DequantizeLinear_Output": "/dq",
    "_QuantizeLinear": "/q",
    "_DequantizeLinear": "/dq",
    "_quantized_scale": "/scale",
    "_quantized_zero_point": "/zero",
    "_quantized": "/int8",
    "_scale": "/scale",
    "_zero_point": "/zero",
}

Initializers = Mapping[str, onnx.TensorProto]


def compact(model: onnx.ModelProto) -> onnx.ModelProto:
    """The int8 file with the same network, stored smaller.

    - Zero points that are zero are left out: that is what their absence means.
    - Scales of biases become a product in the graph, which runtimes fold when they open the file; bit by bit the same.
    - The weights of the head, and of layers left in float, become float16.
    - The familiarity's bank gets 8 bits a value.

    Args:
        model: a finished file whose network is int8; not changed.

    Returns:
        A model that passed the ONNX checker.

    """
    result = store_weights_as_fp16(model)
    _leave_out_zeros(result.graph)
    _multiply_scales(result.graph)
    _drop_unused(result.graph)
    _shorten_names(result.graph)
    round_bank(result.graph)
    onnx.checker.check_model(result, full_check=True)
    return result


def _leave_out_zeros(graph: onnx.GraphProto) -> None:
    """Zero points of constants that are zero throughout, as those of symmetric weights and of biases are."""
    tensors = _initializers(graph)
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in tensors and len(node.input) > 2:
            zeros = tensors.get(node.input[2])
            if zeros is not None and not numpy_helper.to_array(zeros).any():
                del node.input[2]


def _multiply_scales(graph: onnx.GraphProto) -> None:
    """A bias is in steps of what a product of input and weight is in steps of; its scale is the product of theirs."""
    tensors = _initializers(graph)
    made_by = {name: node for node in graph.node for name in node.output}
    products = []
    for node in graph.node:
        if node.op_type not in _WITH_BIAS or len(node.input) < 3:
            continue
        scales = [_scale_name(made_by.get(name)) for name in node.input]
        if all(name in tensors for name in scales) and _is_product(*(tensors[name] for name in scales)):
            product = f"{node.name}/bias_scale"
            products.append(helper.make_node("Mul", scales[:2], [product], product))
            made_by[node.input[2]].input[1] = product
    nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend([*products, *nodes])


def _scale_name(node: onnx.NodeProto | None) -> str:
    return node.input[1] if node is not None and node.op_type == "DequantizeLinear" else ""


def _is_product(of_input: onnx.TensorProto, of_weight: onnx.TensorProto, of_bias: onnx.TensorProto) -> bool:
    """Whether float32 gives the scale of the bias exactly, and storing it takes more than saying so."""
    one, other, found = (numpy_helper.to_array(tensor) for tensor in (of_input, of_weight, of_bias))
    return found.size > 1 and np.array_equal(one * other, found)


def _drop_unused(graph: onnx.GraphProto) -> None:
    """Leave out the constants that no node reads."""
    used = {name for node in graph.node for name in reads(node)}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _shorten_names(graph: onnx.GraphProto) -> None:
    """Of what the quantizer named, where no other has the shorter name."""
    kept = {value.name for value in (*graph.input, *graph.output)}
    kept.update(name for node in graph.node for name in set(reads(node)).difference(node.input))
    names = dict.fromkeys(name for node in graph.node for name in (*node.input, *node.output) if name)
    taken, shorter = set(names), dict[str, str]()
    for name in names:
        ending = next((ending for ending in _ENDINGS if name.endswith(ending)), None)
        if ending is None or name in kept:
            continue
        short = name.removesuffix(ending) + _ENDINGS[ending]
        if short not in taken:
            shorter[name] = short
            taken.add(short)
    for node in graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = shorter.get(name, name)
        for place, name in enumerate(node.output):
            node.output[place] = shorter.get(name, name)
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            node.name = node.output[0]
    for tensor in graph.initializer:
        tensor.name = shorter.get(tensor.name, tensor.name)


def _initializers(graph: onnx.GraphProto) -> Initializers:
    return {tensor.name: tensor for tensor in graph.initializer}
