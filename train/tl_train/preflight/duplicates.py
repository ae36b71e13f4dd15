"""Images that show the same: equal pixels by checksum, nearly equal ones by a perceptual hash."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import DisjointSet

from tl_train.data.looks import Looks

# A copy at another size, quality or brightness differs in few of the 64 bits; those are then compared as thumbnails.
MAX_HASH_DISTANCE = 10
# Mean difference in grey levels of 255 between the thumbnails, each shifted and scaled to the same mean and contrast.
# Measured on 50 photos and the 160 cats and dogs: two different images differ by 16 or more, a copy at half the size
# or as JPEG of quality 50 by 5 or less, brightened by a fifth by 11 or less; a crop by a twentieth is not found.
MAX_THUMBNAIL_DIFFERENCE = 10.0

# Smaller images have too little in them to tell a copy from another image of the same kind.
MIN_NEAR_SIDE_PX = 32
# Rows of the table of distances that are in memory at once: 10,000 images take 5 MB of 64-bit words a block.
_BLOCK_ROWS = 64
_CONTRAST = 50.0


def exact_groups(looks: Looks) -> list[list[int]]:
    """Indices of images with equal pixels, two or more in each group, in order."""
    by_checksum: dict[bytes, list[int]] = {}
    for i, checksum in enumerate(looks["checksum"]):
        by_checksum.setdefault(checksum.tobytes(), []).append(i)
    return [group for group in by_checksum.values() if len(group) > 1]


def near_groups(looks: Looks) -> list[list[int]]:
    """Indices of images that look nearly the same but are not equal, two or more in each group, in order.

    A group is what near pairs connect, so its first and last image may differ by more than a pair does. Of images with
    equal pixels only the first takes part; those too small or too uniform to compare take none.
    """
    members = _comparable(looks)
    thumbnails, hashes = looks["thumbnail"], looks["dhash"][members]
    groups = DisjointSet(members.tolist())
    for a, b in _candidates(hashes):
        first, second = int(members[a]), int(members[b])
        # Images that are connected already need no look: a thousand copies are half a million pairs.
        if not groups.connected(first, second) and _alike(thumbnails[first], thumbnails[second]):
            groups.merge(first, second)
    return sorted(sorted(group) for group in groups.subsets() if len(group) > 1)


def _comparable(looks: Looks) -> npt.NDArray[np.intp]:
    """Indices of the images that are compared, ascending."""
    _, first = np.unique(looks["checksum"], return_index=True)
    large = np.minimum(looks["height"], looks["width"])[first] >= MIN_NEAR_SIDE_PX
    members: npt.NDArray[np.intp] = np.sort(first[large & (looks["thumbnail"][first].std(axis=1) >= 1)])
    return members


def _candidates(hashes: npt.NDArray[np.uint64]) -> Iterator[tuple[int, int]]:
    """Pairs whose hashes are near, the smaller index first; a table of all pairs, block by block."""
    for start in range(0, len(hashes), _BLOCK_ROWS):
        block = hashes[start : start + _BLOCK_ROWS, np.newaxis]
        distances = np.bitwise_count(block ^ hashes[np.newaxis, start:])
        rows, columns = np.nonzero(distances <= MAX_HASH_DISTANCE)
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
            if row < column:
                yield start + row, start + column


def _alike(first: npt.NDArray[np.uint8], second: npt.NDArray[np.uint8]) -> bool:
    return float(np.abs(_scaled(first) - _scaled(second)).mean()) <= MAX_THUMBNAIL_DIFFERENCE


def _scaled(thumbnail: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Grey levels at a common mean and contrast."""
    levels = thumbnail.astype(np.float32)
    scaled: npt.NDArray[np.float32] = (levels - levels.mean()) * np.float32(_CONTRAST / levels.std())
    return scaled
