"""What README and docs/ show must work as written."""

import json
import re
import shlex
import shutil
from pathlib import Path

import click
import pytest

from tl_export.cli import command as tl_export
from tl_infer.cli.command import command as tl_infer
from tl_infer.cli.serving import command as serve
from tl_train.cli import command as tl_train

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))]
NOTEBOOK = ROOT / "docs" / "first-half-hour.ipynb"
PROGRAMS = {"tl-train": tl_train, "tl-export": tl_export, "tl-infer": tl_infer}


def test_the_python_code_runs(tiny_model, shapes, tmp_path, monkeypatch, capsys):
    shutil.copy(tiny_model, tmp_path / "photos.onnx")
    shutil.copy(shapes / "circle" / "circle0.png", tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    exec(compile(code, "README.md", "exec"), {})
    assert re.fullmatch(r"(circle|cross|square|None) 0\.\d+\n", capsys.readouterr().out)


def test_no_placeholder_is_left():
    for page in PAGES:
        assert not re.findall(r"@\w+@|TODO|XXX", page.read_text(encoding="utf-8")), page


def code_lines(page: Path) -> list[str]:
    """The lines of its blocks of code; of a notebook those of its cells."""
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".ipynb":
        cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
        return "".join(line.rstrip("\n") + "\n" for cell in cells for line in cell["source"]).splitlines()
    fenced = re.findall(r"^```\w*\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    return "".join(fenced).splitlines() + re.findall(r"^    .*$", text, flags=re.MULTILINE)


@pytest.mark.parametrize("page", [*PAGES[1:], ROOT / "CONTRIBUTING.md", NOTEBOOK], ids=lambda page: page.stem)
def test_code_is_not_scrolled_sideways_on_the_site(page):
    # 80 characters are what a block has room for in a window of 1280 px; the README is not on the site.
    assert not [line for line in code_lines(page) if len(line) > 80]


def commands(page: Path) -> list[str]:
    """The lines that call our programs: in blocks for a shell, and in the cells of tables."""
    text = page.read_text(encoding="utf-8")
    blocks = "\n".join(re.findall(r"```(?:sh|console)\n(.*?)```", text, flags=re.DOTALL)).replace("\\\n", " ")
    lines = [
        line.removeprefix("$ ") for line in blocks.splitlines() if line.removeprefix("$ ").startswith(tuple(PROGRAMS))
    ]
    return lines + [f"{row} --out x" for row in re.findall(r"\| `(tl-train .*?)` *\|", text)]


@pytest.mark.parametrize(
    "line", [pytest.param(line, id=f"{page.stem}-{line}") for page in PAGES for line in commands(page)]
)
def test_every_command_shown_has_only_options_that_exist(line):
    name, *arguments = shlex.split(line, comments=True)
    is_service = name == "tl-infer" and arguments[0] == "serve"
    program, arguments = (serve, arguments[1:]) if is_service else (PROGRAMS[name], arguments)
    with click.Context(program) as context:
        program.make_parser(context).parse_args(arguments)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_file_it_links_to_is_there(page):
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        path, _, heading = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), target
        if heading:
            headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in [re.sub(r"[^\w -]", "", line.lower()).replace(" ", "-") for line in headings], target


def test_every_page_is_in_the_navigation_of_the_site():
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert not [page.name for page in (ROOT / "docs").glob("*.md") if f" {page.name}" not in navigation]
