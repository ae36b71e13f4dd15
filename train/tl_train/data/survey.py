"""One pass over the images: each is read and decoded once, on all cores, and everything that is wanted of it computed.

What was computed before of the same content is taken from the cache on disk; an image of which all is known is read,
but not even decoded. Memory holds the results, never the images.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tl_infer.errors import ImageError
from tl_infer.images import Pixels
from tl_infer.system.parallel import available_threads, ordered_map
from tl_train.cache.content import ContentCache
from tl_train.data.samples import Sample
from tl_train.progress import Progress

# So many new results are written to the cache at once: a transaction each would cost more than many results.
_WRITTEN_AT_ONCE = 256

Value = npt.NDArray[Any]


class PerImage(Protocol):
    """Something that is computed of an image.

    Attributes:
        space: says all that the value depends on beside the image, versions of libraries included.
        dtype: of the value.

    """

    space: str
    dtype: np.dtype[Any]

    def __call__(self, pixels: Pixels) -> Value:
        """The value of an image, uint8 (H, W, 3): a flat array, of the same length for every image."""


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Surveyed:
    """What the pass found.

    Attributes:
        samples: those that can be decoded, in the order given, each with its row in `values`.
        values: one array per computation, a row per sample: (N, length), or (N,) where a value is one record.
        broken: what is wrong with each of the others.
        computed: how many images were decoded; the others were known already.

    """

    samples: list[Sample]
    values: list[Value]
    broken: list[ImageError]
    computed: int


def survey(
    samples: Sequence[Sample], computations: Sequence[PerImage], progress: Progress, *, use_cache: bool = True
) -> Surveyed:
    """Read every image once.

    Args:
        samples: the images.
        computations: what to compute of each.
        progress: shows how far it is.
        use_cache: take what is known from the cache folder, and keep there what is computed.

    """
    caches = [ContentCache(computation.space) for computation in computations] if use_cache else []
    try:
        return _survey(samples, computations, caches, progress)
    finally:
        for cache in caches:
            cache.close()


def _survey(
    samples: Sequence[Sample], computations: Sequence[PerImage], caches: Sequence[ContentCache], progress: Progress
) -> Surveyed:
    found = _Found(len(samples), len(computations))
    workers = ordered_map(lambda sample: _look(sample, computations, caches), samples, available_threads())
    pending: list[dict[bytes, bytes]] = [{} for _ in caches]
    for sample, result in zip(samples, progress.steps(workers, "Reading images", len(samples)), strict=True):
        found.add(sample, result)
        if isinstance(result, _Result):
            for place in result.new if caches else ():
                pending[place][result.key] = result.values[place].tobytes()
        if any(len(values) >= _WRITTEN_AT_ONCE for values in pending):
            _write(caches, pending)
    _write(caches, pending)
    return found.surveyed()


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _Result:
    """The values of one image, its content's key, and which of the values are new."""

    key: bytes
    values: list[Value]
    new: tuple[int, ...]


def _look(sample: Sample, computations: Sequence[PerImage], caches: Sequence[ContentCache]) -> _Result | ImageError:
    """Runs on a worker thread."""
    try:
        content = sample.content()
        key = sample.key(content)
        stored = [cache.get(key) for cache in caches] or [None] * len(computations)
        new = tuple(place for place, value in enumerate(stored) if value is None)
        pixels = sample.decode(content) if new or not computations else None
    except ImageError as error:
        return error
    values = []
    for computation, value in zip(computations, stored, strict=True):
        if value is not None:
            values.append(np.frombuffer(value, computation.dtype))
        else:
            assert pixels is not None
            values.append(computation(pixels))
    return _Result(key, values, new)


class _Found:
    """Collects results in arrays with room for all images: none has to grow, so that no value ever stands twice."""

    def __init__(self, images: int, computations: int) -> None:
        self._images, self._computations = images, computations
        self._samples: list[Sample] = []
        self._broken: list[ImageError] = []
        self._computed = 0
        self._values: list[Value] = []

    def add(self, sample: Sample, result: _Result | ImageError) -> None:
        if isinstance(result, ImageError):
            self._broken.append(result)
            return
        if not self._values:
            self._values = [np.empty((self._images, len(value)), value.dtype) for value in result.values]
        row = len(self._samples)
        self._samples.append(dataclasses.replace(sample, row=row))
        self._computed += bool(result.new)
        for values, value in zip(self._values, result.values, strict=True):
            values[row] = value

    def surveyed(self) -> Surveyed:
        count = len(self._samples)
        values = [values[:count] if values.shape[1] != 1 else values[:count, 0] for values in self._values]
        if not count:
            values = [np.zeros((0, 0)) for _ in range(self._computations)]
        return Surveyed(self._samples, values, self._broken, self._computed)


def _write(caches: Sequence[ContentCache], pending: Sequence[dict[bytes, bytes]]) -> None:
    for cache, values in zip(caches, pending, strict=True):
        if values:
            cache.put(values)
            values.clear()
