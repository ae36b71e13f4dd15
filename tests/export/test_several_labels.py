"""Several labels from a run to the file: sigmoids, the proof of labels and probabilities, what is refused."""

import dataclasses
import json

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from tl_export import ExportOptions, Precision, VerificationError, check, export
from tl_export.companions import card_path, parity_path
from tl_export.errors import ExportError
from tl_export.graph.assemble import set_spec
from tl_export.proof.decisions import Thresholded, TopLabel
from tl_export.proof.trained import Trained
from tl_export.proof.verify import verify
from tl_infer import Classifier, ModelSpec
from tl_train.progress import Progress
from tl_train.run_folder.folder import RunFolder


@pytest.fixture(scope="module")
def exported(several_run, tmp_path_factory):
    return export(several_run, tmp_path_factory.mktemp("several") / "model.onnx")


def spec_of(model) -> ModelSpec:
    (entry,) = (entry for entry in model.metadata_props if entry.key == "tl.spec")
    return ModelSpec.from_json(entry.value)


def proven(several_run, model):
    return verify(Trained.load(several_run), model.SerializeToString(), Progress())


def test_the_file_gives_the_labels_that_the_run_gave(exported, several_run):
    classifier = Classifier(exported.path)
    assert classifier.gives_several
    assert exported.outputs == classifier.outputs
    run = RunFolder(several_run)
    with (several_run / "predictions.csv").open() as file:
        assert len(file.readlines()) == 25
    from tl_train.tables import read_csv

    for row in read_csv(run.predictions_file):
        found = classifier.classify(row["path"], top_k=None)
        scores = {score.label: score.probability for score in found.top}
        for label in classifier.labels:
            assert scores[label] == pytest.approx(float(row[f"p({label})"]), abs=1e-4)
        assert set(found.labels) == set(filter(None, row["predicted"].split("|")))
    assert exported.proof.top1_agreement == 1


def test_the_graph_ends_in_sigmoids_of_each_temperature(exported, several_run):
    model = onnx.load(exported.path)
    assert [node.op_type for node in model.graph.node if "probabilities" in node.output] == ["Sigmoid"]
    (divisor,) = (tensor for tensor in model.graph.initializer if tensor.name == "temperature")
    np.testing.assert_allclose(numpy_helper.to_array(divisor), RunFolder(several_run).spec().temperatures, rtol=1e-6)
    assert spec_of(model).task == "multi"


def test_the_golden_samples_and_the_check_cover_it(exported, several_run):
    assert Classifier(exported.path).self_test().samples >= 6
    (entry,) = (entry for entry in onnx.load(exported.path).metadata_props if entry.key == "tl.golden")
    assert (json.loads(entry.value)["task"], json.loads(entry.value)["version"]) == ("multi", 2)
    found = check(exported.path, several_run)
    assert found.proof.top1_agreement == 1
    assert found.proof.compared == "set of labels"


def test_card_and_parity_file_say_what_was_measured(exported, several_run):
    card = card_path(exported.path).read_text()
    value = RunFolder(several_run).metrics()["held_out"]["mean_average_precision"]
    assert f"| mean average precision (mAP) | {value:.3f} |" in card
    assert "print(result.labels)" in card
    assert "the same set of labels on 100.00%" in card
    assert "type: mean_average_precision" in card
    stages = [stage["stage"] for stage in json.loads(parity_path(exported.path).read_text())["stages"]]
    assert stages[-2:] == ["probabilities", "label"]


@pytest.mark.parametrize("change", ["thresholds", "temperatures"])
def test_other_decisions_in_the_file_are_found(exported, several_run, change):
    model, spec = onnx.load(exported.path), RunFolder(several_run).spec()
    values = (0.01, *getattr(spec, change)[1:])
    set_spec(model, dataclasses.replace(spec, **{change: values}))
    with pytest.raises(VerificationError, match=rf"{change}: found \(0.01|first at stage 'label'.*allowed 0.0001"):
        proven(several_run, model)


def test_another_temperature_in_the_graph_is_found_at_its_stage(exported, several_run):
    model = onnx.load(exported.path)
    (divisor,) = (tensor for tensor in model.graph.initializer if tensor.name == "temperature")
    divisor.CopyFrom(numpy_helper.from_array(np.array([1.5, 1.5, 1.5], np.float32) * 2, "temperature"))
    with pytest.raises(VerificationError, match="first at stage 'probabilities'"):
        proven(several_run, model)


def test_softmax_in_place_of_sigmoid_is_found(exported, several_run):
    model = onnx.load(exported.path)
    (node,) = (node for node in model.graph.node if node.op_type == "Sigmoid" and node.name == "sigmoid")
    node.op_type = "Softmax"
    with pytest.raises(VerificationError, match="first at stage 'probabilities'"):
        proven(several_run, model)


def test_permuted_labels_are_found(exported, several_run):
    model, spec = onnx.load(exported.path), RunFolder(several_run).spec()
    set_spec(model, dataclasses.replace(spec, labels=("cross", "circle", "square")))
    with pytest.raises(VerificationError, match=r"first at stage '(probabilities|label)'"):
        proven(several_run, model)


def test_float16_weights_are_proven_too(several_run, tmp_path):
    found = export(several_run, tmp_path / "half.onnx", ExportOptions(precision=Precision.FP16))
    assert Classifier(found.path).gives_several


def test_what_needs_one_label_is_refused_at_once(several_run, tmp_path):
    for options, page, message in (
        (
            ExportOptions(),
            tmp_path / "page.html",
            "may have several labels, and --page needs one; leave it out",
        ),
        (ExportOptions(add_class=("fox", tmp_path)), None, "and a class can only be added to a model that gives one"),
    ):
        with pytest.raises(ExportError, match=message):
            export(several_run, tmp_path / "model.onnx", options, page=page)
    assert not list(tmp_path.iterdir())


def test_labels_that_differ_are_as_far_from_their_threshold():
    decision = Thresholded(("a", "b", "c"), (0.5, 0.5, 0.2))
    probabilities = np.array([0.9, 0.45, 0.3])
    assert decision.labels(probabilities) == ("a", "c")
    assert decision.reluctance(probabilities, ("c", "a")) == 0
    assert decision.reluctance(probabilities, ("a", "b", "c")) == pytest.approx(0.05)
    assert decision.reluctance(probabilities, ()) == pytest.approx(0.4)
    assert decision.reluctance(probabilities, ("a", "c", "d")) == 1
    assert decision.reluctance(np.array([0.9, 0.5, 0.3]), ("a", "c")) > 0, "on the threshold, but not the same"
    assert Thresholded(("a",), (0.7,)).labels(np.array([0.7], np.float32)) == (), "float32 is below, as for the runtime"
    top = TopLabel(("a", "b", "c"))
    assert top.reluctance(probabilities, ("b",)) == pytest.approx(0.45)
    assert top.reluctance(probabilities, ("d",)) == 1
    assert top.reluctance(torch.tensor([0.5, 0.5, 0]).numpy(), ("b",)) > 0
