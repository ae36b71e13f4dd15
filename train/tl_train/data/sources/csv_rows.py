"""What the rows of every list of images have: an image, its part, its group."""

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from tl_train.data.sources.image_files import ListedImages
from tl_train.data.sources.parts import expected_words, part_named
from tl_train.errors import DataError


class ListedRow(Protocol):
    """A row of a list; `number` counts as a spreadsheet does, from 1."""

    @property
    def number(self) -> int:
        """Of the row in the file."""

    @property
    def part(self) -> str | None:
        """One of `PARTS`; None where the list does not say."""

    @property
    def group(self) -> str | None:
        """Images of one group stay in one part; None belongs to no group."""


def image_in(where: str, cell: str, images: ListedImages) -> Path:
    """The file that a cell means; `where` names file and row.

    Raises:
        DataError: the cell is empty, or means no file.

    """
    if not cell.strip():
        raise DataError(f"{where}: the path is empty; expected an image")
    try:
        return images.find(cell)
    except DataError as error:
        raise DataError(f"{where}: {error}") from error


def part_in(where: str, cell: str) -> str:
    """The part that a cell names.

    Raises:
        DataError: it names none.

    """
    part = part_named(cell)
    if part is None:
        raise DataError(f"{where}: split is '{cell}', expected {expected_words()}")
    return part


def check_groups(path: Path, rows: Iterable[ListedRow]) -> None:
    """See that no group is divided.

    Raises:
        DataError: a group is in two parts.

    """
    first: dict[str, ListedRow] = {}
    for row in rows:
        if row.group is None or row.part is None:
            continue
        other = first.setdefault(row.group, row)
        if other.part != row.part:
            raise DataError(
                f"{path}: row {row.number}: group '{row.group}' is in {row.part}, but in {other.part} in row "
                f"{other.number}; expected all images of a group in one part"
            )
