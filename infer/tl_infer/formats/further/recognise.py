"""Which of the formats that are read only if asked for a file has, whatever it is called, and opening it."""

import importlib
import io
from typing import Any, Final

from PIL import Image

from tl_infer.errors import ImageError
from tl_infer.formats.further import heif, jpeg2000, pnm, tga
from tl_infer.limits import Limits

_BRANDS: Final = dict.fromkeys((b"avif", b"avis"), "avif") | dict.fromkeys(
    (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"), "heic"
)
_NAMES: Final = {"avif": "AVIF", "heic": "HEIC", "jpeg2000": "JPEG 2000", "pnm": "PNM", "tga": "TGA"}
_MAX_BRANDS: Final = 32


def further_format(data: bytes) -> str | None:
    """One of `FURTHER_FORMATS`, or None."""
    if data[4:8] == b"ftyp":
        return _by_brand(data)
    if data.startswith((jpeg2000.CODESTREAM, jpeg2000.SIGNATURE)):
        return "jpeg2000"
    if data[:1] == b"P" and data[1:2] in (b"1", b"2", b"3", b"4", b"5", b"6") and data[2:3] in b" \t\n\v\f\r#":
        return "pnm"
    return "tga" if tga.is_tga(data) else None


def check_allowed(kind: str, where: str, limits: Limits) -> None:
    """Refuse a format that is not asked for.

    Raises:
        ImageError: it is not; says how to.

    """
    if kind not in limits.formats:
        raise ImageError(
            where, f"{_NAMES[kind]} images are read only if asked for: --formats {kind}, or Limits(formats=('{kind}',))"
        )


def check_further(kind: str, data: bytes, where: str, limits: Limits) -> None:
    """Look for too much, and for truncated data.

    Raises:
        ImageError: the file holds more than the limits allow, or less than it says.

    """
    if kind in ("avif", "heic"):
        heif.check_container(kind, data, where, limits)
    elif kind == "jpeg2000":
        jpeg2000.check_codestream(data, where, limits)
    elif kind == "pnm":
        pnm.check_header(data, where, limits)
    else:
        tga.check_tga(data, where, limits)


def open_further(kind: str, data: bytes, where: str, limits: Limits) -> Image.Image:
    """The image of a file that `check_further` has let pass.

    Raises:
        ImageError: the pixels of a PNM file are missing or out of range.
        Exception: Pillow's, of damage.

    """
    if kind == "pnm":
        return pnm.read_pnm(data, where, limits)
    image = _opener(kind)(io.BytesIO(data), "")
    return tga.without_padding(image, data) if kind == "tga" else image


def _opener(kind: str) -> Any:
    if kind == "heic":
        return importlib.import_module("pillow_heif").HeifImageFile
    module, name = {
        "avif": ("AvifImagePlugin", "AvifImageFile"),
        "jpeg2000": ("Jpeg2KImagePlugin", "Jpeg2KImageFile"),
        "tga": ("TgaImagePlugin", "TgaImageFile"),
    }[kind]
    return getattr(importlib.import_module(f"PIL.{module}"), name)


def _by_brand(data: bytes) -> str | None:
    size = int.from_bytes(data[:4], "big")
    brands = [data[place : place + 4] for place in (8, *range(16, min(size, 16 + 4 * _MAX_BRANDS), 4))]
    return next((_BRANDS[brand] for brand in brands if brand in _BRANDS), None)
