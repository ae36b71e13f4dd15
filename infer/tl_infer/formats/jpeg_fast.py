"""JPEG decoded by simplejpeg (the extra `fast`), where that gives the very pixels that Pillow gives.

Both are libjpeg-turbo, which simplejpeg hands the whole file at once. It is used only if it agrees with Pillow on
images made when it is first needed, and only for whole files: what libjpeg warns of, missing data above all, is left
to Pillow and to our rules for it. Its fast modes, which change pixels, are never used.
"""

import functools
import importlib.util
import io
from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile

from tl_infer.formats.jpeg import END_OF_IMAGE, Outline, missing_part

Pixels = npt.NDArray[np.uint8]
_Decode = Callable[[bytes | memoryview], Pixels]

_SUBSAMPLINGS: Final = ("4:4:4", "4:2:2", "4:2:0")


def decode_fast(image: Image.Image, data: bytes, outline: Outline) -> Pixels | None:
    """The pixels of a JPEG that Pillow has opened from `data`, not yet turned; None if Pillow is to decode it.

    Returns:
        uint8 (H, W, 3), C-contiguous; or None.

    """
    frame = outline.frame
    is_plain = image.format == "JPEG" and image.mode == "RGB" and frame is not None and frame.is_huffman
    if not is_plain or outline.end is None or ImageFile.LOAD_TRUNCATED_IMAGES:
        return None
    assert frame is not None
    # A JPEG that is to be reduced has another size by now.
    if image.size != (frame.width, frame.height) or missing_part(outline, data) or (decode := fast_decoder()) is None:
        return None
    try:
        pixels = decode(memoryview(data)[: outline.end + len(END_OF_IMAGE)])
    except (ValueError, MemoryError):
        return None
    return pixels if pixels.shape == (frame.height, frame.width, 3) else None


@functools.cache
def fast_decoder() -> _Decode | None:
    """The decoder of simplejpeg, if that is installed and agrees with Pillow; the first call takes milliseconds."""
    if importlib.util.find_spec("simplejpeg") is None:
        return None
    try:
        from simplejpeg import decode_jpeg

        def decode(data: bytes | memoryview) -> Pixels:
            pixels: Pixels = decode_jpeg(data, "RGB", fastdct=False, fastupsample=False, strict=True)
            return pixels

        return decode if all(map(functools.partial(_agrees, decode), _samples())) else None
    except Exception:  # noqa: BLE001 - an older version, or one that does not load: Pillow decodes as well
        return None


def _samples() -> list[bytes]:
    """An image of slopes and edges in the forms that cameras and programs write, of a size that fills no block."""
    y, x = np.mgrid[0:45, 0:67]
    pixels = np.stack([x * 3 % 256, y * 5 % 256, (x * y) % 256], axis=2).astype(np.uint8)
    samples = []
    for subsampling in _SUBSAMPLINGS:
        for progressive in (False, True):
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(
                buffer, "JPEG", quality=85, subsampling=subsampling, progressive=progressive
            )  # fmt: skip
            samples.append(buffer.getvalue())
    return samples


def _agrees(decode: _Decode, sample: bytes) -> bool:
    """Whether the pixels are Pillow's, and missing data are refused."""
    with Image.open(io.BytesIO(sample)) as image:
        is_equal = np.array_equal(decode(sample), np.asarray(image))
    try:
        decode(sample[:-40] + END_OF_IMAGE)
    except ValueError:
        return is_equal
    return False
