"""What the row that is not written yet is about to make, so that `--resume` finishes or undoes it after a kill.

A file is moved, and its row is written: a process that is killed between the two would leave a file without a row, or,
between the two steps of the move, in two folders.
"""

import contextlib
import dataclasses
import json
import os
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import Any, Literal

from tl_infer.cli.options import Mode
from tl_infer.cli.output.placing import is_placed
from tl_infer.cli.output.rows import Row
from tl_infer.errors import OutputPathError, first_line
from tl_infer.system.files import open_to_append, read_bytes, write_all

_MAX_BYTES = 50_000_000  # a row of a model of many classes, and two paths


@dataclasses.dataclass(frozen=True, slots=True)
class Intent:
    """A file that is about to be made.

    Attributes:
        mode: how; `heatmap` for one that is drawn.
        source: the image.
        target: the new file.
        row: as it will be once the file is there.

    """

    mode: Mode | Literal["heatmap"]
    source: Path
    target: Path
    row: Row


class Journal:
    """One entry at a time, in a file of its own."""

    def __init__(self, path: Path, line_of: Callable[[Row], str]) -> None:
        """Nothing is written before the first intent.

        Args:
            path: of the journal.
            line_of: makes a line of a row.

        """
        self._path, self._line_of = path, line_of
        self._file: FileIO | None = None

    def intend(self, intent: Intent) -> None:
        """Write down what is about to be made, in place of what was there."""
        if self._file is None:
            self._file = open_to_append(self._path)
        entry = {
            "mode": intent.mode,
            "source": os.path.abspath(intent.source),  # noqa: PTH100 - `..` of a link is left alone by resolve() alone
            "target": os.path.abspath(intent.target),  # noqa: PTH100
            "heatmaps": list(map(os.path.abspath, intent.row.heatmaps)),
            "line": self._line_of(intent.row),
        }
        self._file.truncate(0)
        write_all(self._file, json.dumps(entry).encode())

    @property
    def has_entry(self) -> bool:
        """Whether something was about to be made, here or in an earlier run, and its row is not written."""
        try:
            return self._path.stat().st_size > 0
        except OSError:
            return False

    def clear(self) -> None:
        """Forget the entry: its row is written."""
        if self._file is not None:
            self._file.truncate(0)

    def close(self) -> None:
        """Let go of the file, which stays where it has an entry."""
        if self._file is not None:
            is_empty = os.fstat(self._file.fileno()).st_size == 0
            self._file.close()
            self._file = None
            if is_empty:
                self._path.unlink(missing_ok=True)


def settle(path: Path) -> str | None:
    """Finish what a journal says was about to be made, or undo it.

    Returns:
        The line of the row that was not written, if its file is where the row says; None if there is none, and the
        image is to be classified again.

    Raises:
        OutputPathError: the journal cannot be read, or a file cannot be removed.

    """
    try:
        entry = _read(path)
        return None if entry is None else _settle(entry)
    except OSError as error:
        raise OutputPathError(f"{path}: what it says was under way cannot be finished: {first_line(error)}") from error


def _read(path: Path) -> dict[str, Any] | None:
    with contextlib.suppress(FileNotFoundError, ValueError, RecursionError):  # ValueError: killed while it was written
        entry = json.loads(read_bytes(path, _MAX_BYTES))
        if isinstance(entry, dict) and entry.keys() >= {"mode", "source", "target", "heatmaps", "line"}:
            return entry
    return None


def _settle(entry: dict[str, Any]) -> str | None:
    source, target, mode = Path(entry["source"]), Path(entry["target"]), entry["mode"]
    if mode != "heatmap" and is_placed(source, target, mode):
        if mode == "move":
            source.unlink(missing_ok=True)
        line: str = entry["line"]
        return line
    # A name taken for a copy that was not finished.
    if mode != "heatmap" and target.is_file() and target.stat().st_size == 0:
        target.unlink()
    for heatmap in entry["heatmaps"]:  # the one that was about to be drawn among them
        Path(heatmap).unlink(missing_ok=True)
    return None
