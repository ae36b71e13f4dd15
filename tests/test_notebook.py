"""The notebook for the first half hour runs from its first cell to its last, as a newcomer would run it."""

import json
import re
from pathlib import Path

import pytest

from tl_infer import Classifier

NOTEBOOK = Path(__file__).parents[1] / "docs" / "first-half-hour.ipynb"


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """The notebook's cells after a run in an empty folder, and that folder."""
    nbformat = pytest.importorskip("nbformat")
    from nbclient import NotebookClient

    folder = tmp_path_factory.mktemp("notebook")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR"):
            patch.setenv(name, str(folder / name.lower()))
        notebook = nbformat.read(NOTEBOOK, as_version=4)
        NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    return notebook.cells, folder


def texts(cells) -> str:
    """What the cells printed."""
    return "".join(part.text for cell in cells if cell.cell_type == "code" for part in cell.outputs if "text" in part)


def test_it_says_what_came_out(executed):
    cells, folder = executed
    said = texts(cells)
    assert float(re.search(r"held-out digits are right: ([\d.]+)%", said)[1]) > 90
    assert "same label on 100% of 359 image files" in said
    assert re.search(r"359 classified, \d+ of them without a label", said)
    assert "None unfamiliar" in said, "a photograph is no digit"
    assert Classifier(folder / "digits.onnx").labels == tuple("0123456789")


def test_it_shows_a_figure_and_a_heat_map(executed):
    shown = [part.data for cell in executed[0] if cell.cell_type == "code" for part in cell.outputs if "data" in part]
    assert sum("image/png" in data for data in shown) == 2


def test_nothing_on_it_is_left_from_an_earlier_run():
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert not [cell["id"] for cell in cells if cell.get("outputs") or cell.get("execution_count")]
