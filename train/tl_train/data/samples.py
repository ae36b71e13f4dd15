"""`Sample`, one labelled image; `Fix`, what was decided about its label; `Source`, what was found before splitting."""

import dataclasses
import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from tl_infer.images import Pixels, decode, read_file
from tl_infer.limits import DEFAULT_LIMITS, FULL_DEPTH, Limits
from tl_train.cache.content import content_key

PARTS = ("train", "val", "test")
# As people are told of them.
PART_NAMES = {"train": "train", "val": "validation", "test": "test"}

Action = Literal["keep", "relabel", "drop"]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One labelled image.

    Attributes:
        name: unique in its data set; for an image file its path.
        label: index into the data set's labels; -1 of an image with several, which has `targets`.
        path: the file, None for an image that is not a file.
        pixels: uint8 (H, W, 3) when decoded already, else None.
        group: images of one group (a person, an animal, a day) stay in one part; None belongs to no group.
        row: its row in the tables of its data set; -1 before there are any.
        limits: what decoding the file may take, and how 16-bit values are scaled.
        targets: float32 (C,), of an image that may have several labels: 1 for one that it has, 0 for one that it has
            not, NaN where that is unknown. None of an image with one label.

    """

    name: str
    label: int
    path: Path | None = None
    pixels: Pixels | None = None
    group: str | None = None
    row: int = -1
    limits: Limits = DEFAULT_LIMITS
    targets: npt.NDArray[np.float32] | None = None

    @property
    def present(self) -> tuple[int, ...]:
        """The labels that the image has, as indices."""
        return (self.label,) if self.targets is None else tuple(np.flatnonzero(self.targets == 1).tolist())

    @property
    def where(self) -> str:
        """How people find it: the absolute path of its file, or its name."""
        return self.name if self.path is None else str(self.path)

    def load(self) -> Pixels:
        """The image: uint8 (H, W, 3).

        Raises:
            ImageError: the file cannot be read as an image.

        """
        return self.pixels if self.pixels is not None else self.decode(self.content())

    def content(self) -> bytes:
        """What the image is made of, to know it again: the bytes of its file, or its shape and pixels.

        Raises:
            ImageError: the file cannot be read.

        """
        if self.pixels is not None:
            return f"{self.pixels.shape} ".encode() + self.pixels.tobytes()
        assert self.path is not None
        return read_file(self.path, self.limits)

    def key(self, content: bytes) -> bytes:
        """16 bytes that name what is decoded from the content, within the limits: others may refuse it."""
        return content_key(content, _use(self.limits))

    def decode(self, content: bytes) -> Pixels:
        """The image, uint8 (H, W, 3), from its content.

        Raises:
            ImageError: the content is no image that can be read.

        """
        return self.pixels if self.pixels is not None else decode(content, str(self.path), self.limits)


@functools.lru_cache
def _use(limits: Limits) -> str:
    """What is not usual in decoding within these limits, at most 16 characters; "" where all is."""
    bit_depth = None if limits.depth == FULL_DEPTH else limits.depth
    if dataclasses.replace(limits, bit_depth=None) == DEFAULT_LIMITS:
        return "" if bit_depth is None else f"{bit_depth} bits"
    return hashlib.sha256(repr(dataclasses.replace(limits, bit_depth=bit_depth)).encode()).hexdigest()[:16]


def labels_of(samples: Sequence[Sample]) -> npt.NDArray[np.int64]:
    """The labels of samples, int64 (N,), as indices into their data set's."""
    return np.array([sample.label for sample in samples], dtype=np.int64)


def targets_of(samples: Sequence[Sample], classes: int) -> npt.NDArray[np.float32]:
    """The targets of samples that may have several labels: float32 (N, C), 1 present, 0 absent, NaN unknown."""
    rows = [sample.targets for sample in samples if sample.targets is not None]
    return np.stack(rows) if rows else np.zeros((0, classes), np.float32)


def truth_of(samples: Sequence[Sample]) -> npt.NDArray[Any]:
    """What is true of samples, one or more: their labels, or the targets of those that may have several labels."""
    targets = samples[0].targets
    return labels_of(samples) if targets is None else targets_of(samples, len(targets))


@dataclasses.dataclass(frozen=True, slots=True)
class Fix:
    """What was decided about the label of one image.

    Attributes:
        name: of the sample.
        where: as its `Sample.where`.
        action: keep its label, give it another, or leave the image out.
        label: the one that the source gives it, as an index.
        new_label: the one that it is to have; `label` unless the action is `relabel`.

    """

    name: str
    where: str
    action: Action
    label: int
    new_label: int


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Source:
    """What a source of images holds, as far as it says itself which images belong to which part.

    Attributes:
        labels: class names; a sample's label is an index into them.
        train: the training images; also those that validation and test images are still to be taken from.
        val, test: the source's own validation and test images; None where it has none, so they are split off.
        remarks: what deserves a warning, such as images that belong to no class.
        fixes: what was decided about labels; the samples still have those of the source.

    """

    labels: tuple[str, ...]
    train: Sequence[Sample]
    val: Sequence[Sample] | None = None
    test: Sequence[Sample] | None = None
    remarks: tuple[str, ...] = ()
    fixes: tuple[Fix, ...] = ()

    def limited(self, limits: Limits) -> "Source":
        """The same images, to be decoded within other limits."""

        def part(samples: Sequence[Sample]) -> list[Sample]:
            return [dataclasses.replace(sample, limits=limits) for sample in samples]

        if limits == DEFAULT_LIMITS:
            return self
        val, test = (None if samples is None else part(samples) for samples in (self.val, self.test))
        return dataclasses.replace(self, train=part(self.train), val=val, test=test)
