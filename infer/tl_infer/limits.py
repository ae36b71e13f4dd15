"""What decoding an image may take, and how 16-bit images are scaled."""

import dataclasses
import importlib.util
import os
import sys
from collections.abc import Iterable
from typing import Final

from tl_infer.errors import ImageError, ImageTooLargeError

# Of images with 16 bits a channel.
FULL_DEPTH: Final = 16
MIN_DEPTH: Final = 8

MAX_SECONDS: Final = 86_400

# Read only if asked for, besides JPEG, PNG, WebP, GIF, BMP and TIFF.
FURTHER_FORMATS: Final = ("avif", "heic", "jpeg2000", "pnm", "tga")
_OF_SUFFIX: Final = {
    ".avif": "avif", ".heic": "heic", ".heif": "heic", ".hif": "heic",
    ".jp2": "jpeg2000", ".j2k": "jpeg2000", ".jpx": "jpeg2000",
    ".pbm": "pnm", ".pgm": "pnm", ".pnm": "pnm", ".ppm": "pnm", ".tga": "tga",
}  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """What decoding an image may take: what exceeds a maximum is refused before it is decoded.

    Attributes:
        max_file_bytes: size of the file, bytes; does not apply to bytes, which are in memory already.
        max_pixels: width times height, pixels; of a TIFF also of all its tiles. Decoding takes about 8 bytes of memory
            for each besides the file, of a progressive JPEG 12, of WebP 20, of 16-bit colour with a bit depth 44 (for
            those of `formats` see SECURITY.md); the result takes three of them.
        max_side_px: width and height, pixels; resizing an image of extreme shape would need memory out of proportion
            to its pixels.
        max_scans: passes over a progressive JPEG, of which encoders write about ten, and slices of a HEIC image; each
            costs as much time as an image.
        fast_decode: let a `Classifier` decode large JPEGs at a reduced scale, at least twice the network's input:
            much faster, and the answers change a little.
        bit_depth: how many of their 16 bits images of 16 bits a channel use, 8 to 16, as cameras of 10 or 12 bits
            store them; a value that needs more is an error. None: for a `Classifier` what its model says, else 16.
        formats: what is read besides JPEG, PNG, WebP, GIF, BMP and TIFF: of avif, heic (needs the extra `heif`),
            jpeg2000, pnm (PPM, PGM, PBM) and tga. Each is a further decoder that strangers can reach.
        isolate: decode files and their bytes in other processes, which may crash or be stopped: one error, and the next
            image is unharmed. For services that take files from strangers. Not on Windows, nor in a frozen program.
        max_seconds: how long such a process may take for one image.
        max_bytes: memory (address space) that it may take for decoding, beyond what it starts with.

    Raises:
        ValueError: a maximum below 1, a bit depth out of range, a format that is unknown or whose library is missing,
            or `isolate` where it is not possible; the message begins with its name.

    """

    max_file_bytes: int = 200_000_000
    max_pixels: int = 50_000_000
    max_side_px: int = 65_535
    max_scans: int = 100
    fast_decode: bool = False
    bit_depth: int | None = None
    formats: tuple[str, ...] = ()
    isolate: bool = False
    max_seconds: float = 10.0
    max_bytes: int = 2_000_000_000

    def __post_init__(self) -> None:
        for name in ("max_file_bytes", "max_pixels", "max_side_px", "max_scans", "max_bytes"):
            if not getattr(self, name) >= 1:  # NaN fails this too
                raise ValueError(f"{name}: found {getattr(self, name)}, expected 1 or more")
        if self.bit_depth is not None and not MIN_DEPTH <= self.bit_depth <= FULL_DEPTH:
            raise ValueError(f"bit_depth: found {self.bit_depth}, expected {MIN_DEPTH} to {FULL_DEPTH}")
        if not 0 < self.max_seconds <= MAX_SECONDS:  # NaN fails this too
            raise ValueError(f"max_seconds: found {self.max_seconds}, expected above 0, at most {MAX_SECONDS}")
        _check_formats(self.formats)
        if self.isolate:
            _check_isolate()

    @property
    def depth(self) -> int:
        """The bit depth that images of 16 bits a channel are scaled from."""
        return FULL_DEPTH if self.bit_depth is None else self.bit_depth

    def check_pixels(self, width: int, height: int, where: str) -> None:
        """Refuse a size in pixels.

        Raises:
            ImageError: too large, or without pixels.

        """
        if width < 1 or height < 1:
            raise ImageError(where, f"image of {width} x {height} pixels")
        if width * height > self.max_pixels:
            raise ImageTooLargeError(where, f"{width} x {height} pixels, the limit is {self.max_pixels} in all")
        if max(width, height) > self.max_side_px:
            raise ImageTooLargeError(where, f"{width} x {height} pixels, the limit is {self.max_side_px} for a side")


def parse_formats(text: str) -> tuple[str, ...]:
    """The names in a text, separated by commas, in the order of `FURTHER_FORMATS`; unknown ones come last."""
    names = {name.strip().lower() for name in text.split(",") if name.strip()}
    return (*(name for name in FURTHER_FORMATS if name in names), *sorted(names.difference(FURTHER_FORMATS)))


def formats_named(paths: Iterable[str]) -> set[str]:
    """The further formats that the suffixes of these paths ask for."""
    suffixes = {os.path.splitext(path)[1].lower() for path in paths}  # noqa: PTH122 - a pattern is not a path
    return {_OF_SUFFIX[suffix] for suffix in suffixes if suffix in _OF_SUFFIX}


def _check_formats(formats: tuple[str, ...]) -> None:
    known = ", ".join(FURTHER_FORMATS)
    if not isinstance(formats, tuple):
        raise ValueError(f"formats: found {formats!r}, expected a tuple of {known}")
    for name in formats:
        if name not in FURTHER_FORMATS:
            raise ValueError(f"formats: found {name!r}, expected of {known}")
    if "heic" in formats and importlib.util.find_spec("pillow_heif") is None:
        raise ValueError("formats: heic needs a library; install it with: pip install 'tl-toolkit[heif]'")
    if "avif" in formats or "jpeg2000" in formats:
        from PIL import features  # here, because it is slow to load and rarely needed

        for name, feature in (("avif", "avif"), ("jpeg2000", "jpg_2000")):
            if name in formats and not features.check(feature):
                raise ValueError(f"formats: the installed Pillow is built without {name}; its wheels on PyPI have it")


def _check_isolate() -> None:
    if importlib.util.find_spec("resource") is None:
        raise ValueError("isolate: this system has no limits on processes")
    if getattr(sys, "frozen", False) or not sys.executable:  # starting that would start the whole program again
        raise ValueError(
            "isolate: needs a Python to start processes with, and this program is frozen or embeds its own"
        )


DEFAULT_LIMITS: Final = Limits()
