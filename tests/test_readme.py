"""What the README shows must work as written."""

import re
import shlex
import shutil
from pathlib import Path

import click
import pytest

from tl_export.cli import command as tl_export
from tl_infer.cli.command import command as tl_infer
from tl_train.cli import command as tl_train

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROGRAMS = {"tl-train": tl_train, "tl-export": tl_export, "tl-infer": tl_infer}


def test_the_python_code_runs(tiny_model, shapes, tmp_path, monkeypatch, capsys):
    shutil.copy(tiny_model, tmp_path / "photos.onnx")
    for name in ("photo.jpg", "a.jpg", "b.jpg"):
        shutil.copy(shapes / "circle" / "circle0.png", tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    exec(compile(code, "README.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[3].startswith("notes.txt could not be read: not an image")


def test_no_placeholder_is_left():
    assert not re.findall(r"@\w+@", README)
    assert len(re.findall(r"\| `(tl-.*?)`", README)) >= 4


def commands() -> list[str]:
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL))
    table = re.findall(r"\| `(tl-.*?)`", README)
    return [line for line in blocks.splitlines() if line.startswith("tl-")] + [f"{row} --out x" for row in table]


@pytest.mark.parametrize("line", commands())
def test_every_command_shown_has_only_options_that_exist(line):
    name, *arguments = shlex.split(line, comments=True)
    program = PROGRAMS[name]
    with click.Context(program) as context:
        program.make_parser(context).parse_args(arguments)


def test_every_file_it_links_to_is_there():
    for target in re.findall(r"\]\(([^)]+)\)", README):
        path, _, heading = target.partition("#")
        assert (ROOT / path).exists(), target
        if heading:
            headings = re.findall(r"^#+ (.+)$", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in [re.sub(r"[^\w -]", "", line.lower()).replace(" ", "-") for line in headings], target
