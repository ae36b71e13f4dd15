import csv
import json
import os
import shutil
import tomllib
from html.parser import HTMLParser

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from support.loading import BY_STEPS, Notes
from support.pictures import draw_shape
from tl_infer import ModelSpec
from tl_train import train
from tl_train.config import TrainConfig
from tl_train.errors import ConfigError, RunError, TrainingError, WeightsError
from tl_train.run_folder.folder import RunFolder

TINY = {"arch": "timm:test_efficientnet", "weights": "none", "size": 32, "epochs": 1, **BY_STEPS}


def weights_of(run):
    return safetensors.torch.load_file(run / "weights.safetensors")


def test_a_run_leaves_all_that_is_promised(tiny_run, shapes):
    assert {path.name for path in tiny_run.iterdir()} == {
        "config.toml", "spec.json", "weights.safetensors", "history.csv", "metrics.json", "predictions.csv",
        "classification.png", "probabilities.png", "curves.png", "report.html", "preflight.json", "suspects.csv",
    }  # fmt: skip
    assert tomllib.loads((tiny_run / "config.toml").read_text())["data"] == str(shapes)
    with (tiny_run / "history.csv").open() as file:
        (epoch,) = csv.DictReader(file)
    assert float(epoch["train_loss"]) > 0
    assert 0 <= float(epoch["val_accuracy"]) <= 1
    for name in ("classification.png", "probabilities.png", "curves.png"):
        with Image.open(tiny_run / name) as image:
            assert image.width > 500


