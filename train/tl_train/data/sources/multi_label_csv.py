"""A list of images that may have several labels each: all in one column, or a column of zeros and ones per label."""

import collections
import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tl_infer.errors import and_more
from tl_infer.system.finding import natural_key
from tl_train.config.data import DataConfig
from tl_train.data.samples import Sample, Source
from tl_train.data.sources.class_names import normal_name, unknown_class
from tl_train.data.sources.csv_columns import (
    LabelColumns,
    candidates,
    find_label_columns,
    parse_columns,
)
from tl_train.data.sources.csv_rows import ListedRow, check_groups, note_unused, read_rows
from tl_train.data.sources.csv_text import CsvText, Rows
from tl_train.data.sources.image_files import ListedImages
from tl_train.data.sources.parts import source_of
from tl_train.errors import DataError
from tl_train.progress import Progress

# What a row says of labels: 1 of one that the image has, 0 of one that it has not.
Known = Mapping[str, float]

_VALUES = {"1": 1.0, "1.0": 1.0, "true": 1.0, "0": 0.0, "0.0": 0.0, "false": 0.0}
_OTHER_SEPARATORS = (";", ",", "/", " ")
_NAMED = 10


def read_multi_label_csv(path: Path, config: DataConfig, progress: Progress) -> Source:
    """The images that a CSV file lists, with all their labels; they are not decoded yet.

    The labels stand in one column, between separators, and those that are not there are absent; classes are in natural
    order of their names. Or each label has a column of its own: 1 or true for present, 0 or false for absent, an empty
    cell for unknown; classes are in the order of the columns, which are all those with such values.

    Args:
        path: the file.
        config: columns, separator, root, whether a column may divide the images.
        progress: gets notes.

    Raises:
        DataError: the file, its header or a row cannot be understood, an image is not there or is listed twice, nothing
            is known of its labels, or a group is in two parts; names the row.

    """
    images = ListedImages(Path(config.images_root) if config.images_root else path.parent)
    header, rows, columns = _read_table(path, parse_columns(config.csv_columns))
    if config.parts == "ignore":
        columns = dataclasses.replace(columns, split=None)
    note_unused(path, header, rows if config.parts == "auto" else [], columns, progress)
    shown = progress.steps(rows, "Finding images", len(rows))
    if columns.labels is None:
        flags = _Flags({place: normal_name(header[place]) for place in columns.flags})
        found = read_rows(path, shown, len(header), columns, images, flags)
        return _source(path, found, tuple(flags.columns.values()), math.nan, progress)
    named = _Names(columns.labels, config.label_separator)
    found = read_rows(path, shown, len(header), columns, images, named)
    _check_separator(path, [cells[columns.labels] for _, cells in rows], config.label_separator)
    labels = {label for row in found if row.part in (None, "train") for label in row.said}
    return _source(path, found, sorted(labels, key=natural_key), 0.0, progress)


def _read_table(path: Path, given: Mapping[str, str]) -> tuple[Sequence[str], Rows, LabelColumns]:
    """The names of the columns, the rows below, and which column is which."""
    header, rows = CsvText(path).table(lambda cells: bool(candidates("path", cells, given)))
    return header, rows, find_label_columns(path, header, rows, given)


@dataclasses.dataclass(frozen=True, slots=True)
class _Names:
    """All labels in one column."""

    place: int
    separator: str

    def __call__(self, where: str, cells: Sequence[str]) -> Known:
        text = cells[self.place]
        if not text.strip():
            raise DataError(f"{where}: no labels; expected one or more, with '{self.separator}' between them; for an "
                            "image that shows none, give each label a column of its own, with 0 in it")  # fmt: skip
        names = [normal_name(name.strip()) for name in text.split(self.separator)]
        if "" in names:
            raise DataError(f"{where}: labels '{text}': an empty name beside '{self.separator}'; remove the separator")
        twice = [name for name, count in collections.Counter(names).items() if count > 1]
        if twice:
            raise DataError(f"{where}: label '{twice[0]}' is there twice; expected each once")
        return dict.fromkeys(names, 1.0)


@dataclasses.dataclass(frozen=True, slots=True)
class _Flags:
    """A column for each label, place -> name."""

    columns: Mapping[int, str]

    def __call__(self, where: str, cells: Sequence[str]) -> Known:
        known = {}
        for place, name in self.columns.items():
            cell = cells[place].strip()
            if not cell:
                continue
            value = _VALUES.get(cell.casefold())
            if value is None:
                raise DataError(f"{where}: column '{name}' is '{cell}', expected 1, 0, or nothing where it is unknown; "
                                "if the column is no label, remove it")  # fmt: skip
            known[name] = value
        if not known:
            raise DataError(f"{where}: nothing is known of this image, every label is empty; remove the row, or write "
                            "0 for the labels that it has not")  # fmt: skip
        return known


def _check_separator(path: Path, cells: Sequence[str], separator: str) -> None:
    """Say so if no image has several labels because something else stands between them."""
    if any(separator in cell for cell in cells):
        return
    for other in _OTHER_SEPARATORS:
        count = sum(other in cell.strip() for cell in cells)
        if count:
            raise DataError(
                f"{path}: no image has several labels, as '{separator}' is in no cell; '{other}' is in {count}: if "
                f"that separates labels, say so with --label-separator '{other}', or leave out --multi-label"
            )


def _source(
    path: Path, rows: Sequence[ListedRow[Known]], labels: Sequence[str], otherwise: float, progress: Progress
) -> Source:
    """The source; `otherwise` is the target of a label that a row says nothing of."""
    check_groups(path, rows)
    if len(labels) < 2:
        found = f"one label only ('{labels[0]}')" if labels else "no training images"
        raise DataError(f"{path}: {found}; expected training images of two or more labels")
    index = {label: place for place, label in enumerate(labels)}
    parts: dict[str, list[Sample]] = {}
    for row in rows:
        targets = np.full(len(labels), otherwise, np.float32)
        for name, value in row.said.items():
            if name not in index:
                raise DataError(
                    f"{path}: row {row.number}: label '{name}' has no training images{unknown_class(name, labels)}; "
                    f"expected one of {and_more(labels, _NAMED)}, or rows with it whose split is 'train'"
                )
            targets[index[name]] = value
        sample = Sample(str(row.path), -1, path=row.path.absolute(), group=row.group, targets=targets)
        parts.setdefault(row.part or "train", []).append(sample)
    return source_of(tuple(labels), parts, progress)
