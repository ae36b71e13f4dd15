"""suspects.csv, training images to look at, which `--fix` takes back edited; fixes.csv, what was decided before."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from tl_train.data.dataset import Dataset
from tl_train.data.samples import Fix
from tl_train.evaluation.label_errors import LabelErrors, Suspect
from tl_train.preflight.findings import Duplicates, Preflight
from tl_train.tables import write_csv

_HEADER = ("path", "label", "suggested", "probability", "margin", "duplicate_of", "action")
_FIXES_HEADER = ("path", "label", "suggested", "action")

_Row = tuple[object, ...]


def write_suspects(path: Path, dataset: Dataset, errors: LabelErrors | None, findings: Preflight) -> None:
    """Write a row per suspect, the most suspect first, then further training images with copies across parts or labels.

    What was decided in earlier runs is at the end with its actions, so that one file holds all decisions. Nothing is
    written where there is nothing to list.

    Args:
        path: the file.
        dataset: the images.
        errors: the suspects among its training images; None where they were not looked for.
        findings: the duplicates.

    Raises:
        OutputPathError: the file cannot be written.

    """
    rows = list(_rows(dataset, errors, findings))
    if rows:
        write_csv(path, _HEADER, rows)


def write_fixes(path: Path, dataset: Dataset) -> None:
    """Write a row per decision that the run was trained with, as `read_fixes` takes them.

    Raises:
        OutputPathError: the file cannot be written.

    """
    write_csv(path, _FIXES_HEADER, [_decided(fix, dataset.labels) for fix in dataset.fixes])


def _rows(dataset: Dataset, errors: LabelErrors | None, findings: Preflight) -> Iterator[_Row]:
    copies = _copies(findings)
    listed = {fix.name for fix in dataset.fixes}
    for suspect in errors.suspects if errors else ():
        listed.add(dataset.train[suspect.index].name)
        yield _suspected(suspect, dataset, copies)
    for sample in dataset.train:
        if sample.name not in listed and sample.name in copies:
            yield sample.where, dataset.labels[sample.label], "", "", "", copies[sample.name], ""
    for fix in dataset.fixes:
        where, label, suggested, action = _decided(fix, dataset.labels)
        yield where, label, suggested, "", "", copies.get(fix.name, ""), action


def _suspected(suspect: Suspect, dataset: Dataset, copies: Mapping[str, str]) -> _Row:
    sample, labels = dataset.train[suspect.index], dataset.labels
    return (
        sample.where, labels[suspect.label], labels[suspect.suggested], round(suspect.probability, 6),
        round(suspect.margin, 6), copies.get(sample.name, ""), "",
    )  # fmt: skip


def _decided(fix: Fix, labels: tuple[str, ...]) -> tuple[str, str, str, str]:
    return fix.where, labels[fix.label], labels[fix.new_label] if fix.action == "relabel" else "", fix.action


def _copies(findings: Preflight) -> dict[str, str]:
    """For each image with a copy in another part or class: that copy, in words."""
    found: dict[str, str] = {}
    for group in findings.duplicates:
        if group.crosses_parts or group.crosses_labels:
            found |= {image.name: _other(group, place) for place, image in enumerate(group.pictures)}
    return found


def _other(group: Duplicates, place: int) -> str:
    own = group.pictures[place]
    elsewhere = [image for image in group.pictures if (image.part, image.label) != (own.part, own.label)]
    return str(elsewhere[0]) if elsewhere else ""
