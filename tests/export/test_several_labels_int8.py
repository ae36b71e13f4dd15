"""Several labels in int8: the heads and decisions fitted again, judged by mAP, proven, refused."""

import dataclasses
import json

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tl_export import ExportOptions, Precision, VerificationError, check, export
from tl_export.companions import card_path, parity_path
from tl_export.graph.assemble import set_spec
from tl_export.proof.precision import RULES
from tl_export.proof.trained import Trained
from tl_export.proof.verify import verify
from tl_export.run_pictures import held_out_pictures
from tl_infer import Classifier
from tl_train import TrainConfig, train
from tl_train.progress import Progress
from tl_train.run_folder.folder import RunFolder

# Nothing here depends on how fast the machine is.
INT8 = ExportOptions(precision=Precision.INT8, gate="none")


@pytest.fixture(scope="module")
def frozen_run(several_run, several_shapes, tmp_path_factory):
    """Heads on a frozen backbone that can be read again."""
    out = tmp_path_factory.mktemp("frozen")
    config = TrainConfig.of(
        str(several_shapes), multi_label=True, arch="timm:test_efficientnet", size=64,
        weights=str(RunFolder(several_run).weights_file),
    )  # fmt: skip
    train(config, out)
    return out


@pytest.fixture(scope="module")
def int8(frozen_run, tmp_path_factory):
    return export(frozen_run, tmp_path_factory.mktemp("int8") / "model.onnx", INT8)


def test_heads_and_decisions_are_fitted_again(int8, frozen_run):
    assert int8.int8.head == "the head fitted again"
    found, before = Classifier(int8.path).spec, RunFolder(frozen_run).spec()
    assert len(found.thresholds) == 3
    assert found.thresholds != before.thresholds
    (divisor,) = (tensor for tensor in onnx.load(int8.path).graph.initializer if tensor.name == "temperature")
    np.testing.assert_allclose(numpy_helper.to_array(divisor), found.temperatures, rtol=1e-6)


def test_it_is_judged_by_map_and_says_so(int8, frozen_run):
    result = int8.int8
    assert result.loss.metric.name == "mAP"
    assert result.loss.pictures == result.pictures + 96
    assert "24 held-out images and 96 cross-fitted training images it loses" in result.reason
    assert "of mAP, 0.5 allowed, and its log-loss rises by" in result.reason
    measured = RunFolder(frozen_run).metrics()["held_out"]
    assert result.fp32.score == pytest.approx(measured["mean_average_precision"], abs=1e-6)
    assert result.fp32.log_loss == pytest.approx(measured["log_loss"], abs=1e-4)
    document = json.loads(parity_path(int8.path).read_text())["int8"]
    assert document["int8"]["mean_average_precision"] == result.int8.score
    assert document["loss"].keys() == {"mean_average_precision", "log_loss", "pictures"}
    assert Classifier(int8.path).spec.metrics["int8_mean_average_precision"] == result.int8.score
    card = card_path(int8.path).read_text()
    assert "| | MB | ms | mAP | log-loss | same labels as fp32 |" in card
    assert f"metric_value: {result.int8.score}" in card or f"value: {result.int8.score}" in card


def test_it_is_proven_and_can_be_checked(int8, frozen_run):
    assert Classifier(int8.path).self_test().max_difference < 1e-6
    proof = check(int8.path, frozen_run).proof
    assert proof.precision is Precision.INT8
    assert [stage.stage for stage in proof.stages if stage.tolerance is not None] == ["decode", "tensor"]


def test_permuted_labels_are_found(int8, frozen_run):
    model = onnx.load(int8.path)
    spec = dataclasses.replace(Classifier(int8.path).spec, labels=("cross", "square", "circle"))
    set_spec(model, spec)
    with pytest.raises(VerificationError, match=r"first at stage 'label': \d+ of \d+ labels given to the images"):
        verify(Trained.load(frozen_run), model.SerializeToString(), Progress(), RULES[Precision.INT8])


def test_the_strict_gate_asks_for_more_than_a_few_images_show(several_run, tmp_path):
    options = ExportOptions(precision=Precision.INT8, gate="strict", max_drop=0.0)
    result = export(several_run, tmp_path / "model.onnx", options)
    assert result.int8.reason.startswith("kept fp32: maybe more mAP lost than allowed")
    spec = Classifier(result.path).spec
    assert (spec.thresholds, spec.temperatures) == (
        RunFolder(several_run).spec().thresholds,
        RunFolder(several_run).spec().temperatures,
    )


def test_a_backbone_without_its_start_has_its_heads_corrected(several_run, tmp_path):
    result = export(several_run, tmp_path / "model.onnx", INT8)
    assert result.int8.head == "the head corrected towards float32's logits"
    assert result.int8.loss.pictures == 24
    assert Classifier(result.path).gives_several


def test_held_out_images_have_their_labels_and_what_is_unknown(several_run, several_shapes):
    pictures = held_out_pictures(RunFolder(several_run))
    named = {picture.picture.name: picture for picture in pictures}
    assert len(named) == 24
    assert named["100.png"].unknown == ("square",)
    assert named["103.png"].labels == ("circle", "cross", "square")
    assert named["104.png"].labels == ()
