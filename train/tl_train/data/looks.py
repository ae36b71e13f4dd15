"""Per-image fingerprints to describe and compare images by: size, checksum, perceptual hash, thumbnail."""

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from tl_infer.images import Pixels
from tl_train.data.decoder import DECODER

_HASH_SIDE = 8
THUMBNAIL_SIDE = 32

# A row of the table of looks.
#   height, width: pixels.
#   is_gray: red, green and blue are equal everywhere.
#   brightest: the highest level of all pixels, 0..255.
#   checksum: of shape and pixels.
#   dhash: 64 bits, each whether a cell of an 8 x 9 thumbnail is brighter than the one before it.
#   thumbnail: 32 x 32 grey levels.
LOOK = np.dtype(
    [
        ("height", np.uint32),
        ("width", np.uint32),
        ("is_gray", np.bool_),
        ("brightest", np.uint8),
        ("checksum", np.void, 16),
        ("dhash", np.uint64),
        ("thumbnail", np.uint8, (THUMBNAIL_SIDE * THUMBNAIL_SIDE,)),
    ]
)

Looks = npt.NDArray[Any]


class Look:
    """Computes the look of an image, for `survey`.

    Source: the difference hash, N. Krawetz, "Kind of Like That", hackerfactor.com, 2013.
    """

    space = f"look 1; {DECODER}"
    dtype: np.dtype[Any] = LOOK

    def __call__(self, pixels: Pixels) -> Looks:
        """The look of an image, uint8 (H, W, 3): an array of one row."""
        height, width, _ = pixels.shape
        digest = hashlib.blake2b(f"{height} {width} ".encode(), digest_size=16)
        digest.update(np.ascontiguousarray(pixels).data)
        gray = Image.fromarray(pixels).convert("L")
        look = np.zeros(1, LOOK)
        look["height"], look["width"] = height, width
        look["is_gray"], look["brightest"] = _is_gray(pixels), pixels.max()
        look["checksum"] = np.void(digest.digest())
        look["dhash"] = _dhash(gray)
        look["thumbnail"] = _thumbnail(gray)
        return look


def looks_of(pixels: list[Pixels]) -> Looks:
    """The looks of some images: one row each."""
    look = Look()
    return np.concatenate([look(image) for image in pixels]) if pixels else np.zeros(0, LOOK)


def _is_gray(pixels: Pixels) -> bool:
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    if not np.array_equal(red[::16], green[::16]):  # settles most colour photos at a sixteenth of the cost
        return False
    return np.array_equal(red, green) and np.array_equal(green, blue)


def _dhash(gray: Image.Image) -> int:
    cells = np.asarray(gray.resize((_HASH_SIDE + 1, _HASH_SIDE), Image.Resampling.BOX))
    return int.from_bytes(np.packbits(cells[:, 1:] > cells[:, :-1]).tobytes(), "big")


def _thumbnail(gray: Image.Image) -> npt.NDArray[np.uint8]:
    small = gray.resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.uint8).ravel()
