"""Which columns of a CSV list hold the images, their labels, parts and groups: by their names, or as the user says."""

import csv
import dataclasses
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

from tl_infer.errors import and_more
from tl_train.data.sources.class_names import normal_name
from tl_train.data.sources.csv_text import Rows
from tl_train.data.sources.parts import part_named
from tl_train.errors import ConfigError, DataError

# The usual names. An id names an image only where no other column does.
_NAMES: Mapping[str, tuple[str, ...]] = {
    "path": ("path", "filename", "file", "image", "file_name", "filepath", "file_path", "image_path", "image_name"),
    "label": ("label", "class", "target", "category", "species"),
    "labels": ("labels", "tags", "classes", "categories", "label", "class", "finding_labels"),
    "split": ("split", "part", "subset", "fold"),
    "group": ("group",),
}
_ROLES = ("path", "label", "split", "group")  # of a list of images with one label
_IDS = ("image_id", "id")
_CALLED = {"path": "the images", "label": "the labels", "labels": "the labels", "split": "the parts",
           "group": "the groups"}  # fmt: skip
_HAS_SEVERAL = "; if the images have several labels each, use --multi-label"
_FLAGS = frozenset(("0", "1", "0.0", "1.0", "true", "false"))
_MOSTLY = 0.5  # a number of something has a zero or one here and there; a label has little else
_NAMED = 5  # how many columns a message names


@dataclasses.dataclass(frozen=True, slots=True)
class Columns:
    """Places of the columns in a row; None for one that is not there."""

    path: int
    label: int
    split: int | None = None
    group: int | None = None

    def used(self) -> set[int]:
        """The places of the columns that are there."""
        return {place for place in dataclasses.astuple(self) if place is not None}


@dataclasses.dataclass(frozen=True, slots=True)
class LabelColumns:
    """Places of the columns in a row of images with several labels; None for one that is not there.

    Attributes:
        path: of the image.
        labels: of all labels in one cell; None where each has a column.
        flags: of the columns with a zero or one for a label each; empty where `labels` has them.
        split, group: of part and group.

    """

    path: int
    labels: int | None
    flags: tuple[int, ...]
    split: int | None = None
    group: int | None = None

    def used(self) -> set[int]:
        """The places of the columns that are there."""
        others = (self.labels, self.split, self.group)
        return {self.path, *self.flags, *(place for place in others if place is not None)}


def parse_columns(text: str) -> dict[str, str]:
    """What `--csv-columns path=File,label=Name` says: role -> name of the column.

    Raises:
        ConfigError: it cannot be understood.

    """
    given: dict[str, str] = {}
    for item in _items(text):
        role, equals, name = item.partition("=")
        if not equals or not name or role not in _ROLES or role in given:
            raise ConfigError(
                f"csv_columns: found '{text}', expected path=NAME,label=NAME, and if wanted split=NAME, group=NAME"
            )
        given[role] = name
    return given


def _items(text: str) -> list[str]:
    try:
        return next(csv.reader([text]), [])
    except csv.Error as error:
        raise ConfigError(f"csv_columns: {error}; expected path=NAME,label=NAME") from error


def candidates(role: str, header: Sequence[str], given: Mapping[str, str]) -> list[int]:
    """The columns that can be meant by a role."""
    if role in given:
        exact = [place for place, name in enumerate(header) if name == given[role]]
        return exact or _places(header, (_key(given[role]),))
    found = _places(header, _NAMES[role])
    return found or (_places(header, _IDS) if role == "path" else [])


def find_columns(where: Path, header: Sequence[str], rows: Rows, given: Mapping[str, str]) -> Columns:
    """The columns by the names in the header.

    Args:
        where: the file, for messages.
        header: names of the columns.
        rows: the cells below it.
        given: what `parse_columns` gave.

    Raises:
        DataError: a column is missing, or two could be meant; or there is a column per class.

    """
    places = _places_of_roles(where, header, rows, given, _ROLES)
    path, label = places["path"], places["label"]
    if path is None or label is None:
        if path is not None:
            _refuse_flags(where, header, rows, {place for place in places.values() if place is not None})
        hint = "" if path is None or not candidates("labels", header, {}) else _HAS_SEVERAL
        raise DataError(f"{where}: row 1: {_missing('path' if path is None else 'label', header)}{hint}")
    return Columns(path, label, places["split"], places["group"])


