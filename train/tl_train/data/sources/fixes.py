"""Corrections of labels: the list of suspects that a run wrote, taken back after the user has edited it."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

from tl_infer.text.safetext import plain_text
from tl_train.data.samples import Action, Fix, Sample, Source
from tl_train.data.sources.class_names import normal_name, unknown_class
from tl_train.data.sources.csv_text import CsvText
from tl_train.errors import DataError

# The columns that are read; the list has others, which help to decide.
READ_COLUMNS = ("path", "label", "suggested", "action")
_ACTIONS: tuple[Action, ...] = get_args(Action)
_NAMED = 10  # how many classes a message names


@dataclasses.dataclass(frozen=True, slots=True)
class _Row:
    """A row of the list; `where` names file and row."""

    where: str
    path: str
    label: str
    suggested: str
    action: str


def read_fixes(path: Path, source: Source) -> tuple[Fix, ...]:
    """What was decided about labels in an edited suspects.csv.

    A row counts where its column `action` holds keep, relabel or drop, in any case; `relabel` gives the image the class
    in `suggested`. Rows with an empty action change nothing.

    Args:
        path: the file; columns path, label, suggested and action, others are not read.
        source: the images that the paths are looked up in, and their labels.

    Raises:
        DataError: the file cannot be read, a column is missing, no row decides anything; an action or class is unknown,
            an image is not in the source, is listed twice, or has another label there. Names the row.

    """
    images = _by_path(source)
    alike = {normal_name(path): sample for path, sample in images.items()}  # another system may write accents otherwise
    fixes: list[Fix] = []
    rows_of: dict[str, str] = {}
    for row in _read_rows(path):
        if not row.action:
            continue
        sample = images.get(row.path) or images.get(str(Path(row.path).absolute())) or alike.get(normal_name(row.path))
        if sample is None:
            raise DataError(f"{row.where}: '{row.path}' is not among the images; expected a path as the run's "
                            "suspects.csv has it, such as " + next(iter(images)))  # fmt: skip
        if sample.name in rows_of:
            raise DataError(f"{row.where}: '{row.path}' is listed in {rows_of[sample.name]} already; decide once")
        rows_of[sample.name] = row.where.rpartition(": ")[2]
        fixes.append(_fix(row, sample, source.labels))
    if not fixes:
        raise DataError(f"{path}: no row has an action; write {_expected_actions()} into the column 'action' where you "
                        "have decided")  # fmt: skip
    return tuple(fixes)


def _by_path(source: Source) -> Mapping[str, Sample]:
    """Every image under its path, which the list has, and under its name."""
    samples = [*source.train, *(source.val or ()), *(source.test or ())]
    return {sample.where: sample for sample in samples} | {sample.name: sample for sample in samples}


def _read_rows(path: Path) -> list[_Row]:
    # A file name that is not valid Unicode has kept its bytes in the list.
    text = CsvText(path, "an edited suspects.csv", errors="surrogateescape")
    header, rows = text.table(lambda cells: len(set(READ_COLUMNS).intersection(_names(cells))))
    names = _names(header)
    for name in READ_COLUMNS:
        if names.count(name) != 1:
            found = "twice" if name in names else "missing"
            raise DataError(f"{path}: row 1: column '{name}' is {found}; expected {', '.join(READ_COLUMNS)} once each, "
                            "as in the suspects.csv of a run")  # fmt: skip
    return [_row(f"{path}: row {number}", names, cells) for number, cells in rows]


def _names(header: Sequence[str]) -> list[str]:
    return [name.strip().casefold() for name in header]


def _row(where: str, names: Sequence[str], cells: Sequence[str]) -> _Row:
    if len(cells) != len(names):
        raise DataError(f"{where}: {len(cells)} cells, expected {len(names)} as in the first row")
    values = dict(zip(names, map(plain_text, cells), strict=True))
    action = values["action"].strip().casefold()
    if action and action not in _ACTIONS:
        raise DataError(f"{where}: action is '{values['action']}', expected {_expected_actions()}, or nothing")
    return _Row(where, values["path"], normal_name(values["label"]), normal_name(values["suggested"]), action)


def _fix(row: _Row, sample: Sample, labels: Sequence[str]) -> Fix:
    label = labels[sample.label]
    if row.label != label:
        raise DataError(
            f"{row.where}: label is '{row.label}', but the image is labelled '{label}'; expected the label as it is; "
            "to change it, write the class into 'suggested' and relabel into 'action'"
        )
    action: Action = next(action for action in _ACTIONS if action == row.action)
    new_label = _class(row, labels) if action == "relabel" else sample.label
    if action == "relabel" and new_label == sample.label:
        raise DataError(f"{row.where}: relabel to '{label}', the label that the image has; expected another class in "
                        "'suggested', or the action keep")  # fmt: skip
    return Fix(sample.name, sample.where, action, sample.label, new_label)


def _class(row: _Row, labels: Sequence[str]) -> int:
    if row.suggested in labels:
        return labels.index(row.suggested)
    expected = f"expected one of {', '.join(labels[:_NAMED])}{', ...' if len(labels) > _NAMED else ''}"
    if not row.suggested.strip():
        raise DataError(f"{row.where}: relabel, but 'suggested' is empty; {expected}")
    raise DataError(f"{row.where}: unknown class '{row.suggested}'{unknown_class(row.suggested, labels)}; {expected}")


def _expected_actions() -> str:
    return f"{', '.join(_ACTIONS[:-1])} or {_ACTIONS[-1]}"
