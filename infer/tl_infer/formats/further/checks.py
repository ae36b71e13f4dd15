"""What is looked at in a file of a format that is read only if asked for, and opening it."""

import importlib
import io
from typing import Any

from PIL import Image

from tl_infer.formats.further import heif, jpeg2000, pnm, tga
from tl_infer.limits import Limits


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
