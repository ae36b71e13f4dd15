import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from tl_export.graph.assemble import assemble
from tl_export.proof.precision import FP16_MAX_PROBABILITY_DIFFERENCE
from tl_export.smaller.fp16 import MIN_VALUES, store_weights_as_fp16
from tl_infer import Classifier
from tl_train.models.trace import trace
from tl_train.run_folder.folder import RunFolder


@pytest.fixture(scope="module")
def model(tiny_run):
    network, spec, _ = RunFolder(tiny_run).load_model()
    return assemble(trace(network, spec.preprocess.size), spec)


def with_weights(model: onnx.ModelProto, change) -> tuple[onnx.ModelProto, str]:
    """A copy in which the largest weights went through `change`, and their name."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    largest = max(result.graph.initializer, key=lambda tensor: int(np.prod(tensor.dims)))
    largest.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(largest)), largest.name))
    return result, largest.name


def test_large_weights_are_halved_and_the_rest_is_as_it_was(model):
    before = model.SerializeToString()
    halved = store_weights_as_fp16(model)
    assert model.SerializeToString() == before
    original = {tensor.name: tensor for tensor in model.graph.initializer}
    found = {tensor.name: tensor for tensor in halved.graph.initializer}
    large = [
        name
        for name, tensor in original.items()
        if tensor.data_type == TensorProto.FLOAT and np.prod(tensor.dims) >= MIN_VALUES
    ]
    assert large
    for name, tensor in original.items():
        if name in large:
            assert found[f"{name}.fp16"].data_type == TensorProto.FLOAT16
        else:
            assert found[name] == tensor
    assert len(found) == len(original)
    saved = sum(original[name].ByteSize() for name in large) / 2
    assert len(halved.SerializeToString()) == pytest.approx(len(before) - saved, rel=0.03)
    assert list(halved.metadata_props) == list(model.metadata_props)
    assert list(halved.graph.output) == list(model.graph.output)
    assert (halved.ir_version, len(halved.opset_import), len(halved.graph.value_info)) == (8, 1, 0)


def test_the_classifier_says_the_same_within_the_stated_tolerance(model, tiny_run, photos):
    one = Classifier(model.SerializeToString())
    other = Classifier(store_weights_as_fp16(model).SerializeToString())
    for path in [*RunFolder(tiny_run).held_out_files(), *photos[:10]]:
        expected = {score.label: score.probability for score in one.classify(path, top_k=None).top}
        for score in other.classify(path, top_k=None).top:
            assert score.probability == pytest.approx(expected[score.label], abs=FP16_MAX_PROBABILITY_DIFFERENCE)


@pytest.mark.parametrize("value", [65520.0, -1e30])
def test_weights_that_float16_cannot_hold_stay_float32(model, value):
    def overflow(weights):
        changed = weights.copy()
        changed.flat[0] = value
        return changed

    large, name = with_weights(model, overflow)
    found = {tensor.name: tensor for tensor in store_weights_as_fp16(large).graph.initializer}
    assert found[name].data_type == TensorProto.FLOAT
    assert numpy_helper.to_array(found[name]).flat[0] == np.float32(value)


def test_twice_is_the_same_as_once(model):
    once = store_weights_as_fp16(model)
    assert store_weights_as_fp16(once).SerializeToString() == once.SerializeToString()
