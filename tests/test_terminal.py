"""What the programs do at a terminal: 80 columns, no colours where NO_COLOR is set, completion of options."""

import errno
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest
from PIL import Image

from support import onnx_bytes
from tl_infer.cli.table import display_width

PROGRAMS = {"tl-train": "tl_train", "tl-export": "tl_export", "tl-infer": "tl_infer"}
ESCAPE = "\x1b"


def at_a_terminal(*command: object, status: int = 0, **variables: str) -> str:
    """What a program that ends with that status shows at a terminal of 80 columns, its standard error included."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    inherited = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS")}
    environment = inherited | {"TERM": "xterm-256color"} | variables
    process = subprocess.Popen(list(map(str, command)), stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 65536):
            shown += part
    except OSError as error:
        if error.errno != errno.EIO:  # how Linux says that the other side is closed
            raise
    finally:
        os.close(ours)
    assert process.wait(60) == status, shown
    return shown.decode()


@pytest.fixture
def answers(tmp_path):
    """A model, and a folder with an image that it is sure of, one that it is not, and a file that is none."""
    (tmp_path / "colors.onnx").write_bytes(onnx_bytes.color_model(onnx_bytes.abstaining_spec(0.9)))
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, color in {"red": (255, 0, 0), "grey" * 20: (120, 110, 100)}.items():
        Image.new("RGB", (6, 4), color).save(folder / f"{name}.png")
    (folder / "notes.txt").write_text("no image")
    return tmp_path / "colors.onnx", folder


@pytest.mark.parametrize("command", [*([module] for module in PROGRAMS.values()), ["tl_infer", "serve"]], ids=" ".join)
def test_help_fits_into_80_columns(command):
    shown = at_a_terminal(sys.executable, "-m", *command, "--help")
    assert not [line for line in shown.splitlines() if display_width(line) > 80]


def test_answers_are_coloured_only_where_that_is_wanted(answers):
    command = [sys.executable, "-m", "tl_infer", *answers]
    assert ESCAPE in at_a_terminal(*command, status=3)
    for variables in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        plain = at_a_terminal(*command, status=3, **variables)
        assert ESCAPE not in plain
        for word in ("red ", "(unsure) ", "(error) ", "not an image", "3 of 3 files, 1 error"):
            assert word in plain, "the words say what the colours say"
        rows = [line for line in plain.splitlines() if "%" in line]
        assert len(rows) >= 2
        assert not [row for row in rows if display_width(row) > 80]


@pytest.mark.parametrize("arguments", [["tl_train", "no-such-folder", "--dry-run"], ["tl_export", "no-such-run"]])
def test_seconds_of_imports_are_told_and_forgotten(arguments):
    shown = at_a_terminal(sys.executable, "-m", *arguments, status=1)
    before, loading, after = shown.partition("Loading ...\r")
    assert (before, loading) == ("", "Loading ...\r")
    assert after.startswith(" " * len("Loading ...") + "\r")
    assert "Error: " in after


@pytest.mark.parametrize(("name", "module"), PROGRAMS.items())
def test_a_shell_can_complete_options(name, module, tmp_path):
    program = tmp_path / name
    program.write_text(
        f"#!{sys.executable}\nfrom {module}{'.cli' if name == 'tl-infer' else ''}.start import main\nmain()\n"
    )
    program.chmod(0o755)
    variable = f"_{name.upper().replace('-', '_')}_COMPLETE"
    typed = {variable: "zsh_complete", "COMP_WORDS": f"{name} --o", "COMP_CWORD": "1"}
    asked = subprocess.run([program], env=os.environ | typed, capture_output=True, text=True, check=False, timeout=60)
    assert "--out" in asked.stdout.splitlines()
    script = subprocess.run(
        [program], env=os.environ | {variable: "zsh_source"}, capture_output=True, text=True, check=False, timeout=60
    )
    assert re.search(rf"compdef \w+ {name}", script.stdout)
