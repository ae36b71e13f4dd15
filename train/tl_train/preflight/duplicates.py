"""Images that show the same: equal pixels by checksum, nearly equal ones by a perceptual hash."""

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.cluster.hierarchy import DisjointSet

from tl_infer.images import Pixels

# A copy at another size, quality or brightness differs in few of the 64 bits; those are then compared as thumbnails.
MAX_HASH_DISTANCE = 10
# Mean difference in grey levels of 255 between the thumbnails, each shifted and scaled to the same mean and contrast.
# Measured on 50 photos and the 160 cats and dogs: two different images differ by 16 or more, a copy at half the size
# or as JPEG of quality 50 by 5 or less, brightened by a fifth by 11 or less; a crop by a twentieth is not found.
MAX_THUMBNAIL_DIFFERENCE = 10.0

_HASH_SIDE = 8
_THUMBNAIL_SIDE = 32
# Smaller images have too little in them to tell a copy from another image of the same kind.
MIN_NEAR_SIDE_PX = 32
# Rows of the table of distances that are in memory at once: 10,000 images take 5 MB of 64-bit words a block.
_BLOCK_ROWS = 64
_CONTRAST = 50.0


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Look:
    """What is kept of an image to compare it by.

    Attributes:
        height, width: pixels.
        is_gray: red, green and blue are equal everywhere.
        checksum: of shape and pixels.
        dhash: 64 bits, each whether a cell of an 8 x 9 thumbnail is brighter than the one before it.
        thumbnail: float32 (1024,), 32 x 32 grey levels at a common mean and contrast; None for an image too small or
            too uniform to compare.

    """

    height: int
    width: int
    is_gray: bool
    checksum: bytes
    dhash: int
    thumbnail: npt.NDArray[np.float32] | None


def look_at(pixels: Pixels) -> Look:
    """The `Look` of an image, uint8 (H, W, 3).

    Source: the difference hash, N. Krawetz, "Kind of Like That", hackerfactor.com, 2013.
    """
    height, width, _ = pixels.shape
    digest = hashlib.blake2b(f"{height} {width} ".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(pixels).data)
    gray = Image.fromarray(pixels).convert("L")
    return Look(height, width, _is_gray(pixels), digest.digest(), _dhash(gray), _thumbnail(gray))


def exact_groups(looks: Sequence[Look]) -> list[list[int]]:
    """Indices of images with equal pixels, two or more in each group, in order."""
    by_checksum: dict[bytes, list[int]] = {}
    for i, look in enumerate(looks):
        by_checksum.setdefault(look.checksum, []).append(i)
    return [group for group in by_checksum.values() if len(group) > 1]


def near_groups(looks: Sequence[Look]) -> list[list[int]]:
    """Indices of images that look nearly the same but are not equal, two or more in each group, in order.

    A group is what near pairs connect, so its first and last image may differ by more than a pair does. Of images
    with equal pixels only the first takes part.
    """
    first = {look.checksum: i for i, look in reversed(list(enumerate(looks)))}
    members = sorted(i for i in first.values() if looks[i].thumbnail is not None)
    groups = DisjointSet(members)
    for a, b in _candidates(looks, members):
        # Images that are connected already need no look: a thousand copies are half a million pairs.
        if not groups.connected(a, b) and _alike(looks[a], looks[b]):
            groups.merge(a, b)
    return sorted(sorted(group) for group in groups.subsets() if len(group) > 1)


def _candidates(looks: Sequence[Look], members: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Pairs of `members` whose hashes are near; a table of all pairs, block by block."""
    hashes = np.array([looks[i].dhash for i in members], dtype=np.uint64)
    for start in range(0, len(members), _BLOCK_ROWS):
        block = hashes[start : start + _BLOCK_ROWS, np.newaxis]
        distances = np.bitwise_count(block ^ hashes[np.newaxis, start:])
        rows, columns = np.nonzero(distances <= MAX_HASH_DISTANCE)
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
            if row < column:
                yield members[start + row], members[start + column]


def _alike(first: Look, second: Look) -> bool:
    assert first.thumbnail is not None
    assert second.thumbnail is not None
    return float(np.abs(first.thumbnail - second.thumbnail).mean()) <= MAX_THUMBNAIL_DIFFERENCE


def _is_gray(pixels: Pixels) -> bool:
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    if not np.array_equal(red[::16], green[::16]):  # settles most colour photos at a sixteenth of the cost
        return False
    return np.array_equal(red, green) and np.array_equal(green, blue)


def _dhash(gray: Image.Image) -> int:
    cells = np.asarray(gray.resize((_HASH_SIDE + 1, _HASH_SIDE), Image.Resampling.BOX))
    return int.from_bytes(np.packbits(cells[:, 1:] > cells[:, :-1]).tobytes(), "big")


def _thumbnail(gray: Image.Image) -> npt.NDArray[np.float32] | None:
    if min(gray.size) < MIN_NEAR_SIDE_PX:
        return None
    levels = np.asarray(gray.resize((_THUMBNAIL_SIDE, _THUMBNAIL_SIDE), Image.Resampling.BOX), dtype=np.float32).ravel()
    contrast = float(levels.std())
    if contrast < 1:
        return None
    scaled: npt.NDArray[np.float32] = (levels - levels.mean()) * np.float32(_CONTRAST / contrast)
    return scaled
