"""Which layers stay float, on a small network of random weights."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tl_export.smaller.gates import Allowance
from tl_export.smaller.inputs import NetworkInputs
from tl_export.smaller.qdq import QuantizableNetwork
from tl_export.smaller.search import Search
from tl_train.progress import Progress

CLASSES, WIDTH, DEPTH = 4, 8, 6


def small_network() -> onnx.ModelProto:
    """Convolutions with Relu, pooled, and a head."""
    random = np.random.default_rng(0)
    nodes, tensors, value, channels = [], [], "tensor", 3
    for number in range(DEPTH):
        weight = random.normal(size=(WIDTH, channels, 3, 3)) / np.sqrt(4.5 * channels)
        tensors.append(numpy_helper.from_array(weight.astype(np.float32), f"w{number}"))
        tensors.append(numpy_helper.from_array(random.normal(size=WIDTH).astype(np.float32) / 10, f"b{number}"))
        nodes.append(helper.make_node("Conv", [value, f"w{number}", f"b{number}"], [f"c{number}"], f"conv{number}",
                                      pads=[1, 1, 1, 1]))  # fmt: skip
        nodes.append(helper.make_node("Relu", [f"c{number}"], [f"r{number}"], f"relu{number}"))
        value, channels = f"r{number}", WIDTH
    tensors.append(numpy_helper.from_array(random.normal(size=(CLASSES, WIDTH)).astype(np.float32), "weight"))
    tensors.append(numpy_helper.from_array(np.zeros(CLASSES, np.float32), "bias"))
    nodes.append(helper.make_node("GlobalAveragePool", [value], ["pooled"], "pool"))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["seen"], "flatten"))
    nodes.append(helper.make_node("Gemm", ["seen", "weight", "bias"], ["logits"], "head", transB=1))
    graph = helper.make_graph(
        nodes, "small", [helper.make_tensor_value_info("tensor", TensorProto.FLOAT, ["N", 3, 16, 16])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", CLASSES])], tensors,
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


@pytest.fixture(scope="module")
def inputs():
    random = np.random.default_rng(1)
    coarse = random.integers(0, 256, (40, 3, 4, 4), dtype=np.uint8)
    scale, offset = np.full((3, 1, 1), 1 / 127.5, np.float32), np.full((3, 1, 1), -1, np.float32)
    levels = coarse.repeat(4, axis=2).repeat(4, axis=3)
    return NetworkInputs(levels, random.integers(0, CLASSES, 40), scale, offset)


def test_all_layers_are_int8_where_that_shows_no_loss(inputs):
    network = QuantizableNetwork(small_network(), (inputs[place] for place in range(10)))
    assert network.layers == tuple((f"conv{number}", f"relu{number}") for number in range(DEPTH))
    search = Search(network, inputs.part(10), Allowance(0.005), 1.0, Progress())
    chosen = search.choose(4)
    assert (chosen.excluded, [attempt.layers for attempt in search.attempts]) == ((), [0])
    assert 0 < chosen.attempt.noise.low < chosen.attempt.noise.value < 0.05
    assert chosen.attempt.loss.pictures == 30


def test_where_nothing_helps_half_the_layers_are_tried_and_the_best_is_taken(inputs):
    """Ranges of plain grey images fit no others."""
    grey = np.zeros((3, 16, 16), np.float32)
    network = QuantizableNetwork(small_network(), [grey, grey])
    search = Search(network, inputs.part(10), Allowance(0.0), 1.0, Progress())
    chosen = search.choose(4)
    assert [attempt.layers for attempt in search.attempts] == [0, 1, 2, 3]
    assert chosen.attempt in search.attempts
    assert chosen.attempt.noise.value > 0.05
    assert len(chosen.excluded) == 2 * chosen.attempt.layers
