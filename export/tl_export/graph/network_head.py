"""The head inside a network's graph: what it sees, and other values for it."""

import dataclasses

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from tl_export.graph.network_part import copy_of, leads_to
from tl_infer.model.contract import HEATMAP, LOGITS

Weights = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class GraphHead:
    """The last linear layer: logits = seen @ weight.T + bias.

    Attributes:
        node: its name in the graph.
        seen: the value that it sees.
        weight: float32 (C, D).
        bias: float32 (C,).

    """

    node: str
    seen: str
    weight: Weights
    bias: Weights


def find_head(network: onnx.ModelProto) -> GraphHead | None:
    """The head of a network, as `network_part` gives it; None where the logits come from anything but a plain one."""
    weights = {tensor.name: tensor for tensor in network.graph.initializer}
    node = next((node for node in network.graph.node if LOGITS in node.output), None)
    if node is None or node.op_type != "Gemm" or len(node.input) < 3 or not weights.keys() >= {*node.input[1:]}:
        return None
    given = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    if {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0, **given} != {"alpha": 1.0, "beta": 1.0, "transA": 0,
                                                                          "transB": 1}:  # fmt: skip
        return None
    weight, bias = (numpy_helper.to_array(weights[name]) for name in node.input[1:])
    return GraphHead(node.name, node.input[0], weight, bias)


def cut_at(network: onnx.ModelProto, value: str, width: int) -> onnx.ModelProto:
    """A copy that computes one value alone, float32 (N, width)."""
    result = copy_of(network)
    del result.graph.output[:], result.graph.node[:]
    result.graph.output.append(helper.make_tensor_value_info(value, TensorProto.FLOAT, ["N", width]))
    needed = leads_to(list(network.graph.node), value)
    result.graph.node.extend(node for node in network.graph.node if needed.intersection(node.output))
    return result


def with_head(network: onnx.ModelProto, weight: Weights, bias: Weights) -> onnx.ModelProto | None:
    """A copy with other values in its head, and in the heatmap that is made of the head.

    Args:
        network: one with a plain head, see `find_head`.
        weight: float32 (C, D).
        bias: float32 (C,).

    Returns:
        None where the heatmap is made of something else.

    """
    head = find_head(network)
    assert head is not None
    result = copy_of(network)
    nodes = list(result.graph.node)
    needed = leads_to(nodes, LOGITS)
    made_of = leads_to(nodes, HEATMAP) - needed
    beside = [node for node in nodes if made_of.intersection(node.output)]
    of_heatmap = {name for node in beside for name in node.input}
    names = next(node for node in nodes if node.name == head.node).input
    found_weight = not beside
    for tensor in result.graph.initializer:
        values = numpy_helper.to_array(tensor)
        is_weight = tensor.name == names[1] or (tensor.name in of_heatmap and np.array_equal(values, head.weight))
        found_weight |= is_weight and tensor.name in of_heatmap
        if is_weight:
            tensor.CopyFrom(numpy_helper.from_array(weight, tensor.name))
        elif tensor.name == names[2] or (tensor.name in of_heatmap and _same_values(values, head.bias)):
            # The tracer may have folded the reshaped bias of the heatmap into a constant of its own.
            tensor.CopyFrom(numpy_helper.from_array(bias.reshape(values.shape), tensor.name))
    return result if found_weight else None


def _same_values(values: npt.NDArray[np.generic], bias: Weights) -> bool:
    return values.dtype == bias.dtype and values.size == bias.size and np.array_equal(values.ravel(), bias)