def find_label_columns(where: Path, header: Sequence[str], rows: Rows, given: Mapping[str, str]) -> LabelColumns:
    """The columns of a list of images with several labels, by the names in the header.

    Where there is none for all labels, each column of mostly zeros and ones is that of a label.

    Args:
        where: the file, for messages.
        header: names of the columns.
        rows: the cells below it.
        given: what `parse_columns` gave; `label` names the column of all labels.

    Raises:
        DataError: a column is missing, is there twice, or two could be meant.

    """
    given = {"labels" if role == "label" else role: name for role, name in given.items()}
    places = _places_of_roles(where, header, rows, given, ("path", "labels", "split", "group"))
    path, labels = places["path"], places["labels"]
    if path is None:
        raise DataError(f"{where}: row 1: {_missing('path', header)}")
    others = {place for place in places.values() if place is not None}
    flags = () if labels is not None else tuple(_flag_places(header, rows, others, _MOSTLY))
    if labels is None and len(flags) < 2:
        raise DataError(
            f"{where}: row 1: no column for the labels; found {_shown(header)}, expected 'labels', with all labels of "
            "an image, or --csv-columns label=NAME, or a column of zeros and ones for each of two or more labels"
        )
    names = [normal_name(header[place]) for place in flags]
    for name in names:
        if not name.strip() or names.count(name) > 1:
            found = "twice" if name.strip() else "without a name"
            raise DataError(f"{where}: row 1: a label's column '{name}' is there {found}; expected a name for each")
    return LabelColumns(path, labels, flags, places["split"], places["group"])


def _places_of_roles(
    where: Path, header: Sequence[str], rows: Rows, given: Mapping[str, str], roles: Sequence[str]
) -> dict[str, int | None]:
    """Role -> the place of its column, None for one that is not there."""
    places: dict[str, int | None] = {}
    for role in roles:
        found = candidates(role, header, given)
        if role == "split" and role not in given:
            found = [place for place in found if _names_parts(header[place], place, rows)]
        if len(found) > 1:
            raise DataError(f"{where}: row 1: {_ambiguous(role, [header[place] for place in found])}")
        if not found and role in given:
            raise DataError(f"{where}: row 1: no column '{given[role]}' (--csv-columns); found {_shown(header)}")
        same = [other for other, place in places.items() if found and place == found[0]]
        if same:
            raise DataError(
                f"{where}: row 1: column '{header[found[0]]}' cannot hold {_CALLED[same[0]]} and {_CALLED[role]}; "
                f"expected a column for each, say which with --csv-columns"
            )
        places[role] = found[0] if found else None
    return places


def _places(header: Sequence[str], names: Sequence[str]) -> list[int]:
    return [place for place, name in enumerate(header) if _key(name) in names]


def _key(name: str) -> str:
    """What is the same for `Image ID`, `image-id` and `image_id`."""
    return re.sub(r"[\s_-]+", "_", unicodedata.normalize("NFKC", name).strip().casefold())


def _names_parts(name: str, place: int, rows: Rows) -> bool:
    """Whether a column divides the images; `part` may well be a part of a body, and a fold a number."""
    return _key(name) == "split" or any(len(cells) > place and part_named(cells[place]) for _, cells in rows)


def _ambiguous(role: str, names: Sequence[str]) -> str:
    if len(set(names)) == 1:
        return f"column '{names[0]}' is there {len(names)} times, expected once"
    quoted = " and ".join(f"'{name}'" for name in names)
    return f"the columns {quoted} could all be {_CALLED[role]}; say which with --csv-columns {role}={names[0]}"


def _missing(role: str, header: Sequence[str]) -> str:
    names = (*_NAMES[role][:4], *_IDS) if role == "path" else _NAMES[role]
    return (
        f"no column for {_CALLED[role]}; found {_shown(header)}, expected {', '.join(names[:-1])} or {names[-1]}, or "
        f"--csv-columns {role}=NAME; only a list of two columns, images and labels, needs no header"
    )


def _shown(header: Sequence[str]) -> str:
    return and_more(header, 2 * _NAMED) if header else "nothing"


def _refuse_flags(where: Path, header: Sequence[str], rows: Rows, used: set[int]) -> None:
    """Say what a table with a column of zeros and ones per class is."""
    flags = _flag_places(header, rows, used, 1)
    if len(flags) > 1:
        raise DataError(
            f"{where}: no column for {_CALLED['label']}, but a column of zeros and ones for each of "
            f"{and_more([header[place] for place in flags], _NAMED)}: several labels per image need "
            "--multi-label; if each image has one, write its name into a column 'label'"
        )


def _flag_places(header: Sequence[str], rows: Rows, used: set[int], least: float) -> list[int]:
    """The columns beside the used ones that have zeros and ones in so large a share of the cells that are not empty."""
    places = []
    for place in range(len(header)):
        cells = [row[place].strip().casefold() for _, row in rows if len(row) > place]
        filled = [cell in _FLAGS for cell in cells if cell or least == 1]
        if place not in used and filled and sum(filled) >= least * len(filled):
            places.append(place)
    return places
