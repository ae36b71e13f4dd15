"""int8 where sums of products saturate; the bytes of the network that tries it out are those of ONNX itself."""

import numpy as np
import onnxruntime as ort
import pytest

from tl_infer.model import saturation
from tl_infer.model.saturation import compute_exactly, products_saturate

KEY = "session.x64quantprecision"


def test_the_network_that_is_tried_is_what_it_says():
    pytest.importorskip("onnx", reason="classifying needs no onnx")
    from onnx import TensorProto, helper, numpy_helper

    weights = numpy_helper.from_array(np.full((8, 16), 127, np.int8), "b")
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["a", "b"], ["c"])], "g",
        [helper.make_tensor_value_info("a", TensorProto.UINT8, [1, 8])],
        [helper.make_tensor_value_info("c", TensorProto.INT32, [1, 16])], [weights],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    assert model.SerializeToString() == saturation._PROBE


@pytest.mark.parametrize("saturates", [True, False])
@pytest.mark.parametrize("operators", [{b"DequantizeLinear", b"Conv"}, {b"Conv"}])
def test_only_int8_on_such_a_processor_is_computed_in_another_way(operators, saturates, monkeypatch):
    monkeypatch.setattr(saturation, "products_saturate", lambda: saturates)
    options = ort.SessionOptions()
    compute_exactly(options, operators)
    asked = b"DequantizeLinear" in operators and saturates
    try:
        found = options.get_session_config_entry(KEY)
    except RuntimeError:
        found = "0"
    assert found == ("1" if asked else "0")


def test_what_is_found_here_is_what_the_processor_computes():
    options = ort.SessionOptions()
    session = ort.InferenceSession(saturation._PROBE, options, providers=["CPUExecutionProvider"])
    (sums,) = session.run(None, {"a": np.full((1, 8), 255, np.uint8)})
    assert products_saturate() == (int(sums[0, 0]) != 8 * 255 * 127)


def test_the_other_way_is_exact():
    options = ort.SessionOptions()
    options.add_session_config_entry(KEY, "1")
    session = ort.InferenceSession(saturation._PROBE, options, providers=["CPUExecutionProvider"])
    (sums,) = session.run(None, {"a": np.full((1, 8), 255, np.uint8)})
    assert set(sums[0].tolist()) == {8 * 255 * 127}
