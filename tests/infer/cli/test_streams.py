"""Standard output and error that are full, closed, or read by nobody: one line, and the right exit code."""

import os
import shlex
import subprocess
import sys

import pytest
from PIL import Image

from support import onnx_bytes
from support.program import TL_INFER

NO_ROOM, NOT_OPEN = "No space left on device", "Bad file descriptor"


@pytest.fixture
def arguments(tmp_path):
    (tmp_path / "model.onnx").write_bytes(onnx_bytes.color_model())
    Image.new("RGB", (8, 8), "red").save(tmp_path / "0.png")
    return [*TL_INFER, str(tmp_path / "model.onnx"), str(tmp_path / "0.png")]


@pytest.mark.parametrize(
    ("rest", "code", "said"),
    [
        (">/dev/full", 1, f"Error: standard output: cannot be written: {NO_ROOM}\n"),
        (">&-", 1, f"Error: standard output: cannot be written: {NOT_OPEN}\n"),
        ("--out {out} >&-", 0, "Results: "),
        ("--out {out} >&- 2>&- <&-", 0, ""),
        ("2>/dev/full", 0, ""),
        ("--help >/dev/full", 1, f"Error: standard output: cannot be written: {NO_ROOM}\n"),
    ],
)
def test_what_cannot_be_written(arguments, tmp_path, rest, code, said):
    out = tmp_path / "r.csv"
    command = f"{shlex.join(arguments)} {rest.format(out=out)}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code, done.stderr
    assert done.stderr == said if code else said in done.stderr
    if "{out}" in rest:
        assert out.read_text().splitlines()[1].split(",")[1] == '"red"'
    elif code == 0:
        assert "\tred\t" in done.stdout


def test_a_reader_that_is_gone(arguments):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(arguments, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "Error: standard output: cannot be written: Broken pipe\n")


def test_a_summary_that_cannot_be_printed_is_a_warning():
    """What tl-train and tl-export print is about files that are written."""
    code = (
        "import click; from tl_infer.cli.console import run_program; from tl_infer.cli.streams import summary\n"
        "@click.command()\n"
        "def command():\n"
        "    with summary():\n"
        "        click.echo('written')\n"
        "run_program(command)"
    )
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(
            [sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False
        )
    expected = f"Warning: standard output: cannot be written: {NO_ROOM}; all files are written\n"
    assert (done.returncode, done.stderr) == (0, expected)


@pytest.mark.parametrize(
    ("raised", "said"),
    [("OSError(28, 'No space left on device', 'a/b')", f"a/b: {NO_ROOM}"), ("MemoryError()", "not enough memory")],
)
def test_the_machines_trouble_is_one_line_wherever_it_shows(raised, said):
    code = (
        "import click; from tl_infer.cli.console import run_program\n"
        "@click.command()\n"
        "def command():\n"
        f"    raise {raised}\n"
        "run_program(command)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (1, f"Error: {said}\n")
