"""tl_export.adding: a class from a few images is in the file, proven, and its price is told."""

import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner

from support.pictures import draw, draw_shape
from tl_export import ExportOptions, check, export
from tl_export.adding.added_class import add_class
from tl_export.adding.new_images import NewImages
from tl_export.cli import command
from tl_export.errors import ExportError, VerificationError
from tl_export.proof.golden_pictures import sample_pictures
from tl_export.proof.trained import Trained
from tl_export.summary import export_lines
from tl_infer import Classifier
from tl_infer.images import load_image
from tl_infer.limits import DEFAULT_LIMITS
from tl_train import TrainConfig, train
from tl_train.progress import Progress
from tl_train.run_folder.folder import RunFolder

FIELDS = {"arch": "timm:test_efficientnet", "weights": "none", "size": 64, "prior": "none", "mode": "head"}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two classes to train on, and a folder of a third."""
    root = tmp_path_factory.mktemp("data")
    for shape in ("circle", "cross"):
        draw(root / "known" / shape, shape, 20)
    draw(root / "new", "square", 7, first=100)
    shutil.copy(root / "new" / "100.png", root / "new" / "copy.png")
    return root


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    return train(TrainConfig.of(str(data / "known"), **FIELDS), tmp_path_factory.mktemp("run") / "run").out


@pytest.fixture(scope="module")
def exported(run, data, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "more.onnx"
    return export(run, out, ExportOptions(add_class=("square", data / "new"), verify_count=4))


def test_the_file_has_the_class_and_is_proven_on_its_images(exported, data):
    classifier = Classifier(exported.path)
    assert classifier.labels == ("circle", "cross", "square")
    assert exported.proof.top1_agreement == 1
    assert exported.proof.pictures == 4 + 7, "a copy is not counted"
    assert len(classifier.classify(data / "new" / "100.png", top_k=None).top) == 3


def test_the_price_is_that_of_the_file_itself(exported, run, data):
    classifier, added = Classifier(exported.path), exported.added
    rows = {row.label: row for row in added.old}
    assert (added.images, added.part, added.held_out) == (7, "test", 8)
    for shape, row in rows.items():
        files = [found.path for found in RunFolder(run).predictions() if found.label == shape]
        answers = [classifier.classify(file).top[0].label for file in files]
        assert row.images == len(answers) == 4
        assert (row.correct_now, row.taken) == (answers.count(shape), answers.count("square"))
        assert row.correct_now <= row.correct, "an old class cannot win by another that competes"
    assert classifier.spec.metrics["test_accuracy"] == added.accuracy_now
    assert classifier.spec.data_fingerprint != json.loads((run / "spec.json").read_text())["data_fingerprint"]


def test_what_it_costs_is_told_everywhere(exported):
    card = exported.path.with_suffix(".md").read_text()
    assert "## Added class" in card
    assert "square was added after the training, from 7 images" in card
    parity = json.loads(exported.path.with_suffix(".parity.json").read_text())
    assert parity["added_class"]["name"] == "square"
    assert parity["added_class"]["accuracy_now"] == exported.added.accuracy_now
    lines = "\n".join(export_lines(exported))
    assert f"Added class 'square' from 7 images: {exported.added.recognised} of them" in lines
    assert "The other classes, 8 test images: accuracy" in lines


def test_the_golden_samples_hold_no_image_of_the_class(exported, run):
    preprocess = Classifier(exported.path).spec.preprocess
    held_out = [load_image(path) for path in RunFolder(run).held_out_files()]
    copies = {png for pixels in held_out for _, png in sample_pictures([pixels], preprocess)}
    samples = {sample.name: sample.png for sample in exported.golden.samples.samples}
    assert {samples[name] for name in ("landscape", "portrait", "square")} <= copies


def test_the_file_is_checked_against_the_run_with_the_class(exported, run, data):
    result = check(exported.path, run, verify_count=2, add_class=("square", data / "new"))
    assert result.proof.top1_agreement == 1
    with pytest.raises(VerificationError, match=r"more.onnx: found the classes .*'square'\), exp.* and --add-class"):
        check(exported.path, run, verify_count=2)


def test_images_of_a_class_that_cannot_be_used_are_explained(data, tmp_path):
    def read(name, folder):
        return NewImages.read(name, folder, ("circle", "cross"), DEFAULT_LIMITS, Progress())

    few = tmp_path / "few"
    draw(few, "square", 4)
    shutil.copy(few / "0.png", few / "again.png")
    with pytest.raises(
        ExportError, match=r"few: 4 image\(s\) of class 'square' \(1 more are copies of these\), expected"
    ):
        read("square", few)
    with pytest.raises(ExportError, match=r"nowhere: no such folder; expected one with images of class 'square'"):
        read("square", tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ExportError, match=r"empty: 0 image\(s\).*, expected at least 5: the mean of fewer says more"):
        read("square", tmp_path / "empty")
    (few / "notes.txt").write_text("no image")
    with pytest.raises(ExportError, match=r"notes.txt: not an image.*; fix or remove it, expected images of class"):
        read("square", few)
    for name, message in (
        ("circle", "class 'circle' is there already"),
        (" Cross", "class ' Cross' looks like 'cross', which is there already"),
        ("", "found the name '', expected readable text"),
        ("a\nb", "expected readable text"),
    ):
        with pytest.raises(ExportError, match=message):
            read(name, data / "new")


def test_an_image_of_a_known_class_and_changed_data_are_refused(run, data, tmp_path):
    copy = tmp_path / "new"
    shutil.copytree(data / "new", copy)
    shutil.copy(data / "known" / "circle" / "3.png", copy)
    with pytest.raises(
        ExportError, match=r"3.png: the same image as .*circle/3.png of class 'circle'; an image has one"
    ):
        export(run, tmp_path / "a.onnx", ExportOptions(add_class=("square", copy)))
    known = data / "known" / "circle" / "more.png"
    draw_shape("circle", 500).save(known)
    try:
        with pytest.raises(ExportError, match=r"the images or their labels have changed since the training"):
            export(run, tmp_path / "a.onnx", ExportOptions(add_class=("square", data / "new")))
    finally:
        known.unlink()
    assert not (tmp_path / "a.onnx").exists()


def test_what_does_not_go_together_is_said_at_once():
    with pytest.raises(ValueError, match=r"add_class: found precision int8, expected fp32 or fp16-weights"):
        ExportOptions(add_class=("a", "b"), precision="int8")
    for line, message in (
        (["run", "--add-class", "a", "b", "--int8"], "--add-class does not go with --int8"),
        (["--check", "m.onnx", "--add-class", "a", "b"], "--add-class with --check needs --run DIR"),
    ):
        result = CliRunner().invoke(command, line)
        assert (result.exit_code, message in result.output) == (2, True)


def test_an_appended_head_takes_a_class(data, tmp_path):
    fields = {**FIELDS, "head": "append", "head_fit": "sgd", "epochs": 1}
    trained = Trained.load(train(TrainConfig.of(str(data / "known"), **fields), tmp_path / "run").out)
    extended = add_class(trained, "square", data / "new", Progress()).trained
    before, now = trained.route(trained.pictures[0]), extended.route(trained.pictures[0])
    assert now.values["logits"].shape == (3,)
    np.testing.assert_array_equal(now.values["logits"][:2], before.values["logits"])
