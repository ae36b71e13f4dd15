"""Any image -> upright RGB pixels: the one decoder that training, verification and inference share.

The rules (also the contract for callers in other languages): the first frame, EXIF orientation applied, stored
values without colour management, transparency over white, 16-bit grey scaled to 8 bits (of 16-bit colour the high
byte, unless a bit depth is given), grey repeated to RGB.
"""

import contextlib
import dataclasses
import io
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt
from PIL import Image, JpegImagePlugin, PngImagePlugin  # noqa: F401 - most files; `_open` finds them registered

from tl_infer.errors import ImageError, ImageTooLargeError, first_line
from tl_infer.formats.checks import TIFF, check_file
from tl_infer.formats.further.recognise import check_allowed, further_format
from tl_infer.formats.jpeg import Outline
from tl_infer.formats.jpeg_data import load_whole
from tl_infer.formats.jpeg_fast import decode_fast
from tl_infer.isolation.pool import DecodingPool, shared_pool
from tl_infer.limits import DEFAULT_LIMITS, FULL_DEPTH, Limits
from tl_infer.quiet import quiet, silence_libtiff
from tl_infer.rgb import UPRIGHT, to_upright_rgb
from tl_infer.sixteen_bit import DepthTally, colour_levels, is_grey, is_sixteen_bit
from tl_infer.system.files import read_bytes

Pixels = npt.NDArray[np.uint8]
ImageSource = str | os.PathLike[str] | bytes | Image.Image | npt.NDArray[Any]

# The version of these rules: what keeps what it made of images' pixels, makes it anew where this changes.
RULES: Final = 4

# Pillow's name of each format we decode. EPS stays out: reading it would start Ghostscript.
FORMATS: Final = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")

_EXIF_ORIENTATION: Final = 0x0112
_DECLARE_DEPTH: Final = ("JPEG2000",)  # how many bits are used, to which Pillow scales

# One for each PIL image that threads load at the same time; two images that share one wait for each other.
_loading: Final = [threading.Lock() for _ in range(64)]


def load_image(
    source: ImageSource,
    limits: Limits = DEFAULT_LIMITS,
    *,
    fast_for_px: int | None = None,
    tally: DepthTally | None = None,
    pool: DecodingPool | None = None,
) -> Pixels:
    """Decode an image to upright RGB.

    Args:
        source: a path, a file's bytes, a PIL image, or an array: uint8 (H, W) grey, (H, W, 3) RGB, (H, W, 4) RGBA.
        limits: what is refused before decoding, and how 16-bit images are scaled.
        fast_for_px: decode a JPEG at a half, a quarter or an eighth of its size if both sides keep at least so many
            pixels; much faster for large photos, but other pixels. None decodes at full size.
        tally: counts files of 16 bits a channel, where all 16 are taken for used.
        pool: of processes that decode, if the limits say `isolate`; None for one that all callers share.

    Returns:
        uint8 array (H, W, 3), C-contiguous; for an array that is one already, that array.

    Raises:
        ImageError: not an image, damaged, over a limit, or in a form without a defined conversion. The message begins
            with the path, or with what was given.
        TlError: the limits say `isolate`, and no process can be started.
        TypeError: `source` is of none of the types above.

    """
    if isinstance(source, np.ndarray):
        return _from_array(source, limits)
    if isinstance(source, Image.Image):
        return _from_pil(source, limits)
    if isinstance(source, bytes):
        data, where = source, f"{len(source)} bytes"
    elif isinstance(source, str | os.PathLike):
        data, where = read_file(Path(source), limits), str(source)
    else:
        found = f"found {type(source).__name__}{_instead(source)}"
        raise TypeError(f"expected a path, bytes, PIL image or array, {found}")
    if limits.isolate:
        return (pool or shared_pool(limits)).decode(data, where, fast_for_px, tally)
    return decode(data, where, limits, fast_for_px, tally)


def _instead(source: object) -> str:
    """What to give instead of what is none of our types."""
    if hasattr(source, "read"):
        return "; give what its read() returns"
    return "; give bytes(...) of it" if isinstance(source, bytearray | memoryview) else ""


