"""`--engine ray` without Ray: options that do not fit, and what to install. With Ray it is in tests/infer/ray."""

import subprocess
import sys

import pytest

from support import onnx_bytes

MISSING = "import sys; sys.modules['ray'] = None; "


def run(*arguments, before=""):
    program = f"{before}from tl_infer.cli.command import main; main()"
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--engine", "ray"], "--engine ray needs --out FOLDER."),
        (["--engine", "ray", "--out", "r.csv"], "r.csv: with --engine ray it is a folder."),
        (["--engine", "ray", "--out", "r", "--heatmaps", "h"], "--heatmaps does not work with --engine ray."),
        (["--engine", "ray", "--out", "r", "--provider", "cpu"], "--provider does not work with --engine ray."),
        (["--ray-address", "auto"], "--ray-address needs --engine ray."),
        (["--out", "rows"], "rows: the name must end in .csv or .jsonl."),
    ],
)
def test_options_that_do_not_fit(arguments, message):
    done = run("m.onnx", "photos", *arguments)
    assert done.returncode == 2
    assert message in done.stderr


def test_the_results_of_one_machine_are_no_folder(tmp_path):
    (tmp_path / "rows.csv").mkdir()
    done = run("m.onnx", "photos", "--out", tmp_path / "rows.csv")
    assert (done.returncode, "is a directory" in done.stderr) == (2, True)


def test_without_the_extra_it_says_what_to_install(tmp_path):
    model = tmp_path / "m.onnx"
    model.write_bytes(onnx_bytes.color_model())
    done = run(model, tmp_path, "--engine", "ray", "--out", tmp_path / "rows", before=MISSING)
    assert (done.returncode, done.stderr) == (1, 'Error: ray is not installed; run: pip install "tl-toolkit[ray]"\n')
