"""A list of images in a CSV file: a column for the images, one for their labels, if wanted for parts and groups."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tl_infer.system.finding import natural_key
from tl_train.config.groups import DataConfig
from tl_train.data.samples import Sample, Source
from tl_train.data.sources.class_names import normal_name, unknown_class
from tl_train.data.sources.csv_columns import Columns, candidates, find_columns, parse_columns
from tl_train.data.sources.csv_rows import check_groups, image_in, part_in
from tl_train.data.sources.csv_text import CsvText, Rows
from tl_train.data.sources.image_files import ListedImages, is_image_name
from tl_train.data.sources.parts import source_of
from tl_train.errors import DataError
from tl_train.progress import Progress


@dataclasses.dataclass(frozen=True, slots=True)
class _Row:
    """One image of the list; `number` counts as a spreadsheet does, from 1."""

    number: int
    path: Path
    label: str
    part: str | None
    group: str | None


def read_csv(path: Path, config: DataConfig, progress: Progress) -> Source:
    """The images that a CSV file lists; they are not decoded yet.

    The first row names the columns; a file of two columns, images and labels, need not have it. Entries for images are
    paths or names without suffix, relative to `images_root` or the file's folder; a label is any text that is not
    blank, in Unicode's NFC; a group may be empty. Other columns are named in a note and not used. Classes are in
    natural order of their names.

    Args:
        path: the file.
        config: columns, root, whether a column may divide the images.
        progress: gets notes.

    Raises:
        ConfigError: `csv_columns` cannot be understood.
        DataError: the file, its header or a row cannot be understood, an image is not there or is listed twice, or a
            group is in two parts; names the row.

    """
    images = ListedImages(Path(config.images_root) if config.images_root else path.parent)
    header, rows, columns = _read_table(path, parse_columns(config.csv_columns), images)
    if config.parts == "ignore":
        columns = dataclasses.replace(columns, split=None)
    unused = [name or "(no name)" for place, name in enumerate(header) if place not in columns.used()]
    if unused:
        progress.note(f"{path}: columns not used: {', '.join(unused)}")
    shown = progress.steps(rows, "Finding images", len(rows))
    return _source(path, _read_rows(path, shown, columns, len(header), images), progress)


def _read_table(path: Path, given: Mapping[str, str], images: ListedImages) -> tuple[Sequence[str], Rows, Columns]:
    """The names of the columns, the rows below, and which column is which."""
    text = CsvText(path)
    firsts = {delimiter: text.first_row(delimiter) for delimiter in text.delimiters}
    known = {
        delimiter: sum(bool(candidates(role, cells, given)) for role in ("path", "label"))
        for delimiter, cells in firsts.items()
    }
    delimiter = max(firsts, key=lambda each: (known[each], len(firsts[each])))
    if known[delimiter] < 2 and not given:
        for other, cells in firsts.items():
            if len(cells) == 2 and (is_image_name(cells[0]) or images.finds(cells[0])):  # so there is no header
                return ("path", "label"), text.rows(other), Columns(0, 1)
    _, header = next(iter(text.rows(delimiter)), (1, []))
    rows = text.rows(delimiter)[1:]
    return header, rows, find_columns(path, header, rows, given)


def _read_rows(
    path: Path, table: Iterable[tuple[int, list[str]]], columns: Columns, width: int, images: ListedImages
) -> list[_Row]:
    rows: list[_Row] = []
    listed: dict[Path, int] = {}
    for number, cells in table:
        where = f"{path}: row {number}"
        if len(cells) != width:
            raise DataError(f"{where}: {len(cells)} cells, expected {width} as in the first row")
        row = _read_row(where, number, cells, columns, images)
        if row.path in listed:
            raise DataError(f"{where}: '{row.path}' is listed in row {listed[row.path]} already")
        listed[row.path] = number
        rows.append(row)
    return rows


def _read_row(where: str, number: int, cells: Sequence[str], columns: Columns, images: ListedImages) -> _Row:
    label = normal_name(cells[columns.label])
    if not label.strip():
        raise DataError(f"{where}: the label is empty; expected a class name")
    part = None if columns.split is None else part_in(where, cells[columns.split])
    path = image_in(where, cells[columns.path], images)
    return _Row(number, path, label, part, (columns.group is not None and cells[columns.group]) or None)


def _source(path: Path, rows: Sequence[_Row], progress: Progress) -> Source:
    check_groups(path, rows)
    labels = tuple(sorted({row.label for row in rows if row.part in (None, "train")}, key=natural_key))
    if len(labels) < 2:
        found = f"one class only ('{labels[0]}')" if labels else "no training images"
        raise DataError(f"{path}: {found}; expected training images of two or more classes")
    index = {label: i for i, label in enumerate(labels)}
    parts: dict[str, list[Sample]] = {}
    for row in rows:
        if row.label not in index:
            raise DataError(
                f"{path}: row {row.number}: class '{row.label}' has no training images"
                f"{unknown_class(row.label, labels)}; expected one of {', '.join(labels[:10])}, or rows of that class "
                "with split 'train'"
            )
        sample = Sample(str(row.path), index[row.label], path=row.path.absolute(), group=row.group)
        parts.setdefault(row.part or "train", []).append(sample)
    return source_of(labels, parts, progress)
