"""The model card, as people and as other tools read it."""

import ast
import dataclasses
import json
import re
import shutil
import subprocess
import sys
from types import MappingProxyType

import pytest
from huggingface_hub import ModelCard

from tl_export import ExportResult, export
from tl_export.card import escape, model_card
from tl_export.pipeline import card_path, parity_path
from tl_infer import Classifier
from tl_infer.text.safetext import printable
from tl_train.evaluation.calibration import MIN_IMAGES
from tl_train.models.architectures import find_architecture
from tl_train.run_folder.folder import RunFolder

LITE0 = find_architecture("efficientnet_lite0")


@pytest.fixture(scope="module")
def exported(tiny_run, tmp_path_factory) -> ExportResult:
    return export(tiny_run, tmp_path_factory.mktemp("exported") / "shapes.onnx")


@pytest.fixture
def loaded(exported, tiny_run, trained_on, tmp_path):
    """Writes a card of changed facts and reads it with huggingface_hub."""

    def load(metrics=MappingProxyType({}), architecture=LITE0, name="shapes.onnx", run=tiny_run, **fields) -> ModelCard:
        spec = dataclasses.replace(Classifier(exported.path).spec, **fields)
        result = dataclasses.replace(exported, path=tmp_path / name)
        trained = trained_on(run)
        trained.route.architecture = architecture
        text = model_card(result, spec, trained, {**trained.run.metrics(), **metrics})
        written = text.encode("utf-8", errors="backslashreplace")
        (tmp_path / "card.md").write_bytes(written)
        card = ModelCard.load(tmp_path / "card.md")
        assert str(card).encode() == written
        return card

    return load


def test_the_card_says_what_was_measured(tiny_model, tiny_run):
    card = card_path(tiny_model).read_text()
    held_out = json.loads((tiny_run / "metrics.json").read_text())["held_out"]
    low, high = held_out["accuracy_interval"]
    assert f"{100 * held_out['accuracy']:.2f}% (95% interval {100 * low:.2f}% to {100 * high:.2f}%)" in card
    assert "circle, cross, square" in card
    assert "Measured on 6 test images" in card
    assert "They come from only 6 images" in card
    assert Classifier(tiny_model).spec.data_fingerprint in card
    assert str(tiny_run) not in card
    parity = json.loads(parity_path(tiny_model).read_text())
    for stage in parity["stages"]:
        assert f"| {stage['stage']} | {stage['largest']:.2g} |" in card
    assert "\n\n\n" not in card
    assert not re.search(r"\{\{|\{%", card)


def test_the_call_in_the_card_works(tiny_model, tiny_run, shapes):
    (code,) = re.findall(r"```python\n(.*?)```", card_path(tiny_model).read_text(), flags=re.DOTALL)
    picture = next(shapes.glob("circle/*.png"))
    code = code.replace("photo.jpg", str(picture))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tiny_model.parent, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split()[0] in ("circle", "cross", "square")


def test_a_card_of_a_run_without_held_out_images_and_with_odd_names(loaded):
    card = loaded({"held_out": {}}, labels=("<b>", "a|b", "line\nbreak"))
    assert "Not measured: the run held out no images." in card.text
    assert r"\<b\>, a\|b, line\\nbreak" in card.text
    assert escape("`*_[]#&$") == r"\`\*\_\[\]\#\&\$"
    assert card.data.eval_results is None


def test_parameters_whose_training_was_not_kept_are_not_counted_as_trained(loaded, tiny_run):
    run = json.loads((tiny_run / "metrics.json").read_text())["run"]
    assert f", of which {run['trained_parameters']} were trained |" in str(loaded())
    assert ", of which those of the head were trained |" in str(loaded({"run": {**run, "kept_epoch": 0}}))


