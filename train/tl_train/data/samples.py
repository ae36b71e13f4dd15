"""`Sample`, one labelled image; `Source`, what was found before splitting; decoding all of it once."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tl_infer.errors import ImageError
from tl_infer.images import Pixels, load_image
from tl_infer.system.parallel import available_threads, ordered_map
from tl_train.progress import Progress

PARTS = ("train", "val", "test")

# Decoded images are kept in memory up to this many bytes in all; the others are decoded again for each use.
DECODED_CACHE_BYTES = 1 << 30


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One labelled image.

    Attributes:
        name: unique in its data set; for an image file its path.
        label: index into the data set's labels.
        path: the file, None for an image that is not a file.
        pixels: uint8 (H, W, 3) when decoded already, else None.
        group: images of one group (a person, an animal, a day) stay in one part; None belongs to no group.

    """

    name: str
    label: int
    path: Path | None = None
    pixels: Pixels | None = None
    group: str | None = None

    def load(self) -> Pixels:
        """The image: uint8 (H, W, 3).

        Raises:
            ImageError: the file cannot be read as an image.

        """
        if self.pixels is not None:
            return self.pixels
        assert self.path is not None
        return load_image(self.path)


def labels_of(samples: Sequence[Sample]) -> npt.NDArray[np.int64]:
    """The labels of samples, int64 (N,), as indices into their data set's."""
    return np.array([sample.label for sample in samples], dtype=np.int64)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Source:
    """What a source of images holds, as far as it says itself which images belong to which part.

    Attributes:
        labels: class names; a sample's label is an index into them.
        train: the training images; also those that validation and test images are still to be taken from.
        val, test: the source's own validation and test images; None where it has none, so they are split off.

    """

    labels: tuple[str, ...]
    train: Sequence[Sample]
    val: Sequence[Sample] | None = None
    test: Sequence[Sample] | None = None


class Decoder:
    """Decodes every image once, so that a bad one is known before the first training step.

    Attributes:
        broken: the images that could not be decoded, in the order met.

    """

    def __init__(self, progress: Progress) -> None:
        self.broken: list[ImageError] = []
        self._progress = progress
        self._cached_bytes = 0

    def decode(self, samples: Sequence[Sample]) -> list[Sample]:
        """The samples whose image can be decoded, with their pixels while these fit into the cache."""
        if all(sample.pixels is not None for sample in samples):
            return list(samples)
        good: list[Sample] = []
        results = ordered_map(_try_load, samples, available_threads())
        shown = self._progress.steps(results, "Checking images", len(samples))
        for sample, result in zip(samples, shown, strict=True):
            if isinstance(result, ImageError):
                self.broken.append(result)
            elif self._cached_bytes + result.nbytes <= DECODED_CACHE_BYTES:
                self._cached_bytes += result.nbytes
                good.append(dataclasses.replace(sample, pixels=result))
            else:
                good.append(sample)
        return good


def _try_load(sample: Sample) -> Pixels | ImageError:
    try:
        return sample.load()
    except ImageError as error:
        return error
