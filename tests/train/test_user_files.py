"""Every file that a user names: a FIFO, a device, too large, damaged or crafted is one line, and never a hang."""

import contextlib
import os
import signal
from pathlib import Path

import pytest

from tl_infer.errors import TlError
from tl_train.config import TrainConfig
from tl_train.config.data import DataConfig
from tl_train.data.sources.csv_list import read_csv
from tl_train.errors import ConfigError, RunError
from tl_train.models.weight_files import read_weights
from tl_train.prior.prior import find_prior
from tl_train.progress import Progress
from tl_train.recipes import load_recipe
from tl_train.run_folder.folder import RunFolder

READERS = {
    "list.csv": lambda path: read_csv(path, DataConfig(source=str(path)), Progress()),
    "recipe.toml": lambda path: load_recipe(str(path)),
    "prior.toml": lambda path: find_prior(str(path), ("a", "b")),
    "config.toml": TrainConfig.load,
    "weights.pth": read_weights,
    "predictions.csv": lambda path: RunFolder(path.parent).predictions(),
    "metrics.json": lambda path: RunFolder(path.parent).metrics(),
    "history.csv": lambda path: RunFolder(path.parent).history(),
}
DOCUMENTS = ("recipe.toml", "prior.toml", "config.toml")


@pytest.fixture(autouse=True)
def _no_hang():
    """A reader that waits for ever ends the tests."""
    before = signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def one_line(name: str, path: Path) -> str:
    with pytest.raises(TlError, match=name) as error:
        READERS[name](path)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("name", READERS)
def test_what_is_no_regular_file_is_refused(tmp_path, name):
    path = tmp_path / name
    os.mkfifo(path)
    assert "not a regular file" in one_line(name, path)
    path.unlink()
    path.symlink_to("/dev/zero")
    assert "not a regular file" in one_line(name, path)
    path.unlink()
    path.symlink_to(path)
    one_line(name, path)
    path.unlink()
    path.mkdir()
    one_line(name, path)


@pytest.mark.parametrize("name", [name for name in READERS if name != "weights.pth"])
def test_a_file_is_not_read_when_it_is_too_large(tmp_path, name):
    path = tmp_path / name
    with path.open("wb") as file:
        file.truncate(1 << 40)
    assert "bytes, the limit is" in one_line(name, path)


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("content", [b"", b"\xff\xfe\0", b"\0" * 100, b'"' + b"x" * 200_000, b"{" * 100_000])
def test_content_of_another_kind(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with contextlib.suppress(TlError):  # an empty file may be a document; anything else raised would be a traceback
        READERS[name](path)


@pytest.mark.parametrize("name", DOCUMENTS)
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a = " + "[" * 5000, "nested too deeply"),
        ("a" + ".a" * 5000 + " = 1", "nested too deeply|unknown|no entry|found"),
        ("a = " + "9" * 5000, "not valid TOML"),
        ("a = 0x" + "f" * 5000, "an integer of 20000 bits, expected at most 64"),
        ("a = [{b = 0b1" + "0" * 64 + "}]", "an integer of 65 bits, expected at most 64"),
        ("a = ", "not valid TOML"),
    ],
)
def test_crafted_toml(tmp_path, name, text, said):
    path = tmp_path / name
    path.write_text(text)
    if name == "recipe.toml" and "unknown" in said:
        return  # its fields are looked at later
    with pytest.raises(ConfigError, match=said):
        READERS[name](path)


def test_values_of_another_type_are_shown_short(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text("extends = " + "[" * 90 + "]" * 90)
    with pytest.raises(ConfigError, match=r"extends is \[\[\[.{0,60}, expected the name of a recipe"):
        load_recipe(str(path))
    (tmp_path / "prior.toml").write_text(f'a = "{"x" * 10_000}"\nb = []')
    with pytest.raises(ConfigError, match=r"a: found 'x{3,60}\.\.\.x+', expected a list"):
        find_prior(str(tmp_path / "prior.toml"), ("a", "b"))


def test_a_cell_of_200_kilobytes(tmp_path):
    (tmp_path / "predictions.csv").write_text(f'"path","label","predicted"\n"{"x" * 200_000}","a","b"\n')
    with pytest.raises(RunError, match=r"no list of held-out images \(not CSV: field larger than field limit"):
        RunFolder(tmp_path).predictions()
    with pytest.raises(ConfigError, match="csv_columns: field larger than field limit"):
        read_csv(tmp_path / "predictions.csv", DataConfig(source="x", csv_columns=f"path={'x' * 200_000}"), Progress())
