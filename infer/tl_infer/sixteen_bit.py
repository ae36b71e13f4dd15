"""Images of 16 bits a channel: how many of the bits they use, and their values brought to 8 bits.

Cameras of 10 or 12 bits store values up to 1023 or 4095 in 16 bits. Scaled from 65535, their images are nearly black.
"""

import collections
import os
import threading
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from tl_infer.errors import ImageError
from tl_infer.limits import FULL_DEPTH, MIN_DEPTH

# What cameras have, and 8 bits stored as 16. An image that needs more is at most one step darker than it could be.
_USUAL_DEPTHS: Final = (8, 10, 12, 14)
_NEARLY_BLACK: Final = 12  # bits; no level above 16 of 255

_GREY: Final = ("I;16", "I;16L", "I;16B", "I;16N", "I")
_OTHER_BYTE: Final = {"RGB;16L": "RGB;16B", "RGB;16B": "RGB;16L", "RGB;16N": "RGB;16B",
                      "RGBA;16L": "RGBA;16B", "RGBA;16B": "RGBA;16L", "RGBA;16N": "RGBA;16B"}  # fmt: skip

Values = npt.NDArray[Any]
Levels = npt.NDArray[np.uint8]


def is_grey(image: Image.Image) -> bool:
    """Whether it is grey of 16 bits; Pillow keeps such values whole, 32-bit integers too."""
    return image.mode in _GREY


def is_sixteen_bit(image: Image.Image) -> bool:
    """Whether the file has 16 bits a channel; asked before the pixels are loaded, as Pillow forgets it then."""
    return is_grey(image) or ";16" in _raw_mode(image)


def grey_levels(values: Values, bit_depth: int, where: str) -> Levels:
    """Values of so many bits to 0..255, rounded; Pillow's own conversion clips everything above 255 to white.

    Raises:
        ImageError: a value needs more bits.

    """
    check_values(int(values.min()), int(values.max()), bit_depth, where)
    return scale_values(values, bit_depth)


def check_values(low: int, high: int, bit_depth: int, where: str) -> None:
    """Refuse an image whose values go from `low` to `high`.

    Raises:
        ImageError: a value needs more bits.

    """
    most = 2**bit_depth - 1
    if low < 0 or high > most:
        given = "" if bit_depth == FULL_DEPTH else f" with a bit depth of {bit_depth}"
        raise ImageError(where, f"integer image with values from {low} to {high}, expected 0 to {most}{given}")


def scale_values(values: Values, bit_depth: int) -> Levels:
    """Values of at most so many bits to 0..255, rounded."""
    most = 2**bit_depth - 1
    levels: Levels = ((values.astype(np.uint32) * 255 + most // 2) // most).astype(np.uint8)
    return levels


def colour_levels(image: Image.Image, again: Image.Image, bit_depth: int, where: str) -> Image.Image:
    """An image of 16 bits a channel as RGB or RGBA with 8, its colours having so many bits.

    Pillow gives the high byte of each value only, so the file is decoded a second time for the low bytes.

    Args:
        image: as `Image.open` gives it, its pixels not loaded.
        again: the same once more.
        bit_depth: of the colours; transparency always has 16 bits.
        where: what errors call it.

    Raises:
        ImageError: a value needs more bits, or the form of the file is not supported with a bit depth.

    """
    raw_mode = _raw_mode(image)
    if raw_mode == "LA;16B":  # four bytes a pixel: the high and the low one of grey, then of transparency
        _set_raw_mode(again, "RGBA")
        bytes_of_pixel = np.asarray(again).astype(np.uint16)
        grey, alpha = bytes_of_pixel[..., 0] << 8 | bytes_of_pixel[..., 1], bytes_of_pixel[..., 2]
        values = np.dstack([grey, grey, grey])
    elif raw_mode in _OTHER_BYTE and "transparency" not in image.info:
        _set_raw_mode(again, _OTHER_BYTE[raw_mode])
        high = np.asarray(image).astype(np.uint16)
        values, alpha = high[..., :3] << 8 | np.asarray(again)[..., :3], high[..., 3:]
    else:
        raise ImageError(where, f"16 bits as {raw_mode or image.mode}: not supported with a bit depth of {bit_depth}")
    levels = grey_levels(values, bit_depth, where)
    return Image.fromarray(np.dstack([levels, alpha.astype(np.uint8)]) if alpha.size else levels)


def depth_used(brightest: int) -> int:
    """The bits that an image uses whose brightest level is this, of 255 after scaling from 16 bits."""
    # The highest value of b bits becomes 2^(b - 8), as grey rounded, as colour cut off.
    return next((depth for depth in _USUAL_DEPTHS if brightest <= 1 << (depth - MIN_DEPTH)), FULL_DEPTH)


_counting = threading.Lock()
if hasattr(os, "register_at_fork"):  # not while another thread counts, which would keep the child waiting
    os.register_at_fork(before=_counting.acquire, after_in_parent=_counting.release, after_in_child=_counting.release)


class DepthTally:
    """Counts the 16-bit images that were decoded by the bits that they use; thread-safe."""

    def __init__(self) -> None:
        self._counts: collections.Counter[int] = collections.Counter()

    def add(self, brightest: int) -> None:
        """Count an image by its brightest level, 0..255."""
        self.count(depth_used(brightest))

    def count(self, depth: int) -> None:
        """Count an image by the bits that it uses."""
        with _counting:
            self._counts[depth] += 1

    def counts(self) -> dict[int, int]:
        """Bits used -> images."""
        with _counting:
            return dict(self._counts)


def depth_advice(counts: Mapping[int, int]) -> str | None:
    """What to say of 16-bit images, by the bits that they use; None if there is nothing wrong with them."""
    total = sum(counts.values())
    most = max(counts, default=FULL_DEPTH)
    if most < FULL_DEPTH:
        how = "nearly black" if most <= _NEARLY_BLACK else "too dark"
        return (
            f"{total} 16-bit image(s) have no value above {2**most - 1} of 65535, so they come out {how}, as of a "
            f"camera of {most} bits: scale them by what they use with --bit-depth {most}"
        )
    if dark := sum(count for depth, count in counts.items() if depth <= _NEARLY_BLACK):
        return (
            f"{dark} of {total} 16-bit images have no value above {2**_NEARLY_BLACK - 1} of 65535, so they come out "
            "nearly black: if they are from another camera, scale them to the range of the others"
        )
    return None


def _raw_mode(image: Image.Image) -> str:
    """How the pixels lie in the file, as Pillow's decoder calls it; "" where it does not say."""
    tile = getattr(image, "tile", None)
    arguments = tile[0][3] if tile else ""
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


def _set_raw_mode(image: Image.Image, raw_mode: str) -> None:
    def changed(arguments: Any) -> Any:
        return (raw_mode, *arguments[1:]) if isinstance(arguments, tuple) else raw_mode

    image.tile = [tile._replace(args=changed(tile.args)) for tile in image.tile]  # type: ignore[attr-defined]
