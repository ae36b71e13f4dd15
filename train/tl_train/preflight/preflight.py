"""`preflight(dataset)`: what a look at the pictures tells before the first training step; changes nothing."""

import collections
import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence

from tl_infer.errors import ImageError
from tl_infer.system.parallel import available_threads, ordered_map
from tl_train.data.dataset import Dataset
from tl_train.data.samples import PARTS, Sample
from tl_train.errors import DataError
from tl_train.preflight.duplicates import Look, exact_groups, look_at, near_groups
from tl_train.preflight.preflight_warnings import find_warnings
from tl_train.progress import Progress

_MAX_CLASSES_SHOWN = 20


@dataclasses.dataclass(frozen=True, slots=True)
class Range:
    """Smallest, middle and largest of some lengths, pixels."""

    min: int
    median: float
    max: int


@dataclasses.dataclass(frozen=True, slots=True)
class Picture:
    """One picture of the data set by name, part (train, val, test) and class name."""

    name: str
    part: str
    label: str

    def __str__(self) -> str:
        return f"{self.name} ({self.part}, {self.label})"


@dataclasses.dataclass(frozen=True, slots=True)
class Duplicates:
    """Two or more pictures that show the same.

    Attributes:
        pictures: in the order train, val, test.
        exact: their pixels are equal; otherwise they look nearly equal: another size, quality or brightness.

    """

    pictures: tuple[Picture, ...]
    exact: bool

    @property
    def crosses_parts(self) -> bool:
        """Whether they are in more than one part."""
        return len({picture.part for picture in self.pictures}) > 1

    @property
    def crosses_labels(self) -> bool:
        """Whether they are in more than one class."""
        return len({picture.label for picture in self.pictures}) > 1


@dataclasses.dataclass(frozen=True, slots=True)
class Preflight:
    """What was found in a data set.

    Attributes:
        counts: part -> class name -> pictures; all parts and classes, zeros too.
        broken: what is wrong with each picture that could not be read; these are in no part.
        shorter_px, longer_px: of the pictures' shorter and longer sides.
        gray, color: pictures whose red, green and blue are equal everywhere, and the others.
        gray_shares: class name -> share of its pictures that are grey, 0..1.
        duplicates: groups of pictures that show the same, exact ones first.
        warnings: what deserves attention, the gravest first; each says what to do.

    """

    counts: Mapping[str, Mapping[str, int]]
    broken: tuple[str, ...]
    shorter_px: Range
    longer_px: Range
    gray: int
    color: int
    gray_shares: Mapping[str, float]
    duplicates: tuple[Duplicates, ...]
    warnings: tuple[str, ...] = ()

    def to_json(self) -> str:
        """Everything as JSON text."""
        return json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False, allow_nan=False)

    def lines(self) -> Iterator[str]:
        """A short text for the terminal: counts, sizes, colour, duplicates, warnings."""
        yield from self._count_lines()
        sides = (f"{side.min} to {side.max} px (median {side.median:g})" for side in (self.shorter_px, self.longer_px))
        yield "Shorter sides {}, longer sides {}".format(*sides) + f"; {self.color} colour, {self.gray} grey"
        exact = sum(len(group.pictures) - 1 for group in self.duplicates if group.exact)
        near = sum(len(group.pictures) - 1 for group in self.duplicates if not group.exact)
        yield f"{len(self.broken)} broken, {exact} exact and {near} near duplicates"
        for warning in self.warnings:
            yield f"Warning: {warning}"

    def _count_lines(self) -> Iterator[str]:
        labels = list(self.counts[PARTS[0]])
        width = min(30, max(map(len, [*labels, "class"])))
        yield f"{'class':<{width}} " + "".join(f"{part:>8}" for part in PARTS)
        for label in labels[:_MAX_CLASSES_SHOWN]:
            yield f"{label:<{width}} " + "".join(f"{self.counts[part][label]:>8}" for part in PARTS)
        if len(labels) > _MAX_CLASSES_SHOWN:
            yield f"... and {len(labels) - _MAX_CLASSES_SHOWN} more classes"


def preflight(dataset: Dataset, progress: Progress | None = None) -> Preflight:
    """Look at every picture of a data set.

    Raises:
        DataError: a picture that could be read before cannot any more.

    """
    placed = [(part, sample) for part in PARTS for sample in _samples(dataset, part)]
    looks = _look_at_all([sample for _, sample in placed], progress or Progress())
    pictures = [Picture(sample.name, part, dataset.labels[sample.label]) for part, sample in placed]
    groups = [(group, True) for group in exact_groups(looks)] + [(group, False) for group in near_groups(looks)]
    findings = Preflight(
        counts=_counts(dataset),
        broken=tuple(map(str, dataset.broken)),
        shorter_px=_range([min(look.height, look.width) for look in looks]),
        longer_px=_range([max(look.height, look.width) for look in looks]),
        gray=sum(look.is_gray for look in looks),
        color=sum(not look.is_gray for look in looks),
        gray_shares=_gray_shares(pictures, looks),
        duplicates=tuple(Duplicates(tuple(pictures[i] for i in group), exact) for group, exact in groups),
    )
    return dataclasses.replace(findings, warnings=tuple(find_warnings(findings)))


def _samples(dataset: Dataset, part: str) -> Sequence[Sample]:
    return {"train": dataset.train, "val": dataset.val, "test": dataset.test}[part]


def _look_at_all(samples: Sequence[Sample], progress: Progress) -> list[Look]:
    looks = ordered_map(lambda sample: look_at(sample.load()), samples, available_threads())
    try:
        return list(progress.steps(looks, "Looking for duplicates", len(samples)))
    except ImageError as error:
        raise DataError(f"{error}; it could be read a moment ago, so do not change the data while they are read") from (
            error
        )


def _counts(dataset: Dataset) -> dict[str, dict[str, int]]:
    counted = {part: collections.Counter(sample.label for sample in _samples(dataset, part)) for part in PARTS}
    return {part: {label: counted[part][i] for i, label in enumerate(dataset.labels)} for part in PARTS}


def _range(lengths: Sequence[int]) -> Range:
    ordered = sorted(lengths)
    middle = len(ordered) // 2
    median = ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
    return Range(ordered[0], float(median), ordered[-1])


def _gray_shares(pictures: Sequence[Picture], looks: Sequence[Look]) -> dict[str, float]:
    total = collections.Counter(picture.label for picture in pictures)
    gray = collections.Counter(picture.label for picture, look in zip(pictures, looks, strict=True) if look.is_gray)
    return {label: gray[label] / count for label, count in total.items()}
