"""Rows for people: a table with bars on a terminal, columns with tabs in a pipe."""

import unicodedata
from collections.abc import Sequence

from tl_infer.cli.output.rows import Row
from tl_infer.results import Score
from tl_infer.text.label_sets import joined
from tl_infer.text.safetext import printable

NONE = "(none)"
UNSURE = "(unsure)"
UNFAMILIAR = "(unfamiliar)"
ERROR = "(error)"

_EIGHTHS = " \u258f\u258e\u258d\u258c\u258b\u258a\u2589"
_FULL = "\u2588"


def tab_line(row: Row) -> str:
    """Path, then label and probability of each class, separated by tabs."""
    path = printable(row.path)
    if row.probability is None:
        return "\t".join((path, ERROR, "", printable(row.error or "")))
    cells = [path, printable(_label(row)), f"{row.probability:.2%}"]
    cells += [cell for score in _named(row) for cell in (printable(score.label), f"{score.probability:.2%}")]
    return "\t".join(cells + ([f"{ERROR} {printable(row.error)}"] if row.error else []))


def table_lines(row: Row, labels: Sequence[str], width: int) -> list[str]:
    """The lines of one file: label, bar, probability, and the path, shortened at its front to fit.

    Args:
        row: of the file.
        labels: of the model; the first column is as wide as the longest, or as what stands there if the model abstains.
        width: of the terminal, columns.

    """
    abstains = UNSURE if row.familiarity is None else UNFAMILIAR
    widest = max(len(_label(row)), len(abstains), *(display_width(printable(label)) for label in labels))
    first = min(widest, max(8, width // 4))
    bar = max(0, min(20, (width - first) // 3 - 8))
    room = max(10, width - first - bar - 13)
    path = _shortened(printable(row.path), room)
    if row.probability is None:
        reason = printable(row.error or "")
        return [f"{_padded(ERROR, first)}  {printable(row.path)}: {reason}"]
    heads = [(_label(row), row.probability, path)]
    heads += [(score.label, score.probability, "") for score in _named(row)]
    lines = [
        f"{_padded(printable(label), first)}  {_bar(probability, bar)}  {probability:7.2%}  {where}".rstrip()
        for label, probability, where in heads
    ]
    return lines + ([f"{_padded(ERROR, first)}  {printable(row.error)}"] if row.error else [])


def _label(row: Row) -> str:
    """What the model says: a label or several, or why there is none."""
    if row.probability is None:
        return ERROR
    if row.abstained:
        return UNFAMILIAR if row.reason == "unfamiliar" else UNSURE
    if row.labels is not None:
        return joined(row.labels) or NONE
    return row.top[0].label


def _named(row: Row) -> Sequence[Score]:
    """The classes to name after what the model says, which names the first one where it gives one label."""
    says_first = row.labels is None and not row.abstained
    if says_first or len(row.top) == 1:
        return row.top[1:]
    return row.top


def display_width(text: str) -> int:
    """Columns of a terminal that a text takes."""
    return sum(_columns(char) for char in text)


def _columns(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _bar(share: float, columns: int) -> str:
    """A bar of eighths of a column."""
    full, rest = divmod(round(share * columns * 8), 8)
    return (_FULL * full + (_EIGHTHS[rest] if rest else "")).ljust(columns)


def _padded(text: str, columns: int) -> str:
    while display_width(text) > columns:
        text = f"{text[:-2]}\u2026"
    return text + " " * (columns - display_width(text))


def _shortened(path: str, columns: int) -> str:
    """A path cut at its front, because its end is what tells files apart."""
    if display_width(path) <= columns:
        return path
    while display_width(path) > columns - 1:
        path = path[1:]
    return f"\u2026{path}"
