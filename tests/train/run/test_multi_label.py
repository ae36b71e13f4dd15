"""Runs whose images may have several labels: what is learned, decided, written; by a head and by steps; refused."""

import dataclasses
import json
import re

import numpy as np
import pytest
import torch

from support.loading import Notes
from support.program import rows_of
from tl_train import TrainConfig, compare, dry_run, train
from tl_train.errors import ConfigError, DataError
from tl_train.evaluation.multi_label import LabelAnswers, LabelEvaluation
from tl_train.run.judge import CROSS_FITTED
from tl_train.run_folder.folder import RunFolder

TINY = {"multi_label": True, "arch": "timm:test_efficientnet", "weights": "none", "size": 64}


def test_the_spec_says_how_labels_are_decided(several_run):
    spec = RunFolder(several_run).spec()
    assert (spec.task, spec.labels) == ("multi", ("circle", "cross", "square"))
    assert json.loads((several_run / "spec.json").read_text())["version"] == 2
    assert len(spec.thresholds) == len(spec.temperatures) == 3
    assert all(0 < threshold < 1 for threshold in spec.thresholds)
    assert min(spec.temperatures) >= 1, "of cross-fitted logits"
    assert set(spec.metrics) == {"test_mean_average_precision", "test_micro_f1", "test_macro_f1"}


def test_the_metrics_follow_from_the_predictions(several_run):
    measured = RunFolder(several_run).metrics()
    rows = rows_of(several_run / "predictions.csv")
    assert len(rows) == measured["held_out"]["pictures"] == 24
    labels = ("circle", "cross", "square")
    probabilities = np.array([[float(row[f"p({label})"]) for label in labels] for row in rows])
    targets = np.array([[np.nan if label in row["unknown"].split("|") else label in row["labels"].split("|")
                         for label in labels] for row in rows], float)  # fmt: skip
    assert np.isnan(targets[:, 2]).sum() == 2
    assert not np.isnan(targets[:, :2]).any()
    spec = RunFolder(several_run).spec()
    logits = np.log(probabilities / (1 - probabilities))
    again = LabelEvaluation("test", LabelAnswers(logits, targets), np.ones(3), np.array(spec.thresholds))
    assert again.micro_f1 == pytest.approx(measured["held_out"]["micro_f1"], abs=0.03)
    assert again.mean_average_precision == pytest.approx(measured["held_out"]["mean_average_precision"], abs=0.01)
    assert measured["held_out"]["mean_average_precision"] > 0.7, "better than the half of the images that have each"
    assert [row["label"] for row in measured["held_out"]["labels"]] == list(labels)
    assert measured["calibration"]["thresholds"] == list(spec.thresholds)
    assert measured["calibration"]["pictures"] == 96
    predicted = [tuple(filter(None, row["predicted"].split("|"))) for row in rows]
    assert predicted == [tuple(label for label, p, t in zip(labels, row, spec.thresholds, strict=True) if p >= t)
                         for row in probabilities]  # fmt: skip


def test_the_folder_has_what_the_figures_come_from(several_run):
    penalties = rows_of(several_run / "penalty.csv")
    assert {row["label"] for row in penalties} == {"circle", "cross", "square"}
    page = (several_run / "report.html").read_text()
    assert "Mean average precision (mAP) over the 3 labels on the 24 test images" in page
    assert "Labels that go together" in page
    assert page.count("<svg") == 0
    assert (several_run / "precision_recall.png").is_file()
    assert re.search(r"<h3>(circle|cross|square)</h3>", page)
    assert not (several_run / "suspects.csv").exists()


def test_a_run_is_the_same_again_and_another_with_other_labels(several_run, several_shapes, tmp_path):
    train(TrainConfig.of(str(several_shapes), **TINY), tmp_path / "again")
    for name in ("weights.safetensors", "spec.json", "predictions.csv", "penalty.csv"):
        assert (tmp_path / "again" / name).read_bytes() == (several_run / name).read_bytes(), name


def test_a_wanted_precision_moves_the_thresholds(several_run, several_shapes, tmp_path):
    result = train(TrainConfig.of(str(several_shapes), **TINY, label_precision=0.99), tmp_path / "run")
    decided = np.array(RunFolder(several_run).spec().thresholds)
    assert (result.several.decisions.thresholds != decided).any()


@pytest.mark.parametrize("mode", ["full", "gradual"])
def test_all_parameters_can_be_trained(several_shapes, tmp_path, mode):
    steps = {"mode": mode, "epochs": 2, "head_epochs": 1, "batch_size": 16, "lr": 1e-3}
    result = train(TrainConfig.of(str(several_shapes), **TINY, **steps), tmp_path / "run")
    assert len(result.history) == 2
    assert result.history[1].train_loss < result.history[0].train_loss
    assert all(0 <= row.train_accuracy <= 1 and row.val_loss is not None for row in result.history)
    assert result.several.decisions.source == "validation images"
    assert result.several.evaluation.mean_average_precision > 0.5
    assert rows_of(tmp_path / "run" / "history.csv")[1]["epoch"] == "2"


