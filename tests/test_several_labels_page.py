"""docs/several-labels.md: its code runs on a model of that kind, its commands have only options that exist."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from tl_export import export
from tl_export.cli import command as tl_export
from tl_infer.cli.command import command as tl_infer
from tl_train.cli import command as tl_train

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "several-labels.md").read_text(encoding="utf-8")
PROGRAMS = {"tl-train": tl_train, "tl-export": tl_export, "tl-infer": tl_infer}


def test_the_python_code_runs(several_run, several_shapes, tmp_path, monkeypatch, capsys):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    export(several_run, tmp_path / "pairs.onnx")
    shutil.copy(several_shapes.parent / "7.png", tmp_path / "photo.png")
    monkeypatch.chdir(tmp_path)
    exec(compile(code.replace('"7")', '"cross")'), "several-labels.md", "exec"), {})
    labels, scores = capsys.readouterr().out.splitlines()
    assert set(eval(labels)) <= {"circle", "cross", "square"}
    assert len(eval(scores)) == 3
    assert (tmp_path / "seven.png").is_file()


def test_the_example_draws_what_the_page_trains_on(tmp_path):
    program = [sys.executable, str(ROOT / "examples" / "digit_pairs.py"), str(tmp_path / "pairs")]
    done = subprocess.run([*program, "--train", "30", "--test", "5"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("35 pictures and labels.csv in ")
    lines = (tmp_path / "pairs" / "labels.csv").read_text().splitlines()
    assert lines[0] == "path,labels,split"
    assert all(re.fullmatch(r"(train|test)-\d{4}\.png,[0-9]\|[0-9],(train|test)", line) for line in lines[1:])
    assert len(list((tmp_path / "pairs").glob("*.png"))) == len(lines) - 1 == 35
    again = subprocess.run(program, capture_output=True, text=True, check=False)
    assert again.returncode == 2
    assert "exists already" in again.stderr


@pytest.mark.parametrize("line", [line for block in re.findall(r"```sh\n(.*?)```", PAGE, flags=re.DOTALL)
                                  for line in block.splitlines() if line.startswith("tl-")])  # fmt: skip
def test_every_command_shown_has_only_options_that_exist(line):
    name, *arguments = shlex.split(line, comments=True)
    with click.Context(PROGRAMS[name]) as context:
        PROGRAMS[name].make_parser(context).parse_args(arguments)
