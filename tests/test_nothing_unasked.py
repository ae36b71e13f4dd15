"""Nothing goes out unasked: what the programs, and the libraries they load, look up and leave in the home folder."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
COMPILER = shutil.which("cc")

# Stands before the system's own: every name that any library looks up is noted, and not found.
LOOK_UPS = """
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **result) {
  FILE *log = fopen(getenv("LOOK_UPS"), "a");
  if (log) { fprintf(log, "%s\\n", node ? node : "-"); fclose(log); }
  return EAI_FAIL;
}
"""
# Two programs in one process, because importing torch takes seconds; then what is left of the libraries they may load.
PROGRAMS = """
import json, sys
import tl_train.cli, tl_export.cli
for program, arguments in zip((tl_train.cli, tl_export.cli), json.loads(sys.argv[1])):
    program.command.main(arguments, standalone_mode=False)
import huggingface_hub, jinja2, lightning_fabric, matplotlib, onnx, onnxscript, pooch, sklearn, timm, torchvision
"""
CLASSIFIER = "import tl_infer; tl_infer.Classifier(sys.argv[1]).classify(sys.argv[2])"


class Watched:
    def __init__(self, folder: Path) -> None:
        self.home, self.log, library = folder / "home", folder / "look-ups", folder / "look-ups.so"
        self.home.mkdir()
        source = folder / "look-ups.c"
        source.write_text(LOOK_UPS)
        subprocess.run([COMPILER, "-shared", "-fPIC", "-o", library, source], check=True, timeout=60)
        asked = ("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK", "CI", "TL_CACHE_DIR")
        self._environment = {name: value for name, value in os.environ.items() if name not in asked} | {
            "HOME": str(self.home), "XDG_CACHE_HOME": str(self.home / ".cache"), "LD_PRELOAD": str(library),
            "LOOK_UPS": str(self.log),
        }  # fmt: skip

    def run(self, *command: object) -> str:
        done = subprocess.run(
            [sys.executable, *map(str, command)], env=self._environment, cwd=self.home.parent, timeout=600,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stderr

    def looked_up(self) -> str:
        return self.log.read_text() if self.log.exists() else ""

    def left(self) -> set[str]:
        """Folders of the home that hold files, and their parents'."""
        files = (path.relative_to(self.home) for path in self.home.rglob("*") if path.is_file())
        return {Path(*path.parts[:2]).as_posix() for path in files}


@pytest.fixture
def watched(tmp_path):
    if COMPILER is None:
        pytest.skip("no C compiler")
    return Watched(tmp_path)


def test_the_watch_sees_a_look_up(watched):
    connect = "with contextlib.suppress(OSError): socket.create_connection(('a.b', 1))"
    watched.run("-c", f"import contextlib, socket\n{connect}")
    assert watched.looked_up() == "a.b\n"


def test_classifying_looks_nothing_up_and_leaves_nothing(watched, tiny_model, tmp_path):
    picture = tmp_path / "0.png"
    Image.new("RGB", (70, 70), "red").save(picture)
    assert watched.run("-c", f"import sys; {CLASSIFIER}", tiny_model, picture) == ""
    watched.run("-m", "tl_infer", tiny_model, picture)
    assert watched.run(ROOT / "examples" / "callers" / "classify.py", tiny_model, picture) == ""
    assert (watched.looked_up(), watched.left()) == ("", set())


def test_training_and_exporting_look_nothing_up_and_leave_caches(watched, shapes, tiny_run, tiny_model):
    options = ["--arch", "timm:test_efficientnet", "--weights", "none", "--size", "32", "--mode", "full"]
    options += ["--head-fit", "sgd", "--prior", "none", "--epochs", "1"]
    programs = [[shapes, "--out", "run", *options], ["--check", tiny_model, "--run", tiny_run]]
    watched.run("-c", PROGRAMS, json.dumps(programs, default=str))
    assert (watched.home.parent / "run" / "metrics.json").is_file()
    assert watched.looked_up() == ""
    assert watched.left() <= {".cache/tl-toolkit", ".cache/matplotlib", ".config/matplotlib"}
