"""The files in deploy/: what linters say, and that they name what is there."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

DEPLOY = Path(__file__).parents[1] / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
HADOLINT = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")


@pytest.mark.skipif(HADOLINT is None, reason="no hadolint")
def test_hadolint_has_nothing_to_say():
    done = subprocess.run(
        [HADOLINT, str(DEPLOY / "Dockerfile")], capture_output=True, text=True, timeout=60, check=False
    )  # fmt: skip
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd")
def test_systemd_understands_the_unit(tmp_path):
    unit = tmp_path / "tl-infer.service"
    text = (DEPLOY / "tl-infer.service").read_text(encoding="utf-8")
    unit.write_text(text.replace("/opt/tl-infer/bin/tl-infer", "/bin/true"))  # which must be there
    command = ["systemd-analyze", "verify", "--man=no", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert [line for line in (done.stdout + done.stderr).splitlines() if "tl-infer" in line] == []
    assert done.returncode == 0


def test_the_image_runs_as_nobody_and_copies_what_the_build_context_has():
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    stage = DOCKERFILE.split("\nFROM ")[-1]
    assert re.search(r"^USER 65534:65534$", stage, re.MULTILINE)
    copied = [name.strip("./") for line in re.findall(r"^COPY (?!--)(.*) \S+$", DOCKERFILE, re.MULTILINE)
              for name in line.split()]  # fmt: skip
    assert sorted(copied) == sorted(line[1:] for line in ignored if line.startswith("!"))
    for name in copied:
        assert (DEPLOY.parent / name).exists()
