"""tl_train.training.waiting: what the environment says already is left alone."""

import subprocess
import sys

import pytest

ASK = "import os; from tl_train.training.waiting import wait_briefly; wait_briefly(); print(*map(os.environ.get, {0}))"
NAMES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, "PASSIVE 10000"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE None"),
        ({"GOMP_SPINCOUNT": "7"}, "PASSIVE 7"),
    ],
)
def test_only_what_nobody_has_set_is_set(given, found, monkeypatch):
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    done = subprocess.run([sys.executable, "-c", ASK.format(NAMES)], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == found
