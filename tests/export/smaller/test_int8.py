"""Making a network int8: layers that stay float, the head fitted again, and what judges the file."""

import dataclasses

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from support.loading import Notes
from support.small_network import coarse_inputs, convolutions_in_int8, small_network
from tl_export import ExportOptions, Precision, export
from tl_export.graph.network_head import cut_at, find_head, with_head
from tl_export.smaller.inputs import NetworkInputs
from tl_export.smaller.qdq import QuantizableNetwork
from tl_export.smaller.refit import ridge
from tl_infer import Classifier
from tl_infer.model.contract import PreprocessSpec
from tl_train import TrainConfig, train
from tl_train.data.samples import Sample
from tl_train.models.onnx_network import OnnxNetwork
from tl_train.preprocess.graph import Preprocessor
from tl_train.progress import Progress
from tl_train.run_folder.folder import RunFolder


@pytest.fixture(scope="module")
def inputs():
    return coarse_inputs(12)


@pytest.fixture(scope="module")
def quantizable(inputs):
    return QuantizableNetwork(small_network(), (inputs[place] for place in range(8)))


def answers(network: onnx.ModelProto, inputs: NetworkInputs, value: str, width: int) -> np.ndarray:
    session = OnnxNetwork(cut_at(network, value, width).SerializeToString())
    return np.stack([session(inputs[place]) for place in range(len(inputs))])


def test_a_layer_left_in_float_is_computed_in_float(quantizable, tmp_path):
    """onnxruntime quantizes its weights after all, with one scale for the whole tensor, where it finds the pattern."""
    whole = convolutions_in_int8(quantizable.int8(), tmp_path)
    between = next(
        layer for layer in quantizable.layers
        if any(node.op_type == "Max" for node in quantizable.int8(excluded=layer).graph.node)
    )  # fmt: skip
    assert convolutions_in_int8(quantizable.int8(excluded=between), tmp_path) == whole - 1
    assert whole == len(quantizable.layers)


def test_the_head_and_its_heatmap_change_together(quantizable, inputs):
    head = find_head(quantizable.int8())
    assert head is not None
    classes, width = head.weight.shape
    weight, bias = 2 * head.weight, head.bias + np.arange(classes, dtype=np.float32)
    changed = with_head(quantizable.int8(), weight, bias)
    assert changed is not None
    few = inputs.part(0, 2)
    seen = answers(changed, few, head.seen, width)
    assert answers(changed, few, "logits", classes) == pytest.approx(seen @ weight.T + bias, abs=1e-4)
    session = ort.InferenceSession(changed.SerializeToString(), providers=["CPUExecutionProvider"])
    for place in range(2):
        (heatmap,) = session.run(["heatmap"], {"tensor": few[place][None]})
        assert heatmap[0].mean(axis=1) == pytest.approx(seen[place] @ weight.T + bias, abs=1e-3)


def test_ridge_corrects_what_can_be_known_and_nothing_else():
    random = np.random.default_rng(0)
    features = random.normal(size=(200, 12)).astype(np.float32)
    truth = random.normal(size=(3, 12))
    weight, bias = ridge(features, features @ truth.T + [1.0, 2.0, 3.0])
    assert weight == pytest.approx(truth, abs=2e-3)
    assert bias == pytest.approx([1.0, 2.0, 3.0], abs=2e-3)
    weight, _ = ridge(features, random.normal(size=(200, 3)))  # nothing to be learned
    assert np.abs(weight).max() < 0.1
    weight, bias = ridge(np.ones((4, 2), np.float32), np.array([[1.0], [3.0], [1.0], [3.0]]))
    assert (weight.tolist(), bias.tolist()) == ([[0.0, 0.0]], [2.0])


def test_inputs_kept_as_grey_levels_are_the_preprocessed_ones():
    spec = PreprocessSpec(size=(32, 32), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    found = NetworkInputs.of([Sample("one", 1, pixels=pixels)], spec, Progress())
    assert found[0] == pytest.approx(Preprocessor(spec)(pixels), abs=1e-6)
    assert found.truth.tolist() == [1]


@pytest.fixture(scope="module")
def frozen_run(tiny_run, shapes, tmp_path_factory):
    """A penalised head on the frozen backbone of another run."""
    out = tmp_path_factory.mktemp("frozen")
    config = TrainConfig.of(
        str(shapes), arch="timm:test_efficientnet", weights=str(RunFolder(tiny_run).weights_file), size=64,
        mode="head", prior="none",
    )  # fmt: skip
    train(config, out)
    return out


def test_a_penalised_head_is_fitted_again_and_judged_with_cross_fitted_images(frozen_run, tmp_path):
    notes = Notes()
    options = ExportOptions(precision=Precision.INT8, gate="none")
    result = export(frozen_run, tmp_path / "model.onnx", options, progress=notes)
    assert result.int8 is not None
    assert result.int8.head == "the head fitted again"
    assert result.int8.loss.pictures == result.int8.pictures + 21
    assert f"{result.int8.pictures} held-out images and 21 cross-fitted training images" in result.int8.reason
    classifier = Classifier(result.path)
    assert classifier.self_test().max_difference < 1e-6


def test_the_strict_gate_asks_for_more_than_a_few_images_show(frozen_run, tmp_path):
    options = ExportOptions(precision=Precision.INT8, gate="strict")
    result = export(frozen_run, tmp_path / "model.onnx", options)
    assert result.int8 is not None
    assert result.int8.reason.startswith("kept fp32: maybe more accuracy lost than allowed")
    assert result.proof.precision is Precision.FP32
    assert dataclasses.replace(Classifier(result.path).spec, parity=None) == dataclasses.replace(
        RunFolder(frozen_run).spec(), parity=None
    )
