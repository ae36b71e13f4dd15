"""A list of images in a CSV file: columns path, label and, if wanted, split and group -> `Source`."""

import csv
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tl_infer.errors import first_line
from tl_infer.system.finding import natural_key
from tl_train.data.samples import PARTS, Sample, Source
from tl_train.errors import DataError
from tl_train.progress import Progress

_REQUIRED = ("path", "label")
_OPTIONAL = ("split", "group")


@dataclasses.dataclass(frozen=True, slots=True)
class _ListedImage:
    """One image of the list; `number` counts as a spreadsheet does, the header being row 1."""

    number: int
    path: Path
    label: str
    part: str | None
    group: str | None


def read_csv(path: Path, progress: Progress) -> Source:
    """The images that a CSV file lists; they are not decoded yet.

    The first row names the columns. `path` is relative to the CSV file's folder; `label` is any text that is not blank,
    taken as it is; `split` is train, val or test in every row; `group` may be empty. Other columns are named in a
    note and not used. Classes are in natural order of their names.

    Raises:
        DataError: the file, its header or a row cannot be understood, an image is not there or is listed twice, or a
            group is in two parts; names the row.

    """
    rows = _read_rows(path, progress)
    _check_groups(path, rows)
    labels = tuple(sorted({row.label for row in rows if row.part in (None, "train")}, key=natural_key))
    if len(labels) < 2:
        found = f"one class only ('{labels[0]}')" if labels else "no training images"
        raise DataError(f"{path}: {found}; expected training images of two or more classes")
    index = {label: i for i, label in enumerate(labels)}
    parts: dict[str, list[Sample]] = {}
    for row in rows:
        if row.label not in index:
            raise DataError(
                f"{path}: row {row.number}: class '{row.label}' has no training images; expected one of "
                f"{', '.join(labels[:10])}, or rows of that class with split 'train'"
            )
        sample = Sample(str(row.path), index[row.label], path=row.path.absolute(), group=row.group)
        parts.setdefault(row.part or "train", []).append(sample)
    return Source(labels, parts["train"], parts.get("val"), parts.get("test"))


def _read_rows(path: Path, progress: Progress) -> list[_ListedImage]:
    rows: list[_ListedImage] = []
    listed: dict[Path, int] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            records = _records(path, csv.reader(file, strict=True))
            _, header = next(records, (1, []))
            _check_header(path, header)
            unused = [name for name in header if name not in (*_REQUIRED, *_OPTIONAL)]
            if unused:
                progress.note(f"{path}: columns not used: {', '.join(unused)}")
            for number, cells in records:
                if len(cells) != len(header):
                    raise DataError(f"{path}: row {number}: {len(cells)} cells, expected {len(header)} as in row 1")
                row = _listed_image(path, number, dict(zip(header, cells, strict=True)))
                if row.path in listed:
                    raise DataError(f"{path}: row {number}: '{row.path}' is listed in row {listed[row.path]} already")
                listed[row.path] = number
                rows.append(row)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {first_line(error)}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8") from error
    return rows


def _records(path: Path, reader: Iterator[list[str]]) -> Iterator[tuple[int, list[str]]]:
    """Rows with their numbers; blank rows count but are left out."""
    number = 0
    while True:
        number += 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(f"{path}: row {number}: not CSV: {error}; expected commas between cells") from error
        if cells:
            yield number, cells


def _check_header(path: Path, header: Sequence[str]) -> None:
    missing = [name for name in _REQUIRED if name not in header]
    if missing:
        raise DataError(
            f"{path}: row 1: no column '{missing[0]}'; found {', '.join(header) or 'nothing'}, expected a header "
            "path,label[,split][,group]"
        )
    twice = [name for name in (*_REQUIRED, *_OPTIONAL) if header.count(name) > 1]
    if twice:
        raise DataError(f"{path}: row 1: column '{twice[0]}' is there {header.count(twice[0])} times, expected once")


def _listed_image(path: Path, number: int, cells: Mapping[str, str]) -> _ListedImage:
    where = f"{path}: row {number}"
    if not cells["label"].strip():
        raise DataError(f"{where}: the label is empty; expected a class name")
    part = cells.get("split")
    if part is not None and part not in PARTS:
        raise DataError(f"{where}: split is '{part}', expected {', '.join(PARTS[:-1])} or {PARTS[-1]}")
    if not cells["path"]:
        raise DataError(f"{where}: the path is empty; expected an image, relative to {path.parent.absolute()}")
    image = path.parent / cells["path"]
    try:
        status_found = "a folder" if image.is_dir() else "" if image.exists() else "no such file"
    except (OSError, ValueError) as error:  # a name too long, or with a NUL in it
        status_found = f"not a usable path ({error})"
    if status_found:
        raise DataError(f"{where}: {image}: {status_found}; expected an image, relative to {path.parent.absolute()}")
    return _ListedImage(number, image, cells["label"], part, cells.get("group") or None)


def _check_groups(path: Path, rows: Sequence[_ListedImage]) -> None:
    first: dict[str, _ListedImage] = {}
    for row in rows:
        if row.group is None or row.part is None:
            continue
        other = first.setdefault(row.group, row)
        if other.part != row.part:
            raise DataError(
                f"{path}: row {row.number}: group '{row.group}' is in {row.part}, but in {other.part} in row "
                f"{other.number}; expected all images of a group in one part"
            )
