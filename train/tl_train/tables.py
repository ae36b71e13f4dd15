"""Tables: as CSV files, and as aligned lines for a terminal."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tl_infer.system.files import read_bytes, write_bytes
from tl_infer.text.safetext import printable, spreadsheet_path, spreadsheet_text

COLUMNS = 80
MAX_TABLE_BYTES = 1_000_000_000  # predictions.csv has a column per class and a row per image


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file, UTF-8 with a header; no spreadsheet takes a cell of it for a formula.

    Args:
        path: of the file.
        header: names of the columns.
        rows: a path as `Path` remains a path where it is made safe; of other texts `plain_text` gives what they were.

    Raises:
        OutputPathError: the file cannot be written.

    """
    text = io.StringIO()
    # Texts are quoted: unquoted, a carriage return in a file name would split its row.
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(map(_cell, header))
    writer.writerows(map(_cell, row) for row in rows)
    # A file name that is not valid Unicode keeps its bytes, so that the file can be found again.
    write_bytes(path, text.getvalue().encode("utf-8", errors="surrogateescape"))


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file that `write_csv` wrote, by the names of the columns.

    Raises:
        OSError, ValueError: it cannot be read, or is not such a file.

    """
    try:
        text = read_bytes(path, MAX_TABLE_BYTES).decode("utf-8", errors="surrogateescape")
        return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise ValueError(f"not CSV: {error}") from error


def _cell(value: object) -> object:
    if isinstance(value, Path):
        return spreadsheet_path(str(value))
    return spreadsheet_text(value) if isinstance(value, str) else value


def aligned(rows: Iterable[Sequence[str]], *, names: int = 0, notes: int = 0, min_width: int = 0) -> list[str]:
    """The rows as plain lines in aligned columns, at most 80 characters wide; long texts are wrapped.

    Args:
        rows: cells, the header first if there is one.
        names: how many columns, from the first, are texts and flush left; numbers are flush right.
        notes: how many columns, up to the last, are texts as well.
        min_width: of every column; the same in two calls aligns their lines.

    """
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for number, row in enumerate(rows):
        if not number:
            for column in range(len(row)):
                is_text = column < names or column >= len(row) - notes
                table.add_column(justify="left" if is_text else "right", min_width=min_width, overflow="fold")
        table.add_row(*map(printable, row))
    text = io.StringIO()
    plain = Console(
        file=text, width=COLUMNS, markup=False, emoji=False, highlight=False, color_system=None, force_jupyter=False
    )
    plain.print(table)
    return [line.rstrip() for line in text.getvalue().splitlines()]
