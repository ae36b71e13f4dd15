"""A CSV file as rows of cells: commas, semicolons or tabs between them."""

import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tl_infer.errors import first_line
from tl_infer.system.files import read_bytes
from tl_train.errors import DataError

MAX_LIST_BYTES = 200_000_000
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}

# How a spreadsheet may say what separates the cells, above the first row.
_SEPARATOR_LINE = re.compile(r"sep=([,;\t])\r?\n", re.IGNORECASE)

Rows = list[tuple[int, list[str]]]


class CsvText:
    """The text of a CSV file.

    Attributes:
        path: the file, for messages.
        delimiters: those that may separate its cells.

    """

    def __init__(self, path: Path, expected: str = "a list of images", errors: str = "strict") -> None:
        """Read the file.

        Args:
            path: of the file.
            expected: what it should be, for messages.
            errors: how to read bytes that are not UTF-8; see `bytes.decode`.

        Raises:
            DataError: not a regular file, not readable, too large, or not text in UTF-8.

        """
        self.path = path
        text = _read(path, expected, errors)
        said = _SEPARATOR_LINE.match(text)
        self.delimiters = (said[1],) if said else tuple(DELIMITERS)
        self._text = text[said.end() :] if said else text
        self._rows_before = 1 if said else 0

    def first_row(self, delimiter: str) -> list[str]:
        """The cells of the first row that is not blank; none where the row cannot be read so."""
        try:
            return next(self._rows(delimiter), (1, []))[1]
        except DataError:
            return []

    def table(self, known: Callable[[Sequence[str]], int]) -> tuple[Sequence[str], Rows]:
        """The first row, and the rows below it with their numbers, read with the delimiter that suits the first best.

        Args:
            known: how many of its cells are names of columns; of delimiters with as many, one with more cells is taken.

        Raises:
            DataError: a row cannot be read; names it.

        """
        firsts = {delimiter: self.first_row(delimiter) for delimiter in self.delimiters}
        delimiter = max(firsts, key=lambda each: (known(firsts[each]), len(firsts[each])))
        (_, header), *rows = self.rows(delimiter) or [(1, [])]
        return header, rows

    def rows(self, delimiter: str) -> Rows:
        """Rows with their numbers, which count as a spreadsheet does; blank rows count but are left out.

        Raises:
            DataError: a row cannot be read; names it.

        """
        return list(self._rows(delimiter))

    def _rows(self, delimiter: str) -> Iterator[tuple[int, list[str]]]:
        reader = csv.reader(io.StringIO(self._text, newline=""), delimiter=delimiter, strict=True)
        number = self._rows_before
        while True:
            number += 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise DataError(f"{self.path}: row {number}: not CSV: {_in_words(error, delimiter)}") from error
            if any("\0" in cell for cell in cells):
                raise DataError(f"{self.path}: row {number}: not CSV: a NUL byte; save the file as UTF-8 text")
            if any(map(str.strip, cells)):  # spreadsheets save blank rows as separators alone
                yield number, cells


def _read(path: Path, expected: str, errors: str) -> str:
    try:
        return read_bytes(path, MAX_LIST_BYTES).decode("utf-8-sig", errors)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {first_line(error)}; expected {expected}") from error


def _in_words(error: csv.Error, delimiter: str) -> str:
    if "field larger" in str(error):
        return f"a cell of more than {csv.field_size_limit()} characters; is a quotation mark missing?"
    return f"{error}; expected {DELIMITERS[delimiter]} between cells"
