"""What the service does is what its OpenAPI description says, for requests that schemathesis makes up."""

import subprocess
import sys
from pathlib import Path

import pytest

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
# Bodies of any bytes are images that cannot be read (422); which of them are images no schema can say.
LEFT_OUT = ("positive_data_acceptance", "negative_data_rejection")


@pytest.mark.skipif(not SCHEMATHESIS.exists(), reason="no schemathesis")
def test_every_answer_is_one_that_the_description_has(service, tmp_path):
    command = [
        str(SCHEMATHESIS), "run", f"http://127.0.0.1:{service.port}/openapi.json", "--checks", "all",
        "--exclude-checks", ",".join(LEFT_OUT), "--max-examples", "10", "--seed", "1", "--generation-deterministic",
        "--phases", "examples,coverage,fuzzing", "--no-color",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout[-8000:]
