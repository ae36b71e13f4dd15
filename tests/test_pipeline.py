"""The whole path: draw pictures, train, export, classify files, compare with PyTorch."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tl_infer import Classifier, load_image
from tl_train.preprocess.graph import Preprocessor
from tl_train.run_folder.folder import RunFolder


def torch_probabilities(run: Path, path: Path) -> np.ndarray:
    model, spec, _ = RunFolder(run).load_model()
    tensor = torch.from_numpy(Preprocessor(spec.preprocess)(load_image(path)))
    with torch.inference_mode():
        return torch.softmax(model(tensor[None]) / spec.temperature, dim=1)[0].numpy()


def test_files_classified_without_torch_get_the_answers_of_pytorch(tiny_run, tiny_model, shapes, tmp_path):
    out = tmp_path / "results.jsonl"
    code = (
        "import sys; from tl_infer.cli.command import command; "
        "status = command.main(sys.argv[1:], standalone_mode=False); "
        "assert 'torch' not in sys.modules; sys.exit(status)"
    )
    arguments = [str(tiny_model), str(shapes), "--out", str(out), "--top-k", "3"]
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, timeout=60, capture_output=True)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(rows) == 30
    for row in rows:
        expected = torch_probabilities(tiny_run, Path(row["path"]))
        found = {score["label"]: score["probability"] for score in row["top"]}
        labels = Classifier(tiny_model).labels if row is rows[0] else ("circle", "cross", "square")
        np.testing.assert_allclose([found[label] for label in labels], expected, atol=1e-5)
        assert row["label"] == labels[int(expected.argmax())]


def test_the_runs_predictions_are_the_files(tiny_run, tiny_model):
    classifier = Classifier(tiny_model)
    with (tiny_run / "predictions.csv").open() as file:
        for row in csv.DictReader(file):
            result = classifier.classify(row["path"], top_k=None)
            assert result.label == row["predicted"]
            for score in result.top:
                assert score.probability == pytest.approx(float(row[f"p({score.label})"]), abs=2e-6)
