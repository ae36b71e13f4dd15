"""Pixels as Pillow holds them -> upright RGB, in bands: whole images in between would double the memory."""

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from tl_infer.errors import ImageError
from tl_infer.sixteen_bit import check_values, is_grey, scale_values

Pixels = npt.NDArray[np.uint8]

_BAND_PX: Final = 1 << 19

# EXIF orientation -> how to turn, whether rows become columns, and whether the first ones become the last.
UPRIGHT: Final = {
    2: (Image.Transpose.FLIP_LEFT_RIGHT, False, False),
    3: (Image.Transpose.ROTATE_180, False, True),
    4: (Image.Transpose.FLIP_TOP_BOTTOM, False, True),
    5: (Image.Transpose.TRANSPOSE, True, False),
    6: (Image.Transpose.ROTATE_270, True, True),
    7: (Image.Transpose.TRANSVERSE, True, True),
    8: (Image.Transpose.ROTATE_90, True, False),
}


def to_upright_rgb(image: Image.Image, orientation: int, bit_depth: int, where: str) -> Pixels:
    """The pixels of an image that is loaded.

    Args:
        image: of any mode.
        orientation: as EXIF has it; what is not 2 to 8 is upright.
        bit_depth: of grey values with 16 bits.
        where: what errors call it.

    Returns:
        uint8 (H, W, 3), C-contiguous.

    Raises:
        ImageError: its values are out of range.
        Exception: Pillow's, of a conversion that it does not know.

    """
    _check_range(image, bit_depth, where)
    turn, swaps, reverses = UPRIGHT.get(orientation, (None, False, False))
    width, height = image.size
    pixels = np.empty((width, height, 3) if swaps else (height, width, 3), np.uint8)
    for top, band in _bands(image):
        rgb = _band_to_rgb(band, bit_depth)
        bottom = top + band.height
        place = slice(height - bottom, height - top) if reverses else slice(top, bottom)
        pixels[(slice(None), place) if swaps else place] = np.asarray(rgb if turn is None else rgb.transpose(turn))
    return pixels


def _bands(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """Parts of the image of whole rows, each with its first row; conversions look at one pixel at a time."""
    rows = max(1, _BAND_PX // image.width)
    if rows >= image.height:
        yield 0, image
        return
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def _check_range(image: Image.Image, bit_depth: int, where: str) -> None:
    if not is_grey(image) and image.mode != "F":
        return
    extremes = np.array([(values.min(), values.max()) for values in (np.asarray(band) for _, band in _bands(image))])
    low, high = extremes[:, 0].min(), extremes[:, 1].max()  # numpy's, which keep NaN
    if is_grey(image):
        check_values(int(low), int(high), bit_depth, where)
    elif not (low >= 0 and high <= 1):  # NaN fails this too
        raise ImageError(where, f"float image with values from {low:g} to {high:g}, expected 0 to 1")


def _band_to_rgb(band: Image.Image, bit_depth: int) -> Image.Image:
    if is_grey(band):
        values = np.asarray(band)
        levels = scale_values(values, bit_depth)
        if "transparency" in band.info:  # the value that is transparent
            levels[values == band.info["transparency"]] = 255
        return Image.fromarray(levels).convert("RGB")
    if band.mode == "F":
        return Image.fromarray(np.rint(np.asarray(band) * 255).astype(np.uint8)).convert("RGB")
    if band.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in band.info:
        return _over_white(band)
    return band if band.mode == "RGB" else band.convert("RGB")


def _over_white(band: Image.Image) -> Image.Image:
    if band.mode in ("La", "PA"):  # Pillow converts these to RGBA only by way of LA
        band = band.convert("LA" if band.mode == "La" else "RGBA")
    white = Image.new("RGBA", band.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, band.convert("RGBA")).convert("RGB")