def test_metrics_predictions_and_spec_tell_one_story(tiny_run):
    held_out = json.loads((tiny_run / "metrics.json").read_text())["held_out"]
    with (tiny_run / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    correct = sum(row["label"] == row["predicted"] for row in rows)
    assert held_out["part"] == "test"
    assert (held_out["correct"], held_out["pictures"]) == (correct, len(rows)) == (correct, 6)
    assert held_out["accuracy"] == correct / 6
    assert np.sum(held_out["confusion"]) == 6
    assert held_out["accuracy_interval"][0] < held_out["accuracy"] < held_out["accuracy_interval"][1]
    spec = ModelSpec.from_json((tiny_run / "spec.json").read_text())
    assert spec.labels == ("circle", "cross", "square")
    assert spec.metrics["test_accuracy"] == held_out["accuracy"]


def test_the_report_is_one_page_that_needs_nothing_else(tiny_run):
    class Sources(HTMLParser):
        def __init__(self):
            super().__init__()
            self.found = []

        def handle_starttag(self, tag, attrs):
            self.found += [value for name, value in attrs if name in ("src", "href")]

    parser = Sources()
    parser.feed((tiny_run / "report.html").read_text())
    figures = [source for source in parser.found if source.startswith("data:image/svg+xml;base64,")]
    thumbnails = [
        source for source in parser.found if source.startswith(("data:image/png;base64,", "data:image/jpeg;base64,"))
    ]
    assert len(figures) == 5, "the chapter's three, reliability, risk-coverage"
    assert len(figures) + len(thumbnails) == len(parser.found)
    assert len(thumbnails) >= 6


def test_the_same_seed_gives_the_same_weights_and_another_does_not(shapes, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(TrainConfig.of(str(shapes), seed=seed, **TINY), str(tmp_path / name))
    first, again, other = (weights_of(tmp_path / name) for name in "abc")
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["classifier.weight"], other["classifier.weight"])


def test_the_head_mode_leaves_the_backbone_as_it_was(shapes, tmp_path):
    torch.manual_seed(3)
    train(TrainConfig.of(str(shapes), **TINY), tmp_path / "start")
    start = tmp_path / "start" / "weights.safetensors"
    fields = {**TINY, "weights": str(start), "mode": "head"}
    train(TrainConfig.of(str(shapes), **fields), tmp_path / "head")
    before, after = weights_of(tmp_path / "start"), weights_of(tmp_path / "head")
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    assert changed == ["classifier.bias", "classifier.weight"]


def test_class_names_give_the_head_that_is_started_from(tmp_path):
    from support.pictures import draw_shape

    for name, shape in (("Dogs", "circle"), ("house_cat", "cross")):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(8):
            draw_shape(shape, number).save(tmp_path / "data" / name / f"{number}.png")
    fields = {"size": 32, "mode": "head", "head_fit": "penalised", "prior": "auto"}
    result = train(TrainConfig.of(str(tmp_path / "data"), **fields), tmp_path / "run")
    mapping = json.loads((tmp_path / "run" / "prior.json").read_text())
    assert [match["label"] for match in mapping["matches"]] == ["Dogs", "house_cat"]
    assert [len(match["rows"]) for match in mapping["matches"]] == [118, 5]
    assert "118 ImageNet classes" in (tmp_path / "run" / "report.html").read_text()
    with (tmp_path / "run" / "penalty.csv").open() as file:
        strengths = [float(row["strength"]) for row in csv.DictReader(file)]
    assert result.penalised.strength in strengths
    assert strengths == sorted(strengths, reverse=True)
    told = json.loads((tmp_path / "run" / "metrics.json").read_text())["run"]
    assert told["head"] == "replace"
    assert told["penalty"] == f"{result.penalised.strength:.3g}, chosen by cross-validation"
    assert told["drawn_to"].startswith("Dogs: dog")


def test_class_names_that_say_nothing_change_nothing(shapes, tmp_path):
    fields = {**TINY, "mode": "head", "head_fit": "penalised"}
    for prior in ("none", "auto"):
        train(TrainConfig.of(str(shapes), **{**fields, "prior": prior}), tmp_path / prior)
    assert torch.equal(
        weights_of(tmp_path / "none")["classifier.weight"], weights_of(tmp_path / "auto")["classifier.weight"]
    )
    assert not (tmp_path / "auto" / "prior.json").exists()


def test_full_training_may_start_from_the_penalised_head(shapes, tmp_path):
    fields = {**TINY, "lr": 1e-9, "head_fit": "penalised"}
    started = train(TrainConfig.of(str(shapes), **fields), tmp_path / "run")
    assert len(started.history) == 1
    head = weights_of(tmp_path / "run")["classifier.weight"].numpy()
    np.testing.assert_allclose(head, started.penalised.weight, atol=1e-6)


def test_training_learns(shapes, tmp_path):
    fields = {**TINY, "epochs": 12, "lr": 3e-3, "val_split": 0.0}
    result = train(TrainConfig.of(str(shapes), **fields), tmp_path / "run")
    assert result.history[-1].train_loss < 0.7 * result.history[0].train_loss
    assert result.history[0].val_loss is None


def test_pictures_that_are_no_files_are_written_losslessly(tmp_path):
    config = TrainConfig.of("digits", **{**TINY, "batch_size": 256})
    train(config, tmp_path / "run")
    from support.loading import load_with
    from tl_infer import load_image

    samples = load_with(config).test
    files = RunFolder(tmp_path / "run").held_out_files()
    assert len(files) == len(samples) == 359
    for path, sample in zip(files, samples, strict=True):
        assert path.parent.name == str(sample.label)
        np.testing.assert_array_equal(load_image(path), sample.load())


def test_a_run_without_held_out_pictures_reports_no_accuracy(shapes, tmp_path):
    result = train(TrainConfig.of(str(shapes), val_split=0.0, test_split=0.0, **TINY), tmp_path / "run")
    assert result.evaluation is None
    assert "no accuracy to report" in (tmp_path / "run" / "report.html").read_text()
    with pytest.raises(RunError, match=r"no list of held-out images .* --images"):
        RunFolder(tmp_path / "run").held_out_files()


def test_an_earlier_run_and_other_files_are_never_lost(tiny_run, shapes, tmp_path):
    config = TrainConfig.of(str(shapes), **TINY)
    before = (tiny_run / "metrics.json").read_bytes()
    with pytest.raises(RunError, match=r"holds a run already; .* --overwrite"):
        train(config, tiny_run)
    assert (tiny_run / "metrics.json").read_bytes() == before
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(RunError, match=r"holds other files \(thesis.txt"):
        train(config, tmp_path, overwrite=True)
    with pytest.raises(RunError, match=r"thesis.txt: is a file; expected the folder of a run"):
        train(config, tmp_path / "thesis.txt")


def snapshot(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_overwrite_touches_nothing_before_all_is_tried_and_leaves_nothing_old(tiny_run, shapes, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    (run / "model.onnx").write_text("exported from the old run")
    (run / "notes.txt").write_text("mine")
    before = snapshot(run)
    for fields, error in (({"weights": "no.pth"}, WeightsError), ({"arch": "timm:resnet81"}, ConfigError)):
        with pytest.raises(error, match=r"no.pth: no such file|unknown architecture 'timm:resnet81'"):
            train(TrainConfig.of(str(shapes), **{**TINY, **fields}), run, overwrite=True)
        assert snapshot(run) == before
    train(TrainConfig.of(str(shapes), val_split=0.0, test_split=0.0, **TINY), run, overwrite=True)
    assert {path.name for path in run.iterdir()} == {
        "config.toml", "spec.json", "weights.safetensors", "history.csv", "metrics.json", "curves.png", "report.html",
        "preflight.json", "suspects.csv", "notes.txt",
    }  # fmt: skip


def test_a_run_that_diverges_says_so(shapes, tmp_path):
    with pytest.raises(TrainingError, match=r"epoch 1: the loss is nan, training has diverged; lower --lr"):
        train(TrainConfig.of(str(shapes), lr=1e30, **TINY), tmp_path / "run")


def test_pictures_with_odd_names_are_found_again(tmp_path):
    for label in ("a", "b"):
        (tmp_path / "data" / label).mkdir(parents=True)
        for number, name in enumerate([b"x\ry.png", b"caf\xe9.png", b'a "b", c.png', b"new\nline.png"]):
            draw_shape("circle", number).save(tmp_path / "data" / label / os.fsdecode(name), "PNG")
    train(TrainConfig.of(str(tmp_path / "data"), test_split=0.6, val_split=0.0, **TINY), tmp_path / "run")
    files = RunFolder(tmp_path / "run").held_out_files()
    assert len(files) == 4
    assert all(path.is_file() for path in files)


def test_a_head_that_is_no_linear_layer_is_refused(shapes, tmp_path):
    with pytest.raises(ConfigError, match=r"'timm:resnetv2_50' has no single linear layer as its head"):
        train(TrainConfig.of(str(shapes), **{**TINY, "arch": "timm:resnetv2_50"}), tmp_path / "run")


def test_labels_that_look_like_markup_stay_text(tmp_path):
    for name in ("<b>&amp;", "a$b$ \u00e9"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(5):
            draw_shape("circle", number).save(tmp_path / "data" / name / f"{number}.png")
    train(TrainConfig.of(str(tmp_path / "data"), **TINY), tmp_path / "run")
    assert "<b>" not in (tmp_path / "run" / "report.html").read_text()


def test_enough_validation_pictures_calibrate_what_is_stored_and_reported(shapes, tmp_path):
    out = tmp_path / "run"
    result = train(TrainConfig.of(str(shapes), val_split=0.85, **TINY), out, command="tl-train 'my shapes' --out x")
    spec = ModelSpec.from_json((out / "spec.json").read_text())
    metrics = json.loads((out / "metrics.json").read_text())
    assert result.calibration.pictures == 21
    assert spec.temperature == result.calibration.temperature == metrics["calibration"]["temperature"] != 1
    assert spec.abstain_below == result.calibration.abstain_below
    held_out = metrics["held_out"]
    assert held_out["uncalibrated"]["log_loss"] == pytest.approx(result.evaluation.before().log_loss)
    assert held_out["log_loss"] != held_out["uncalibrated"]["log_loss"]
    page = (out / "report.html").read_text()
    assert f"Temperature {spec.temperature:.3f}, fitted on 21 validation images" in page
    assert "tl-train &#39;my shapes&#39; --out x" in page


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ({"redraw_val": True}, "The validation images were drawn anew in every epoch and trained on in the others."),
        ({"patience": 5}, "The validation images were not trained on, but chose the epoch whose weights are kept."),
        ({}, "The validation images were not trained on, but they were monitored during training."),
    ],
)
def test_an_accuracy_on_images_that_were_used_says_so(shapes, tmp_path, steps, said):
    notes = Notes()
    train(TrainConfig.of(str(shapes), test_split=0.0, **steps, **TINY), tmp_path / "run", progress=notes)
    page = (tmp_path / "run" / "report.html").read_text()
    assert said in page
    assert ("Expect a lower one" in page) == bool(steps)
    assert any("so the accuracy will be too high; set --test-split" in line for line in notes.lines) == bool(steps)
