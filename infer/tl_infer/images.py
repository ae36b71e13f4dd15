"""Any image -> upright RGB pixels: the one decoder that training, verification and inference share.

The rules (also the contract for callers in other languages): the first frame, EXIF orientation applied, stored
values without colour management, transparency over white, 16-bit grey scaled to 8 bits (of 16-bit colour the high
byte, unless a bit depth is given), grey repeated to RGB.
"""

import io
import os
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt
import PIL
from PIL import Image

from tl_infer.errors import ImageError, first_line
from tl_infer.jpeg import has_more_scans
from tl_infer.limits import DEFAULT_LIMITS, FULL_DEPTH, Limits
from tl_infer.sixteen_bit import DepthTally, colour_levels, grey_levels, is_grey, is_sixteen_bit
from tl_infer.system.files import open_regular

Pixels = npt.NDArray[np.uint8]
ImageSource = str | os.PathLike[str] | bytes | Image.Image | npt.NDArray[Any]

# Names what decides the pixels of a file, for caches: these rules, and the library behind them.
DECODER: Final = f"rules 1, Pillow {PIL.__version__}"

# Pillow's name of each format we decode. EPS stays out: reading it would start Ghostscript.
FORMATS: Final = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")

_EXIF_ORIENTATION: Final = 0x0112
_UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_BAND_PX: Final = 256


def load_image(
    source: ImageSource,
    limits: Limits = DEFAULT_LIMITS,
    *,
    fast_for_px: int | None = None,
    tally: DepthTally | None = None,
) -> Pixels:
    """Decode an image to upright RGB.

    Args:
        source: a path, a file's bytes, a PIL image, or an array: uint8 (H, W) grey, (H, W, 3) RGB, (H, W, 4) RGBA.
        limits: what is refused before decoding, and how 16-bit images are scaled.
        fast_for_px: decode a JPEG at a half, a quarter or an eighth of its size if both sides keep at least so many
            pixels; much faster for large photos, but other pixels. None decodes at full size.
        tally: counts files of 16 bits a channel, where all 16 are taken for used.

    Returns:
        uint8 array (H, W, 3), C-contiguous; for an array that is one already, that array.

    Raises:
        ImageError: not an image, damaged, over a limit, or in a form without a defined conversion. The message begins
            with the path, or with what was given.
        TypeError: `source` is of none of the types above.

    """
    if isinstance(source, np.ndarray):
        return _from_array(source, limits)
    if isinstance(source, Image.Image):
        return _from_pil(source, "PIL image", limits)
    if isinstance(source, bytes):
        return decode(source, f"{len(source)} bytes", limits, fast_for_px, tally)
    if isinstance(source, str | os.PathLike):
        return decode(read_file(Path(source), limits), str(source), limits, fast_for_px, tally)
    raise TypeError(f"expected a path, bytes, PIL image or array, found {type(source).__name__}")


def read_file(path: Path, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """The bytes of an image file, for `decode`.

    Raises:
        ImageError: no regular file, too large, or not readable.

    """
    try:
        with open_regular(path, limits.max_file_bytes) as file:
            return file.read(limits.max_file_bytes)
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
    with open_image(data, where, limits) as image:
        if has_more_scans(data, limits.max_scans):
            raise ImageError(where, f"a JPEG of more than {limits.max_scans} scans, the limit")
        if fast_for_px is not None and image.format == "JPEG":
            image.draft(None, (fast_for_px, fast_for_px))
        if not is_sixteen_bit(image):
            return _from_pil(image, where, limits)
        if limits.depth < FULL_DEPTH:
            with open_image(data, where, limits) as again:
                return _from_pil(image, where, limits, again)
        pixels = _from_pil(image, where, limits)
        if tally is not None:
            tally.add(int(pixels.max()))
        return pixels


def open_image(data: bytes, where: str, limits: Limits = DEFAULT_LIMITS) -> Image.Image:
    """A file's image as Pillow opens it, its size checked, its pixels not yet loaded.

    Raises:
        ImageError: not an image, or over a limit.

    """
    if not data:
        raise ImageError(where, "the file is empty")
    try:
        image = _open(io.BytesIO(data))
    except Exception as error:
        raise ImageError(where, f"not an image in a known format ({', '.join(FORMATS)})") from error
    limits.check_pixels(image.width, image.height, where)
    return image


def _open(file: BinaryIO) -> Image.Image:
    """As `Image.open`, which would hold the size against a limit of its own that belongs to the whole program."""
    start = file.read(16)
    file.seek(0)
    for register in (Image.preinit, Image.init):  # most files are of the few formats that the first one knows
        register()
        for name in FORMATS:
            make, accepts = Image.OPEN.get(name, (None, None))
            if make and accepts and accepts(start) is True:
                return make(file, "")
    raise ValueError("no format accepts the file")


def _from_pil(image: Image.Image, where: str, limits: Limits, again: Image.Image | None = None) -> Pixels:
    """The upright RGB pixels of an image; of one with 16 bits a channel and a bit depth, it is there twice."""
    limits.check_pixels(image.width, image.height, where)
    try:
        colours = image if again is None or is_grey(image) else colour_levels(image, again, limits.depth, where)
        image.load()
    except ImageError:
        raise
    except Exception as error:
        raise ImageError(where, f"damaged image: {first_line(error)}") from error
    turn = _UPRIGHT.get(_orientation(image))
    try:
        rgb = _to_rgb(colours, where, limits.depth)
    except ImageError:
        raise
    except Exception as error:
        raise ImageError(where, f"cannot convert mode {image.mode} to RGB: {first_line(error)}") from error
    return np.array(rgb if turn is None else rgb.transpose(turn), dtype=np.uint8, order="C")


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 (upright) when there is none.

    Read after `load`: for TIFF, Pillow has turned the image by then and removed the tag.
    """
    try:
        return int(image.getexif().get(_EXIF_ORIENTATION, 1))
    except Exception:  # noqa: BLE001 - damaged EXIF is common and must not cost the image
        return 1


def _to_rgb(image: Image.Image, where: str, bit_depth: int) -> Image.Image:
    if is_grey(image):
        return Image.fromarray(grey_levels(np.asarray(image), bit_depth, where)).convert("RGB")
    if image.mode == "F":
        return Image.fromarray(_scale_floats(np.asarray(image), where)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        return _over_white(image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _over_white(image: Image.Image) -> Image.Image:
    if image.mode in ("La", "PA"):  # Pillow converts these to RGBA only by way of LA
        image = image.convert("LA" if image.mode == "La" else "RGBA")
    rgba = image.convert("RGBA")
    opaque = Image.new("RGB", rgba.size)
    for top in range(0, rgba.height, _BAND_PX):  # in bands: three more whole images would take a lot of memory
        band = rgba.crop((0, top, rgba.width, min(top + _BAND_PX, rgba.height)))
        white = Image.new("RGBA", band.size, (255, 255, 255, 255))
        opaque.paste(Image.alpha_composite(white, band).convert("RGB"), (0, top))
    return opaque


def _scale_floats(values: npt.NDArray[Any], where: str) -> Pixels:
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 1):  # NaN fails this too
        raise ImageError(where, f"float image with values from {low:g} to {high:g}, expected 0 to 1")
    scaled: Pixels = np.rint(values * 255).astype(np.uint8)
    return scaled


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
        array = np.asarray(_over_white(Image.fromarray(array)))
    return np.ascontiguousarray(array)
