"""Groups of images that look nearly the same, found without comparing every image with every other.

Each image is compared with a narrow window of the others, in the order of the brightness pattern in which the images
differ most. Whatever joins a group is out of the search, so a thousand copies are not half a million pairs.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from scipy.linalg import hadamard

from tl_train.data.looks import THUMBNAIL_SIDE

# A copy at another size, quality or brightness differs in few of the 64 bits; those are then compared as thumbnails.
MAX_HASH_DISTANCE = 10
# Mean difference in grey levels of 255 between the thumbnails, each shifted and scaled to the same mean and contrast.
# Measured on 50 photos and the 160 cats and dogs: two different images differ by 16 or more, a copy at half the size
# or as JPEG of quality 50 by 5 or less, brightened by a fifth by 11 or less; a crop by a twentieth is not found.
MAX_THUMBNAIL_DIFFERENCE = 10.0

_CONTRAST = 50.0
_BLOCKS = 4  # a side, of the thumbnail; what a pattern is made of
_ROUNDING = 0.01  # more than the error of float32 in a pattern
_CHUNK = 512  # thumbnails in memory at once as float32, 2 MB

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.intp]


def look_alikes(thumbnails: npt.NDArray[np.uint8], hashes: npt.NDArray[np.uint64]) -> list[list[int]]:
    """Indices of images that near pairs connect, two or more in each group, in order.

    A pair is near if its hashes differ in at most `MAX_HASH_DISTANCE` bits and its thumbnails, at the same mean and
    contrast, by at most `MAX_THUMBNAIL_DIFFERENCE` on average. The groups are those that comparing all pairs gives.

    Args:
        thumbnails: uint8 (N, pixels), none of them uniform.
        hashes: uint64 (N,).

    """
    if len(hashes) < 2:
        return []
    pool = _Pool(thumbnails, hashes)
    floods = (pool.flood(image) for image in pool.in_order.tolist())
    return sorted(sorted(group) for group in floods if len(group) > 1)


def contrasts(thumbnails: npt.NDArray[np.uint8]) -> Floats:
    """The standard deviation of each thumbnail's grey levels: float32 (N,)."""
    found = [levels.std(axis=1) for _, levels in _chunks(thumbnails)]
    return np.concatenate(found) if found else np.zeros(0, np.float32)


class _Pool:
    """The images that are in no group yet."""

    def __init__(self, thumbnails: npt.NDArray[np.uint8], hashes: npt.NDArray[np.uint64]) -> None:
        self._thumbnails, self._hashes = thumbnails, hashes
        patterns = np.zeros((len(hashes), _BLOCKS**2 - 1), np.float32)
        for rows, levels in _chunks(thumbnails):
            patterns[rows] = _patterns(_scaled(levels))
        self._patterns = patterns[:, np.argsort(-patterns.var(axis=0), kind="stable")]
        self.in_order = np.argsort(self._patterns[:, 0], kind="stable")
        self._is_free = np.ones(len(hashes), bool)
        self._lay_out(self.in_order)

    def _lay_out(self, images: Ints) -> None:
        """Put what the search scans side by side, in order."""
        self._images, self._scanned = images, self._hashes[images]
        self._columns = np.ascontiguousarray(self._patterns[images].T)
        self._left = len(images)

    def flood(self, image: int) -> list[int]:
        """Take an image out, with all that near pairs connect to it; empty where it is out already."""
        if not self._is_free[image]:
            return []
        self._take(np.array([image]))
        group = [image]
        for reached in group:  # which grows meanwhile
            near = self._near(reached)
            self._take(near)
            group.extend(near.tolist())
        return group

    def _take(self, images: Ints) -> None:
        self._is_free[images] = False
        self._left -= len(images)
        if self._left < len(self._images) // 2:  # each image is then moved once on average
            self._lay_out(self._images[self._is_free[self._images]])

    def _near(self, image: int) -> Ints:
        """The free images near one."""
        pattern, reach = self._patterns[image], np.float32(MAX_THUMBNAIL_DIFFERENCE + _ROUNDING)
        start, end = np.searchsorted(self._columns[0], [pattern[0] - reach, pattern[0] + reach])
        distances = np.bitwise_count(self._scanned[start:end] ^ self._hashes[image])
        places = start + np.flatnonzero(distances <= MAX_HASH_DISTANCE)
        places = places[self._is_free[self._images[places]]]
        for column, here in zip(self._columns[1:], pattern[1:], strict=True):
            if not len(places):
                break
            places = places[np.abs(column[places] - here) <= reach]
        near: Ints = self._images[places]
        return near[self._differences(near, image) <= MAX_THUMBNAIL_DIFFERENCE]

    def _differences(self, images: Ints, image: int) -> Floats:
        """Mean differences of thumbnails."""
        here = _scaled(self._thumbnails[[image]].astype(np.float32))
        found = (np.abs(_scaled(levels) - here).mean(axis=1) for _, levels in _chunks(self._thumbnails, images))
        return np.concatenate([np.zeros(0, np.float32), *found])


def _chunks(thumbnails: npt.NDArray[np.uint8], images: Ints | None = None) -> Iterator[tuple[slice, Floats]]:
    """Grey levels of all or some of the thumbnails, float32 (n, pixels), with their places."""
    count = len(thumbnails) if images is None else len(images)
    for start in range(0, count, _CHUNK):
        rows = slice(start, start + _CHUNK)
        yield rows, thumbnails[rows if images is None else images[rows]].astype(np.float32)


def _scaled(levels: Floats) -> Floats:
    """Grey levels (n, pixels) at a common mean and contrast."""
    centred = levels - levels.mean(axis=1, keepdims=True)
    scaled: Floats = centred * (np.float32(_CONTRAST) / levels.std(axis=1, keepdims=True))
    return scaled


def _patterns(scaled: Floats) -> Floats:
    """How much of each of 15 patterns of light and dark blocks is in the thumbnails, (n, 15).

    A pattern is a mean of pixels, each times 1 or -1. So between two thumbnails no pattern differs by more than the
    pixels do on average, and those that differ more in any pattern need no closer look.
    """
    side = THUMBNAIL_SIDE // _BLOCKS
    blocks = scaled.reshape(-1, _BLOCKS, side, _BLOCKS, side).mean(axis=(2, 4)).reshape(-1, _BLOCKS**2)
    signs = hadamard(_BLOCKS**2)[:, 1:].astype(np.float32)  # without the first, the mean, which is 0
    patterns: Floats = blocks @ signs / np.float32(_BLOCKS**2)
    return patterns
