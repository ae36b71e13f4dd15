"""What a look at a data set found: counts, sizes, duplicates, warnings; as lines for people and as JSON."""

import dataclasses
import json
from collections.abc import Iterator, Mapping

from tl_train.data.samples import PARTS
from tl_train.tables import aligned

_MAX_CLASSES_SHOWN = 20


@dataclasses.dataclass(frozen=True, slots=True)
class Range:
    """Smallest, middle and largest of some lengths, pixels."""

    min: int
    median: float
    max: int


@dataclasses.dataclass(frozen=True, slots=True)
class PlacedImage:
    """One image of the data set by name, part (train, val, test) and class name."""

    name: str
    part: str
    label: str

    def __str__(self) -> str:
        return f"{self.name} ({self.part}, {self.label})"


@dataclasses.dataclass(frozen=True, slots=True)
class Duplicates:
    """Two or more images that show the same.

    Attributes:
        pictures: in the order train, val, test.
        exact: their pixels are equal; otherwise they look nearly equal: another size, quality or brightness.

    """

    pictures: tuple[PlacedImage, ...]
    exact: bool

    @property
    def crosses_parts(self) -> bool:
        """Whether they are in more than one part."""
        return len({image.part for image in self.pictures}) > 1

    @property
    def crosses_labels(self) -> bool:
        """Whether they are in more than one class."""
        return len({image.label for image in self.pictures}) > 1


@dataclasses.dataclass(frozen=True, slots=True)
class Preflight:
    """What was found in a data set.

    Attributes:
        counts: part -> class name -> images; all parts and classes, zeros too.
        broken: what is wrong with each image that could not be read; these are in no part.
        shorter_px, longer_px: of the images' shorter and longer sides.
        gray, color: images whose red, green and blue are equal everywhere, and the others.
        gray_shares: class name -> share of its images that are grey, 0..1.
        duplicates: groups of images that show the same, exact ones first.
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

    def _count_lines(self) -> list[str]:
        labels = list(self.counts[PARTS[0]])
        rows = [(label, *(str(self.counts[part][label]) for part in PARTS)) for label in labels[:_MAX_CLASSES_SHOWN]]
        more = [f"and {len(labels) - len(rows)} more classes"] if len(labels) > len(rows) else []
        return [*aligned([("class", *PARTS), *rows], names=1), *more]
