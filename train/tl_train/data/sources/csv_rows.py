"""What the rows of every list of images have, whatever they say of labels: an image, its part, its group."""

import dataclasses
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from tl_train.data.sources.csv_text import Rows
from tl_train.data.sources.image_files import ListedImages
from tl_train.data.sources.parts import expected_words, part_named
from tl_train.errors import DataError
from tl_train.progress import Progress

Said = TypeVar("Said")


class Places(Protocol):
    """Where in a row the columns are that every list may have; None for one that is not there."""

    @property
    def path(self) -> int:
        """Of the image."""

    @property
    def split(self) -> int | None:
        """Of the part."""

    @property
    def group(self) -> int | None:
        """Of the group."""

    def used(self) -> set[int]:
        """The places of all columns that are there."""


@dataclasses.dataclass(frozen=True, slots=True)
class ListedRow(Generic[Said]):
    """One image of a list.

    Attributes:
        number: of its row, as a spreadsheet counts, from 1.
        path: of the file.
        said: of its labels.
        part: one of `PARTS`; None where the list does not say.
        group: images of one group stay in one part; None belongs to no group.

    """

    number: int
    path: Path
    said: Said
    part: str | None
    group: str | None


def note_unused(path: Path, header: Sequence[str], rows: Rows, columns: Places, progress: Progress) -> None:
    """Name the columns of a list that are not used, and say which would divide the images."""
    used = columns.used()
    unused = {place: name or "(no name)" for place, name in enumerate(header) if place not in used}
    if unused:
        progress.note(f"{path}: columns not used: {', '.join(unused.values())}")
    for place, name in unused.items() if columns.split is None else ():
        named = all(len(cells) > place and part_named(cells[place]) for _, cells in rows)  # mostly ends at the first
        if named and len({part_named(cells[place]) for _, cells in rows}) > 1:
            progress.note(
                f"{path}: column '{name}' names parts of the data, but the images are not divided by it; "
                f"--csv-columns split={name} does so"
            )


def read_rows(
    path: Path,
    table: Iterable[tuple[int, list[str]]],
    width: int,
    columns: Places,
    images: ListedImages,
    said: Callable[[str, Sequence[str]], Said],
) -> list[ListedRow[Said]]:
    """The images of a list.

    Args:
        path: the list.
        table: its rows below the header: number and cells.
        width: cells in a row.
        columns: which is which.
        images: finds the files that cells mean.
        said: what a row says of labels, given where it is and its cells.

    Raises:
        DataError: a row cannot be understood, its image is not there or is listed twice; names the row.

    """
    rows: list[ListedRow[Said]] = []
    listed: dict[str, int] = {}
    for number, cells in table:
        where = f"{path}: row {number}"
        if len(cells) != width:
            raise DataError(f"{where}: {len(cells)} cells, expected {width} as in the first row")
        labels = said(where, cells)
        part = None if columns.split is None else part_in(where, cells[columns.split])
        image = image_in(where, cells[columns.path], images)
        same = os.path.abspath(image)  # noqa: PTH100 - without `..`, which a list may have in some rows
        if same in listed:
            raise DataError(
                f"{where}: '{image}' is listed in row {listed[same]} already; expected one row with all its labels, "
                "of which --multi-label allows several"
            )
        listed[same] = number
        group = None if columns.group is None or not cells[columns.group].strip() else cells[columns.group]
        rows.append(ListedRow(number, image, labels, part, group))
    return rows


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


def check_groups(path: Path, rows: Iterable[ListedRow[Any]]) -> None:
    """See that no group is divided.

    Raises:
        DataError: a group is in two parts.

    """
    first: dict[str, ListedRow[Any]] = {}
    for row in rows:
        if row.group is None or row.part is None:
            continue
        other = first.setdefault(row.group, row)
        if other.part != row.part:
            raise DataError(
                f"{path}: row {row.number}: group '{row.group}' is in {row.part}, but in {other.part} in row "
                f"{other.number}; expected all images of a group in one part"
            )
