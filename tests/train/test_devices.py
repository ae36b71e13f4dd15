import json
import subprocess
import sys
from pathlib import Path

import pytest

TL_TRAIN = [str(Path(sys.executable).with_name("tl-train"))]  # the other process runs this command again
FIELDS = ["--arch", "timm:test_efficientnet", "--weights", "none", "--size", "32", "--epochs", "3", "--mode", "head"]
# A plain head would be trained on cached features, in one process only.
FIELDS += ["--head-fit", "sgd", "--schedule", "cosine"]


def test_two_processes_come_to_the_metrics_of_one(shapes, tmp_path):
    metrics, tables = [], []
    for devices in ("1", "2"):
        out = tmp_path / devices
        command = [*TL_TRAIN, str(shapes), "--out", str(out), "--devices", devices, *FIELDS]
        done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("Test accuracy") == 1
        metrics.append(json.loads((out / "metrics.json").read_text())["held_out"])
        tables.append((out / "history.csv").read_text().splitlines()[1:])
    assert metrics[1]["accuracy"] == metrics[0]["accuracy"]
    assert metrics[1]["log_loss"] == pytest.approx(metrics[0]["log_loss"], abs=1e-3)
    for one, two in zip(*tables, strict=True):
        assert float(two.split(",")[1]) == pytest.approx(float(one.split(",")[1]), abs=1e-3)
