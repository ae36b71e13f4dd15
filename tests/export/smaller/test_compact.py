"""An int8 file stored smaller: the same int8 arithmetic, and a bank of 8 bits in place of 16."""

import dataclasses

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from support.small_network import CLASSES, coarse_inputs, convolutions_in_int8, small_network
from tl_export.graph.assemble import assemble
from tl_export.graph.familiarity import add_familiarity, round_bank
from tl_export.graph.network_part import network_part, with_network
from tl_export.smaller.compact import compact
from tl_export.smaller.qdq import QuantizableNetwork
from tl_infer.model.session import Session
from tl_train.familiarity.score import Familiarity, Scale, unit


@pytest.fixture(scope="module")
def spec(traced):
    preprocess = dataclasses.replace(traced[1].preprocess, size=(16, 16), resize_px=None)
    labels = tuple("abcd"[:CLASSES])
    return dataclasses.replace(traced[1], labels=labels, preprocess=preprocess, familiarity=None)


@pytest.fixture(scope="module")
def quantizable():
    inputs = coarse_inputs(8)
    return QuantizableNetwork(small_network(), (inputs[place] for place in range(len(inputs))))


def finished(quantizable: QuantizableNetwork, spec, excluded=()) -> onnx.ModelProto:
    file = assemble(small_network(), spec, ("probabilities", "logits"))
    int8 = onnx.ModelProto()
    int8.CopyFrom(quantizable.int8(excluded))
    del int8.graph.output[1:]  # the heatmap, which this file does not give
    return with_network(file, int8)


@pytest.mark.parametrize("optimized", [True, False])
def test_the_answers_are_the_same_bit_by_bit(quantizable, spec, optimized):
    file = finished(quantizable, spec)
    smaller = compact(file)
    assert smaller.ByteSize() < file.ByteSize()
    sessions = [Session.from_bytes(one.SerializeToString(), "model", optimized=optimized) for one in (file, smaller)]
    images = np.random.default_rng(2).integers(0, 256, (6, 40, 50, 3), dtype=np.uint8)
    expected, found = (session.run(images, ["probabilities", "logits"]) for session in sessions)
    for one, other in zip(expected, found, strict=True):
        assert np.array_equal(one, other)
    assert np.ptp(expected[1], axis=0).min() > 0, "answers that do not depend on the image would show nothing"


def test_nothing_is_stored_that_the_numbers_do_not_need(quantizable, spec):
    smaller = compact(finished(quantizable, spec)).graph
    tensors = {tensor.name: tensor for tensor in smaller.initializer}
    of_constants = [node for node in smaller.node if node.op_type == "DequantizeLinear" and node.input[0] in tensors]
    assert len(of_constants) == 2 * len(quantizable.layers), "weights and biases"
    assert all(len(node.input) == 2 for node in of_constants), "without zero points"
    biases = [node for node in of_constants if tensors[node.input[0]].data_type == TensorProto.INT32]
    products = {node.output[0] for node in smaller.node if node.op_type == "Mul"}
    assert biases
    assert all(node.input[1] in products for node in biases)


def test_layers_stay_what_they_were(quantizable, spec, tmp_path):
    between = quantizable.layers[2]
    for excluded in ((), between):
        network = network_part(compact(finished(quantizable, spec, excluded)))
        assert convolutions_in_int8(network, tmp_path) == len(quantizable.layers) - bool(excluded)


@pytest.mark.parametrize("sign", [-1, 0])
def test_a_bank_of_8_bits_moves_the_familiarity_little(sign):
    random = np.random.default_rng(1)
    features = np.clip(random.normal(size=(80, 64)), 2 * sign, None)  # with signs, or as behind a Relu
    familiarity = Familiarity(
        bank=unit(features[:40]).astype(np.float16), neighbours=5, similarity=Scale(0.5, 0.1), energy=Scale(0.0, 3.0),
        weight=2.0, quantiles=np.linspace(-14, 2, 101, dtype=np.float32), images=40,
    )  # fmt: skip
    graph = helper.make_graph(
        [helper.make_node("Identity", ["e"], ["embedding"]), helper.make_node("Identity", ["l"], ["logits"])],
        "part",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", width]) for name, width in (("e", 64), ("l", 3))],
        [helper.make_tensor_value_info("familiarity", TensorProto.FLOAT, ["N"])],
    )
    add_familiarity(graph, familiarity)
    round_bank(graph)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    stored = next(tensor for tensor in graph.initializer if tensor.name.endswith("bank"))
    assert stored.data_type == (TensorProto.INT8 if sign else TensorProto.UINT8)
    logits = random.normal(size=(40, 3)).astype(np.float32)
    (found,) = onnx.reference.ReferenceEvaluator(model).run(None, {"e": features[40:].astype(np.float32), "l": logits})
    np.testing.assert_allclose(found, familiarity(features[40:], logits), atol=5e-3)
    assert ((found > 0) & (found < 1)).sum() > 20
