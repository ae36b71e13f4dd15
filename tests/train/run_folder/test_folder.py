"""tl_train.run_folder.folder: what a run left is read back, and damage is explained."""

import csv
import json
import os
import re
import shutil
import types
from pathlib import Path

import numpy as np
import pytest

from tl_train.errors import RunError
from tl_train.run_folder.folder import RunFolder
from tl_train.run_folder.predictions import write_predictions


@pytest.fixture
def run(tiny_run, tmp_path):
    """A copy of a finished run, to damage."""
    shutil.copytree(tiny_run, tmp_path / "run")
    return RunFolder(tmp_path / "run")


def test_a_finished_run_is_read_back(tiny_run, shapes):
    run = RunFolder(tiny_run)
    spec = run.spec()
    assert spec.labels == ("circle", "cross", "square")
    assert run.config().data.source == str(shapes)
    assert run.weights()["classifier.weight"].shape[0] == 3
    rows = run.predictions()
    assert [row.path for row in rows] == run.held_out_files()
    assert all(row.path.is_file() and row.predicted in spec.labels for row in rows)
    assert sum(row.label == row.predicted for row in rows) == run.metrics()["held_out"]["correct"]


def test_a_damaged_run_is_explained(run, tmp_path):
    with pytest.raises(RunError, match="no such folder"):
        RunFolder(tmp_path / "absent").load_model()
    with pytest.raises(RunError, match=r"config.toml is missing; expected a finished run"):
        RunFolder(tmp_path).load_model()
    spec = run.spec_file.read_text()
    run.spec_file.write_text(spec.replace('"cross", ', ""))
    with pytest.raises(RunError, match=r"weights.safetensors does not fit spec.json: size mismatch for classifier"):
        run.load_model()
    run.spec_file.write_text("{}")
    with pytest.raises(RunError, match=r"version: found None.*train again"):
        run.load_model()
    run.spec_file.write_text(spec)
    run.weights_file.write_bytes(b"garbage")
    with pytest.raises(RunError, match="cannot be read as weights"):
        run.load_model()


def test_predictions_keep_odd_names_and_absolute_paths(run):
    odd = os.fsdecode(b"caf\xe9 \r.png")
    run.predictions_file.write_bytes(
        b'"path","label","predicted"\n"' + os.fsencode(odd) + b'","a","b"\n"/x/y.png","b","b"\n'
    )
    first, second = run.predictions()
    assert (first.path, first.label, first.predicted) == (run.path / odd, "a", "b")
    assert str(second.path) == "/x/y.png"


def test_no_cell_is_a_formula_and_the_labels_come_back(run):
    labels = ["=1+1", "'-2", "a;=b", "@x\ny", "plain"]
    truth = np.arange(5)
    evaluation = types.SimpleNamespace(truth=truth, predicted=truth[::-1], probabilities=np.eye(5))
    files = [Path("=cmd.png"), Path("/x/-y.png"), Path("-z.png"), Path("held_out/a.png"), Path("@.png")]
    write_predictions(run.predictions_file, evaluation, labels, files)
    with run.predictions_file.open(newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert not [cell for cell in cells if re.search(r"(^|;)[ ]*[=+@-]", cell)]
    rows = run.predictions()
    assert [row.label for row in rows] == labels
    assert [row.predicted for row in rows] == labels[::-1]
    assert [row.path for row in rows] == [run.path / file for file in files]


@pytest.mark.parametrize(
    ("content", "reason"), [("path,label\na.png,x\n", "predicted"), ("label,path,predicted\nx\n", "NoneType")]
)
def test_a_damaged_list_is_explained(run, content, reason):
    run.predictions_file.write_text(content)
    with pytest.raises(RunError, match=rf"predictions.csv: no list of held-out images \(.*{reason}"):
        run.predictions()
    with pytest.raises(RunError, match=r"no list of held-out images .*; give images to verify on with --images"):
        run.held_out_files()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read: .*train again with tl-train"),
        (json.dumps({"run": {}}), "expected held_out, calibration, run; made by"),
    ],
)
def test_damaged_metrics_are_explained(run, content, message):
    run.metrics_file.write_text(content)
    with pytest.raises(RunError, match=rf"metrics.json: {message}"):
        run.metrics()
