"""Which of the formats that are read only if asked for a file has, whatever it is called."""

from typing import Final

from tl_infer.errors import ImageError
from tl_infer.formats.further.tga import is_tga
from tl_infer.limits import Limits

CODESTREAM: Final = b"\xff\x4f\xff\x51"  # as JPEG 2000 begins, bare
SIGNATURE: Final = b"\0\0\0\x0cjP  \r\n\x87\n"  # and in a file of boxes
_BRANDS: Final = dict.fromkeys((b"avif", b"avis"), "avif") | dict.fromkeys(
    (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"), "heic"
)
_NAMES: Final = {"avif": "AVIF", "heic": "HEIC", "jpeg2000": "JPEG 2000", "pnm": "PNM", "tga": "TGA"}
_MAX_BRANDS: Final = 32


def further_format(data: bytes) -> str | None:
    """One of `FURTHER_FORMATS`, or None."""
    if data[4:8] == b"ftyp":
        return _by_brand(data)
    if data.startswith((CODESTREAM, SIGNATURE)):
        return "jpeg2000"
    if data[:1] == b"P" and data[1:2] in (b"1", b"2", b"3", b"4", b"5", b"6") and data[2:3] in b" \t\n\v\f\r#":
        return "pnm"
    return "tga" if is_tga(data) else None


def check_allowed(kind: str, where: str, limits: Limits) -> None:
    """Refuse a format that is not asked for.

    Raises:
        ImageError: it is not; says how to.

    """
    if kind not in limits.formats:
        raise ImageError(
            where, f"{_NAMES[kind]} images are read only if asked for: --formats {kind}, or Limits(formats=('{kind}',))"
        )


def _by_brand(data: bytes) -> str | None:
    size = int.from_bytes(data[:4], "big")
    brands = [data[place : place + 4] for place in (8, *range(16, min(size, 16 + 4 * _MAX_BRANDS), 4))]
    return next((_BRANDS[brand] for brand in brands if brand in _BRANDS), None)
