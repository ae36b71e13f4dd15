"""A list of images in a CSV file: a column for the images, one for their labels, if wanted for parts and groups."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

from tl_infer.system.finding import natural_key
from tl_train.config.data import DataConfig
from tl_train.data.samples import Sample, Source
from tl_train.data.sources.class_names import normal_name, unknown_class
from tl_train.data.sources.csv_columns import Columns, candidates, find_columns, parse_columns
from tl_train.data.sources.csv_rows import ListedRow, check_groups, note_unused, read_rows
from tl_train.data.sources.csv_text import CsvText, Rows
from tl_train.data.sources.image_files import ListedImages, is_image_name
from tl_train.data.sources.parts import source_of
from tl_train.errors import DataError
from tl_train.progress import Progress


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
    note_unused(path, header, rows if config.parts == "auto" else [], columns, progress)
    shown = progress.steps(rows, "Finding images", len(rows))
    found = read_rows(path, shown, len(header), columns, images, functools.partial(_label, columns.label))
    return _source(path, found, progress)


def _read_table(path: Path, given: Mapping[str, str], images: ListedImages) -> tuple[Sequence[str], Rows, Columns]:
    """The names of the columns, the rows below, and which column is which."""

    def known(cells: Sequence[str]) -> int:
        return sum(bool(candidates(role, cells, given)) for role in ("path", "label"))

    text = CsvText(path)
    firsts = {delimiter: text.first_row(delimiter) for delimiter in text.delimiters}
    if not given and max(map(known, firsts.values())) < 2:
        for delimiter, cells in firsts.items():
            if len(cells) == 2 and (is_image_name(cells[0]) or images.finds(cells[0])):  # so there is no header
                return ("path", "label"), text.rows(delimiter), Columns(0, 1)
    header, rows = text.table(known)
    return header, rows, find_columns(path, header, rows, given)


def _label(place: int, where: str, cells: Sequence[str]) -> str:
    label = normal_name(cells[place])
    if not label.strip():
        raise DataError(f"{where}: the label is empty; expected a class name")
    return label


def _source(path: Path, rows: Sequence[ListedRow[str]], progress: Progress) -> Source:
    check_groups(path, rows)
    labels = tuple(sorted({row.said for row in rows if row.part in (None, "train")}, key=natural_key))
    if len(labels) < 2:
        found = f"one class only ('{labels[0]}')" if labels else "no training images"
        raise DataError(f"{path}: {found}; expected training images of two or more classes")
    index = {label: i for i, label in enumerate(labels)}
    parts: dict[str, list[Sample]] = {}
    for row in rows:
        if row.said not in index:
            raise DataError(
                f"{path}: row {row.number}: class '{row.said}' has no training images"
                f"{unknown_class(row.said, labels)}; expected one of {', '.join(labels[:10])}, or rows of that class "
                "with split 'train'"
            )
        sample = Sample(str(row.path), index[row.said], path=row.path.absolute(), group=row.group)
        parts.setdefault(row.part or "train", []).append(sample)
    return source_of(labels, parts, progress)
