"""The files that an export leaves behind, and that it leaves none when something goes wrong."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tl_export import ExportError, ExportOptions, export
from tl_export.pipeline import card_path, parity_path
from tl_infer import Classifier, OutputPathError
from tl_train.errors import RunError

TL_EXPORT = [sys.executable, "-m", "tl_export"]


@pytest.fixture
def run(tiny_run, tmp_path) -> Path:
    shutil.copytree(tiny_run, tmp_path / "run")
    return tmp_path / "run"


def test_the_same_run_gives_the_same_bytes(tiny_run, tiny_model, tmp_path):
    """Another process, too."""
    out = tmp_path / "shapes.onnx"
    subprocess.run([*TL_EXPORT, str(tiny_run), "--out", str(out)], check=True, capture_output=True, timeout=120)
    assert out.read_bytes() == tiny_model.read_bytes()
    assert parity_path(out).read_bytes() == parity_path(tiny_model).read_bytes()
    assert card_path(out).read_bytes() == card_path(tiny_model).read_bytes()


def test_the_parity_file_belongs_to_the_model(tiny_model, tiny_run):
    document = json.loads(parity_path(tiny_model).read_text())
    assert document["model_sha256"] == hashlib.sha256(tiny_model.read_bytes()).hexdigest()
    assert (document["version"], document["pictures"], document["top1_agreement"]) == (1, 6, 1.0)
    stages = {stage["stage"]: stage for stage in document["stages"]}
    parity = Classifier(tiny_model).spec.parity
    assert parity is not None
    assert parity.stages == {name: stage["largest"] for name, stage in stages.items()}
    assert parity.tolerances == {name: stage["tolerance"] for name, stage in stages.items()}
    assert [parity.batch_difference, parity.unoptimized_difference] == [c["largest"] for c in document["checks"]]
    assert document["golden"]["samples"][-1] == "fine pattern"


@pytest.mark.parametrize("name", ["config.toml", "spec.json", "weights.safetensors", "metrics.json"])
def test_an_incomplete_run_is_named(run, tmp_path, name):
    (run / name).unlink()
    with pytest.raises(RunError, match=f"{name} is missing; expected a finished run of tl-train"):
        export(run, tmp_path / "model.onnx")


def test_a_folder_that_cannot_be_written_to_is_told_before_the_run_is_read(run, tmp_path):
    (tmp_path / "link.onnx").symlink_to("/proc/self/model.onnx")
    (run / "spec.json").write_text("{")
    for out, page in [("/proc/self/model.onnx", None), (tmp_path / "link.onnx", None),
                      (tmp_path / "model.onnx", "/proc/self/page.html")]:  # fmt: skip
        with pytest.raises(OutputPathError, match=r"/proc/.*: cannot be written to: No such file"):
            export(run, out, page=page)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.onnx", "run"]


class AfterARun(os.PathLike):
    """Images that are named once tl-train has put another run into the folder."""

    def __init__(self, run: Path, images: Path) -> None:
        self._run, self._images = run, images

    def __fspath__(self) -> str:
        shutil.copy(self._run / "metrics.json", self._run / "new.json")
        (self._run / "new.json").replace(self._run / "metrics.json")
        return str(self._images)


def test_a_run_that_is_replaced_while_it_is_read_is_not_mixed_with_the_other(run, shapes, tmp_path):
    with pytest.raises(ExportError, match="run: tl-train has just replaced this run by another one; export again"):
        export(run, tmp_path / "model.onnx", ExportOptions(images=(AfterARun(run, shapes),)))
    assert not (tmp_path / "model.onnx").exists()


def spec_with(run: Path, **fields) -> None:
    spec = json.loads((run / "spec.json").read_text())
    (run / "spec.json").write_text(json.dumps({**spec, **fields}))


def test_a_run_of_another_version_and_labels_that_do_not_fit(run, tmp_path):
    spec_with(run, version=3)
    with pytest.raises(RunError, match=r"version: found 3, expected 1 or 2"):
        export(run, tmp_path / "model.onnx")
    spec_with(run, version=1, labels=["circle", "square"])
    with pytest.raises(RunError, match=r"weights.safetensors does not fit spec.json: .*train again"):
        export(run, tmp_path / "model.onnx")
    spec_with(run, version=1, labels=["circle", "cross", "square"])
    for text, message in [("{", "cannot be read"), ("{}", "expected held_out"), ("[1]", "expected held_out")]:
        (run / "metrics.json").write_text(text)
        with pytest.raises(RunError, match=rf"metrics.json: {message}.*train again"):
            export(run, tmp_path / "model.onnx")
    (run / "metrics.json").write_text('{"held_out": {"part": "test"}, "calibration": {}, "run": {"data": "x"}}')
    with pytest.raises(RunError, match=r"metrics.json: not as this tl-toolkit writes it"):
        export(run, tmp_path / "model.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_configuration_of_another_version(run, tmp_path):
    config = run / "config.toml"
    config.write_text(f"earlier = 1\n{config.read_text()}")
    with pytest.raises(ExportError, match=r"config.toml: earlier: unknown field; .*another version of tl-train: train"):
        export(run, tmp_path / "model.onnx")


@pytest.mark.parametrize("name", ["model.onnx", "model.parity.json", "model.md"])
def test_nothing_is_replaced_unless_asked(tiny_run, tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(ExportError, match=rf"{name}: exists already; choose another name, or replace it with"):
        export(tiny_run, tmp_path / "model.onnx")
    assert (tmp_path / name).read_text() == "mine"
    export(tiny_run, tmp_path / "model.onnx", overwrite=True)
    assert (tmp_path / name).read_bytes() != b"mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.md", "model.onnx", "model.parity.json"]


def test_names_that_the_companions_would_take(tiny_run, tmp_path):
    for name in ("model.md", "model.json"):
        with pytest.raises(ExportError, match=r"name the file \*.onnx"):
            export(tiny_run, tmp_path / name)


def test_a_page_in_the_place_of_the_model_and_names_that_no_file_can_have(tiny_run, tmp_path):
    (tmp_path / "link.html").symlink_to("both.html")
    for page in ("both.html", "link.html"):
        with pytest.raises(ExportError, match=rf"{page}: the model has this name, too"):
            export(tiny_run, tmp_path / "both.html", page=tmp_path / page, overwrite=True)
    with pytest.raises(
        ExportError, match=r"a{250}\.parity\.json: cannot be written: .*too long.*; choose another name"
    ):
        export(tiny_run, tmp_path / f"{'a' * 250}.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["link.html"]


@pytest.mark.parametrize("limit", [1000, 100_000])
def test_no_room_leaves_no_file(tiny_run, tmp_path, limit):
    """A file size limit fails a write as a full disk does."""
    code = (
        "import atexit, functools, resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "limit = functools.partial(resource.setrlimit, resource.RLIMIT_FSIZE); "
        f"atexit.register(limit, resource.getrlimit(resource.RLIMIT_FSIZE)); limit(({limit}, -1)); "
        "from tl_export.cli import main; main()"
    )
    out = tmp_path / "model.onnx"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tiny_run), "--out", str(out)], capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert re.fullmatch(r"Error: .*model.onnx: cannot be written: File too large", done.stderr.splitlines()[-1])
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_export_leaves_no_file(tiny_run, tmp_path):
    out = tmp_path / "model.onnx"
    process = subprocess.Popen([*TL_EXPORT, str(tiny_run), "--out", str(out)], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert process.stderr.readline().startswith("Tracing")
    process.send_signal(signal.SIGINT)
    rest = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 130
    assert rest.splitlines()[-1] == "Interrupted."
    assert list(tmp_path.iterdir()) == []
