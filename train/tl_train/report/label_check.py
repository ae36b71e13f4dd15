"""The report's section on labels that may be wrong, and on copies of an image across parts or classes."""

import dataclasses
from collections.abc import Sequence

from tl_train.data.dataset import Dataset
from tl_train.data.samples import PART_NAMES, PARTS, Sample
from tl_train.evaluation.label_errors import LabelErrors
from tl_train.preflight.findings import Duplicates, PlacedImage, Preflight
from tl_train.report.thumbnails import thumbnail_uri

_MAX_SUSPECTS = 24
_MAX_GROUPS = 12
_MAX_COPIES = 4  # of a group


@dataclasses.dataclass(frozen=True, slots=True)
class ShownSuspect:
    """A suspect as the page shows it; `source` is a data: URI."""

    name: str
    source: str
    pixelated: bool
    label: str
    probability: float
    suggested: str
    suggested_probability: float


@dataclasses.dataclass(frozen=True, slots=True)
class ShownCopy:
    """One image of a group of duplicates, as the page shows it."""

    name: str
    source: str
    pixelated: bool
    label: str
    part: str


@dataclasses.dataclass(frozen=True, slots=True)
class ShownGroup:
    """Images that show the same, in different parts or classes."""

    exact: bool
    copies: tuple[ShownCopy, ...]
    more: int


@dataclasses.dataclass(frozen=True, slots=True)
class LabelCheck:
    """What the section shows.

    Attributes:
        errors: the suspects; None where they were not looked for.
        suspects: the first of them, worst first.
        groups: the first groups of duplicates across parts or classes; those across classes first.
        all_groups: how many there are.

    """

    errors: LabelErrors | None
    suspects: tuple[ShownSuspect, ...]
    groups: tuple[ShownGroup, ...]
    all_groups: int


def check_labels(dataset: Dataset, errors: LabelErrors | None, findings: Preflight) -> LabelCheck:
    """The section for a data set whose training images were looked at.

    Raises:
        ImageError: an image that could be read before cannot any more.

    """
    across = [group for group in findings.duplicates if group.crosses_labels or group.crosses_parts]
    across.sort(key=lambda group: not group.crosses_labels)
    samples = {sample.name: sample for part in PARTS for sample in dataset.part(part)}
    groups = tuple(_group(group, samples) for group in across[:_MAX_GROUPS])
    return LabelCheck(errors, _suspects(dataset, errors), groups, len(across))


def _suspects(dataset: Dataset, errors: LabelErrors | None) -> tuple[ShownSuspect, ...]:
    shown = []
    for suspect in errors.suspects[:_MAX_SUSPECTS] if errors else ():
        sample = dataset.train[suspect.index]
        source, pixelated = thumbnail_uri(sample.load())
        shown.append(
            ShownSuspect(
                name=sample.where,
                source=source,
                pixelated=pixelated,
                label=dataset.labels[suspect.label],
                probability=suspect.probability,
                suggested=dataset.labels[suspect.suggested],
                suggested_probability=suspect.probability + suspect.margin,
            )
        )
    return tuple(shown)


def _group(group: Duplicates, samples: dict[str, Sample]) -> ShownGroup:
    chosen = _differing_first(group.pictures)[:_MAX_COPIES]
    copies = []
    for image in chosen:
        sample = samples[image.name]
        source, pixelated = thumbnail_uri(sample.load())
        copies.append(ShownCopy(sample.where, source, pixelated, image.label, PART_NAMES[image.part]))
    return ShownGroup(group.exact, tuple(copies), len(group.pictures) - len(chosen))


def _differing_first(images: Sequence[PlacedImage]) -> list[PlacedImage]:
    """One image of each part and class, then the others."""
    seen: set[tuple[str, str]] = set()
    first: list[PlacedImage] = []
    others: list[PlacedImage] = []
    for image in images:
        place = (image.part, image.label)
        (others if place in seen else first).append(image)
        seen.add(place)
    return [*first, *others]