def read_file(path: Path, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """The bytes of an image file, for `decode`.

    Raises:
        ImageError: no regular file, too large, or not readable.

    """
    try:
        return read_bytes(path, limits.max_file_bytes)
    except (OSError, ValueError) as error:
        raise ImageError(path, f"cannot be read: {first_line(error)}") from error


def decode(
    data: bytes,
    where: str,
    limits: Limits = DEFAULT_LIMITS,
    fast_for_px: int | None = None,
    tally: DepthTally | None = None,
) -> Pixels:
    """The upright RGB pixels in a file's bytes, as `load_image`; `where` is what errors call it."""
    with quiet():
        image, outline = _opened(data, where, limits)
        with image:
            if fast_for_px is not None and image.format == "JPEG":
                image.draft(None, (fast_for_px, fast_for_px))
            if image.format in _DECLARE_DEPTH:
                return _from_file(image, data, outline, where, dataclasses.replace(limits, bit_depth=None))
            if not is_sixteen_bit(image):
                return _from_file(image, data, outline, where, limits)
            if limits.depth < FULL_DEPTH:
                return _from_deep_file(image, data, where, limits)
            pixels = _from_file(image, data, outline, where, limits)
    if tally is not None:
        tally.add(int(pixels.max()))
    return pixels


def open_image(data: bytes, where: str, limits: Limits = DEFAULT_LIMITS) -> Image.Image:
    """A file's image as Pillow opens it, its size checked, its pixels not yet loaded.

    Raises:
        ImageError: not an image, truncated, or over a limit.

    """
    with quiet():
        return _opened(data, where, limits)[0]


def _opened(data: bytes, where: str, limits: Limits) -> tuple[Image.Image, Outline | None]:
    if not data:
        raise ImageError(where, "the file is empty")
    further = further_format(data)
    if further is not None:
        check_allowed(further, where, limits)
    outline = check_file(data, where, limits, further)
    if data.startswith(TIFF):
        silence_libtiff()
    if further is not None:
        from tl_infer.formats.further.checks import open_further  # here, because most programs read none

        with _failing_as("damaged image", where):
            image = open_further(further, data, where, limits)
    else:
        image = _open_usual(data, where)
    limits.check_pixels(image.width, image.height, where)
    return image, outline


def _open_usual(data: bytes, where: str) -> Image.Image:
    try:
        return _open(io.BytesIO(data))
    except Image.DecompressionBombError as error:  # some decoders look themselves, at the limit of the whole program
        raise ImageTooLargeError(where, f"{first_line(error)} (PIL.Image.MAX_IMAGE_PIXELS)") from error
    except Exception as error:
        if data.startswith(b"RIFF") and data[8:12] == b"WEBP":  # Pillow opens none that is not whole
            raise ImageError(where, "damaged image: it is truncated, or no WebP behind its start") from error
        raise ImageError(where, f"not an image in a known format ({', '.join(FORMATS)})") from error


def _open(file: BinaryIO) -> Image.Image:
    """As `Image.open`, which would hold the size against a limit of its own that belongs to the whole program."""
    start = file.read(16)
    file.seek(0)
    # Formats are imported as they are needed: most files are of those that are there, or of the few of `preinit`.
    for register in (None, Image.preinit, Image.init):
        if register is not None:
            register()
        for name in FORMATS:
            make, accepts = Image.OPEN.get(name, (None, None))
            if make and accepts and accepts(start) is True:
                return make(file, "")
    raise ValueError("no format accepts the file")


def _from_file(image: Image.Image, data: bytes, outline: Outline | None, where: str, limits: Limits) -> Pixels:
    if outline is not None and (pixels := decode_fast(image, data, outline)) is not None:
        orientation = _orientation(image)
        return pixels if orientation not in UPRIGHT else _upright(image, Image.fromarray(pixels), where, limits)
    with _failing_as("damaged image", where):
        if outline is not None and image.format in ("JPEG", "MPO"):
            load_whole(image, data, outline, where)
        else:
            image.load()
    return _upright(image, image, where, limits)


def _from_deep_file(image: Image.Image, data: bytes, where: str, limits: Limits) -> Pixels:
    """Of a file with 16 bits a channel and a bit depth: colours are decoded twice."""
    with _opened(data, where, limits)[0] as again:
        with _failing_as("damaged image", where):
            colours = image if is_grey(image) else colour_levels(image, again, limits.depth, where)
            image.load()
        return _upright(image, colours, where, limits)


def _from_pil(image: Image.Image, limits: Limits) -> Pixels:
    where = "PIL image"
    limits.check_pixels(image.width, image.height, where)
    with quiet():
        # Pillow reads pixels and EXIF at their first use, and gives other ones where two threads do so at once.
        with _loading[id(image) // 16 % len(_loading)]:
            with _failing_as("damaged, or closed or verified before", where):
                image.load()
            _orientation(image)
        return _upright(image, image, where, limits)


def _upright(image: Image.Image, colours: Image.Image, where: str, limits: Limits) -> Pixels:
    """The upright pixels of an image that is loaded; `colours` is the same with 8 bits a channel, or itself."""
    with _failing_as(f"cannot convert mode {image.mode} to RGB", where):
        return to_upright_rgb(colours, _orientation(image), limits.depth, where)


@contextlib.contextmanager
def _failing_as(problem: str, where: str) -> Iterator[None]:
    """Make an ImageError of whatever a library raises: a damaged image may give any exception."""
    try:
        yield
    except ImageError:
        raise
    except Exception as error:
        raise ImageError(where, f"{problem}: {first_line(error)}") from error


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 (upright) when there is none.

    Read after `load`: for TIFF, Pillow has turned the image by then and removed the tag.
    """
    try:
        return int(image.getexif().get(_EXIF_ORIENTATION, 1))
    except Exception:  # noqa: BLE001 - damaged EXIF is common and must not cost the image
        return 1


def _from_array(array: npt.NDArray[Any], limits: Limits) -> Pixels:
    where = f"array {array.dtype} {array.shape}"
    if array.dtype != np.uint8:
        raise ImageError(where, "expected uint8 values from 0 to 255")
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise ImageError(where, "expected (H, W), (H, W, 3) or (H, W, 4)")
    limits.check_pixels(array.shape[1], array.shape[0], where)
    if array.ndim == 2:
        array = np.repeat(array[:, :, np.newaxis], 3, axis=2)
    if array.shape[2] == 4:
        array = to_upright_rgb(Image.fromarray(array), 1, FULL_DEPTH, where)
    return np.ascontiguousarray(array)


def _after_fork() -> None:
    _loading[:] = [threading.Lock() for _ in _loading]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
