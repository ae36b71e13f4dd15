"""Rows as CSV and as JSON lines."""

import csv
import dataclasses
import io
from collections.abc import Callable, Sequence
from pathlib import Path

from tl_infer.cli.output.rows import Row
from tl_infer.text.label_sets import joined
from tl_infer.text.safetext import json_line, printable, spreadsheet_path, spreadsheet_text

SUFFIXES = (".csv", ".jsonl")


@dataclasses.dataclass(frozen=True, slots=True)
class Columns:
    """What a row holds.

    Attributes:
        labels: of the model.
        top_k: how many classes are named; None for the probabilities of all.
        extra: further columns, out of `sorted_to`, `heatmap` and `heatmaps`.
        familiarity: whether the model tells it; two columns then say how familiar, and why the model abstained.
        several: whether an image may have several labels; a column `labels` then has them all.

    """

    labels: tuple[str, ...]
    top_k: int | None = 1
    extra: tuple[str, ...] = ()
    familiarity: bool = False
    several: bool = False

    def csv_header(self) -> list[str]:
        """The names of the columns of a CSV file."""
        answer = [self.answer, "probability", *self._csv_classes(), *self.abstaining()]
        return ["path", *answer, "error", "ms", *self.extra]

    def json_keys(self) -> list[str]:
        """The keys of every object of a JSONL file."""
        return ["path", self.answer, "probability", "top", *self.abstaining(), "error", "ms", *self.extra]

    @property
    def answer(self) -> str:
        """The name of the column with what the model says."""
        return "labels" if self.several else "label"

    def abstaining(self) -> list[str]:
        """The columns that say whether the model abstained, and why."""
        if self.several and not self.familiarity:  # no label is an answer, too
            return []
        return ["abstained", "reason", "familiarity"] if self.familiarity else ["abstained"]

    def _csv_classes(self) -> list[str]:
        if self.top_k is None:
            return [_cell(f"p({label})") for label in self.labels]
        if self.top_k == 1:
            return []
        return [f"{name}_{rank}" for rank in range(1, self.top_k + 1) for name in ("label", "probability")]


def row_formatter(path: Path, columns: Columns) -> tuple[str, Callable[[Row], str]]:
    """How a file of this name is written: its first line, and the function that makes a line of a row.

    Every row is one line, valid UTF-8 and free of control characters.

    Args:
        path: ends in `.csv` or `.jsonl`.
        columns: what a row holds.

    Raises:
        ValueError: another suffix.

    """
    if path.suffix.lower() == ".jsonl":
        return "", lambda row: json_line(_json_values(row, columns))
    if path.suffix.lower() == ".csv":
        return _csv_line(columns.csv_header()), lambda row: _csv_line(_csv_cells(row, columns))
    raise ValueError(f"{path}: found suffix '{path.suffix}', expected {' or '.join(SUFFIXES)}")


def written_path(path: str, suffix: str) -> str:
    """A path as it is read back from a file of this suffix."""
    return spreadsheet_path(printable(path)) if suffix.lower() == ".csv" else path


def _csv_line(cells: Sequence[object]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC).writerow(cells)
    return line.getvalue()


def _csv_cells(row: Row, columns: Columns) -> list[object]:
    return [
        written_path(row.path, ".csv"),
        _cell(joined(row.labels or ()) if columns.several else row.label or ""),
        _rounded(row.probability),
        *_csv_scores(row, columns),
        *map(_plain, _abstaining(row, columns).values()),
        _cell(row.error or ""),
        "" if row.ms is None else round(row.ms, 2),
        *(spreadsheet_text(_csv_paths(getattr(row, name))) for name in columns.extra),
    ]


def _csv_paths(found: str | tuple[str, ...] | None) -> str:
    """A path, or several as labels are joined; nothing is an empty cell."""
    if isinstance(found, tuple):
        return joined([written_path(path, ".csv") for path in found])
    return written_path(found or "", ".csv")


def _abstaining(row: Row, columns: Columns) -> dict[str, object]:
    """Whether the model abstained, and why, as far as the columns say so."""
    values = {"abstained": row.abstained, "reason": row.reason, "familiarity": _json_rounded(row.familiarity)}
    return {name: values[name] for name in columns.abstaining()}


def _csv_scores(row: Row, columns: Columns) -> list[object]:
    if columns.top_k is None:
        found = {score.label: score.probability for score in row.top}
        return [_rounded(found.get(label)) for label in columns.labels]
    if columns.top_k == 1:
        return []
    cells = [cell for score in row.top for cell in (_cell(score.label), _rounded(score.probability))]
    return cells or [""] * (2 * columns.top_k)


def _cell(text: str) -> str:
    return spreadsheet_text(printable(text))


def _plain(value: object) -> object:
    """As a cell has it: true and false in lower case, nothing as an empty cell."""
    return str(value).lower() if isinstance(value, bool) else "" if value is None else value


def _rounded(share: float | None) -> object:
    return "" if share is None else round(share, 6)


def _json_rounded(share: float | None) -> float | None:
    return None if share is None else round(share, 6)


def _json_values(row: Row, columns: Columns) -> dict[str, object]:
    return {
        "path": row.path,
        columns.answer: list(row.labels or ()) if columns.several else row.label,
        "probability": _json_rounded(row.probability),
        "top": [{"label": score.label, "probability": round(score.probability, 6)} for score in row.top],
        **_abstaining(row, columns),
        "error": row.error,
        "ms": None if row.ms is None else round(row.ms, 2),
        **{name: getattr(row, name) for name in columns.extra},
    }