def test_other_tools_read_the_front_matter(tiny_model, tiny_run):
    card = ModelCard.load(card_path(tiny_model))
    assert (card.data.pipeline_tag, card.data.library_name) == ("image-classification", "onnxruntime")
    assert card.data.tags == ["onnx", "tl-toolkit"]
    assert card.data.license is None  # it started from random weights
    assert card.data.model_name == "shapes"
    assert card.text.lstrip().startswith("# shapes.onnx\n")
    held_out = json.loads((tiny_run / "metrics.json").read_text())["held_out"]
    found = {result.metric_type: result for result in card.data.eval_results}
    assert {name: result.metric_value for name, result in found.items()} == {
        "accuracy": held_out["accuracy"],
        "log_loss": held_out["log_loss"],
        "brier_score": held_out["brier"],
        "expected_calibration_error": held_out["calibration_error"],
    }
    assert {(result.task_type, result.dataset_split) for result in found.values()} == {("image-classification", "test")}
    assert str(card) == card_path(tiny_model).read_text()


@pytest.mark.parametrize(
    ("licence", "identifier", "name"),
    [
        ("Apache-2.0", "apache-2.0", None),
        ("cc-by-nc-4.0", "cc-by-nc-4.0", None),
        ("dinov3-license", "other", "dinov3-license"),
        ("", None, None),
    ],
)
def test_the_licence_is_that_of_the_published_weights_where_it_is_stated(loaded, licence, identifier, name):
    architecture = dataclasses.replace(LITE0, licence=licence)
    card = loaded(architecture=architecture, weights=LITE0.source)
    assert (card.data.license, card.data.license_name) == (identifier, name)
    assert ("| licence of these weights |" in card.text) == (identifier is not None)
    for other in ("none", "my/weights.pth"):
        assert loaded(architecture=architecture, weights=other).data.license is None
    nowhere = dataclasses.replace(architecture, source="none")
    assert loaded(architecture=nowhere, weights="none").data.license is None


@pytest.mark.parametrize("name", ['a: "b" # c', "--- x", "line\n---\nbreak", "ä 🐶 {{ x }}", "bytes \udce9", "'"])
def test_any_name_survives_the_front_matter(loaded, tiny_run, name):
    run = {**RunFolder(tiny_run).metrics()["run"], "data": name}
    card = loaded({"run": run}, name=f"{name}.onnx")
    assert card.data.model_name == printable(name)
    assert {result.dataset_name for result in card.data.eval_results} == {printable(name)}
    assert card.text.lstrip().startswith(f"# {escape(name)}.onnx\n")
    (literal,) = re.findall(r"Classifier\((.*)\)\.classify", card.text)
    assert ast.literal_eval(literal) == f"{name}.onnx"


def test_a_temperature_of_too_few_images_is_not_called_fitted(loaded, tiny_run):
    few = RunFolder(tiny_run).metrics()["calibration"]
    for pictures, said in ((MIN_IMAGES - 1, "Not fitted: the probabilities"), (MIN_IMAGES, f"fitted on {MIN_IMAGES} ")):
        assert said in loaded({"calibration": {**few, "pictures": pictures}}).text


def test_validation_images_that_chose_the_epoch_are_not_called_unused(loaded, tiny_run, tmp_path):
    held_out = {**RunFolder(tiny_run).metrics()["held_out"], "part": "val"}
    assert "validation images, which were also monitored during training." in loaded({"held_out": held_out}).text
    run = shutil.copytree(tiny_run, tmp_path / "patient")
    config = run / "config.toml"
    config.write_text(re.sub(r"(?m)^# ?patience.*$|^patience.*$", "", config.read_text()) + "\npatience = 1\n")
    text = loaded({"held_out": held_out}, run=run).text
    assert (
        "validation images, which were not trained on, but chose the epoch whose weights are kept: expect less" in text
    )


def test_an_accuracy_short_of_all_is_not_rounded_to_all(loaded, tiny_run):
    held_out = {**RunFolder(tiny_run).metrics()["held_out"], "accuracy": 0.99999}
    assert "| accuracy | > 99.99% (95%" in loaded({"held_out": held_out}).text


def test_what_makes_the_interval_wrong_is_said_beside_it(loaded, tiny_run):
    held_out = RunFolder(tiny_run).metrics()["held_out"]
    assert [caveat.startswith("1 of the images has a copy or near copy") for caveat in held_out["caveats"]] == [True]
    text = loaded({"held_out": {**held_out, "caveats": ["The images are of 3 groups.", "2 have copies."]}}).text
    assert "|\n\nThe images are of 3 groups. 2 have copies.\n\n| class | images |" in text
    del held_out["caveats"]
    assert "|\n\n| class | images |" in loaded({"held_out": held_out}).text