def test_training_that_harms_leaves_the_heads(several_shapes, tmp_path):
    progress, steps = Notes(), {"mode": "full", "epochs": 2, "lr": 1.0, "val_split": 0.3}
    result = train(TrainConfig.of(str(several_shapes), **TINY, **steps), tmp_path / "run", progress=progress)
    assert any(line.endswith("keeping the head alone (alpha 0)") for line in progress.lines)
    assert [way.kept for way in result.tried] == [True, False]
    assert (result.kept_epoch, result.several.decisions.source) == (0, CROSS_FITTED)
    facts = RunFolder(tmp_path / "run").metrics()["run"]
    assert facts["training"] == "head fitted at once, with a penalty"
    assert "the head, on a frozen backbone: log-loss" in facts["tried"]
    head = TrainConfig.of(str(several_shapes), **TINY, val_split=0.3)
    train(head, tmp_path / "head")
    expected, found = (RunFolder(tmp_path / name).weights() for name in ("head", "run"))
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_training_that_helps_is_kept_and_calibrated_by_images_without_a_part_in_that(several_shapes, tmp_path):
    steps = {"mode": "gradual", "epochs": 12, "head_epochs": 0, "finetune_lr": 3e-3, "augment": "none"}
    result = train(TrainConfig.of(str(several_shapes), **TINY, **steps, val_split=0.3), tmp_path / "run")
    head, trained = result.tried
    assert trained.kept
    assert trained.judged[0] < head.judged[0]
    assert result.kept_epoch == 12
    assert (result.several.decisions.source, result.several.decisions.images) == ("validation images", 32)
    assert "the head, on a frozen backbone" in (tmp_path / "run" / "report.html").read_text()


def test_an_interrupted_run_goes_on_where_it_was(several_shapes, tmp_path):
    class Stop(Notes):
        def epoch(self, row):
            super().epoch(row)
            if row.epoch == 2:
                raise KeyboardInterrupt

    config = TrainConfig.of(str(several_shapes), **TINY, mode="full", epochs=3, batch_size=16)
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "run", progress=Stop())
    resumed = train(config, tmp_path / "run", resume=True)
    whole = train(config, tmp_path / "whole")
    for ours, theirs in zip(resumed.history, whole.history, strict=True):
        assert dataclasses.replace(ours, seconds=0) == dataclasses.replace(theirs, seconds=0)


def test_runs_are_not_compared(several_shapes, tmp_path):
    with pytest.raises(ConfigError, match="a: runs with multi_label cannot be compared by their accuracy"):
        compare({"a": TrainConfig.of(str(several_shapes), **TINY)}, 2, tmp_path / "compared")
    assert not (tmp_path / "compared").exists()


def test_a_label_without_training_images_stops_before_training(several_shapes, tmp_path):
    text = several_shapes.read_text().splitlines()
    rows = [text[0], *(line if line.endswith("test") else re.sub(r",[01]?,train$", ",0,train", line)
                       for line in text[1:])]  # fmt: skip
    path = several_shapes.parent / "without.csv"
    path.write_text("\n".join(rows))
    with pytest.raises(DataError, match="class 'square': no readable training image"):
        train(TrainConfig.of(str(path), **TINY), tmp_path / "run")


def test_a_dry_run_counts_labels(several_shapes):
    found = dry_run(TrainConfig.of(str(several_shapes), **TINY))
    assert found.counts["test"] == {"circle": 12, "cross": 12, "square": 10}
    assert any(line.startswith("only 24 test images: each moves") for line in found.warnings), "24 images, 34 labels"


def test_test_images_without_any_label_are_test_images(several_shapes):
    rows = [re.sub(r",[01],[01],[01]?,test$", ",0,0,0,test", line) for line in several_shapes.read_text().splitlines()]
    path = several_shapes.parent / "none.csv"
    path.write_text("\n".join(rows))
    found = dry_run(TrainConfig.of(str(path), **TINY))
    assert any(line.startswith("only 24 test images") for line in found.warnings)


def test_a_label_that_all_images_have_is_told_by_a_dry_run(several_shapes):
    rows = [re.sub(r",[01]?,train$", ",1,train", line) for line in several_shapes.read_text().splitlines()]
    path = several_shapes.parent / "all.csv"
    path.write_text("\n".join(rows))
    progress = Notes()
    with pytest.raises(DataError, match=r"label 'square': 0 training image\(s\) are known not to have it"):
        dry_run(TrainConfig.of(str(path), **TINY), progress=progress)
    assert any(line.startswith("square") for line in progress.lines), "the counts are shown before"
