"""Documentation and examples import from `tl_infer`, `tl_train` and `tl_export` themselves, and only public names."""

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.py")])


def programs(page: Path) -> list[str]:
    """The Python in a page."""
    text = page.read_text(encoding="utf-8")
    return [text] if page.suffix == ".py" else re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def imports(program: str) -> Iterator[tuple[str, str | None]]:
    """Each module that a program imports, and each name out of it."""
    for node in ast.walk(ast.parse(program)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.module or "", alias.name) for alias in node.names)


def test_imports_are_found():
    program = "import os, tl_train.run\ndef work():\n    from tl_infer import Classifier as C, TlError"
    assert [*imports(program)] == [
        ("os", None), ("tl_train.run", None), ("tl_infer", "Classifier"), ("tl_infer", "TlError")
    ]  # fmt: skip


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_imports_public_names_only(page):
    for module, name in (found for program in programs(page) for found in imports(program)):
        if module.split(".")[0] in ("tl_infer", "tl_train", "tl_export"):
            assert "." not in module
            assert name is None or name in importlib.import_module(module).__all__
