"""onnxruntime is kept from reporting to its maker, unless the host program wants it to."""

import os
import subprocess
import sys
from pathlib import Path

from support import onnx_bytes

CODE = """
import sys; sys.path[:0] = sys.argv[1:2]
import support.onnx_bytes as onnx_bytes, tl_infer, numpy as np, os
print(tl_infer.Classifier(onnx_bytes.color_model()).classify(np.zeros((4, 4, 3), np.uint8)).label is not None)
print(os.environ["ORT_DISABLE_TELEMETRY"])
"""


def run(home: Path, **variables: str) -> list[str]:
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    environment |= {"HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache"), **variables}
    command = [sys.executable, "-c", CODE, str(Path(onnx_bytes.__file__).parents[1])]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == ""
    return done.stdout.split()


def test_nothing_is_written_to_the_home_folder(tmp_path):
    assert run(tmp_path)[1] == "1"
    assert list(tmp_path.rglob("*")) == []


def test_the_host_program_decides(tmp_path):
    assert run(tmp_path, ORT_DISABLE_TELEMETRY="0")[1] == "0"
