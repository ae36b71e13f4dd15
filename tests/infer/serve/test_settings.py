"""Settings say what is wrong with them."""

import subprocess
import sys
from pathlib import Path

import pytest

from tl_infer.serve.settings import Settings

MODEL = (Path("a.onnx"),)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"models": ()}, "models: found none"),
        ({"models": (Path("x/a.onnx"), Path("y/a.onnx"))}, "models: two files are called 'a'"),
        ({"models": (Path("a\udcff.onnx"),)}, "models: the name of 'a\udcff' is not UTF-8"),
        ({"queue": 0}, "queue: found 0, expected 1 or more"),
        ({"body_timeout_s": float("nan")}, "body_timeout_s: found nan, expected above 0"),
        ({"max_held_bytes": 10}, "max_held_bytes: found 10, less than one request may have"),
    ],
)
def test_values_out_of_range(values, message):
    with pytest.raises(ValueError, match=message):
        Settings(**{"models": MODEL, **values})


def test_a_time_limit_without_isolation_is_refused():
    pytest.importorskip("uvicorn")  # of the extra, which is asked for first
    command = [sys.executable, "-m", "tl_infer", "serve", "a.onnx", "--no-isolate", "--max-seconds", "5"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "--max-seconds needs --isolate." in done.stderr


def test_decoding_is_isolated_unless_somebody_says_otherwise():
    assert Settings(models=MODEL).limits.isolate
