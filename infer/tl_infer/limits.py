"""What decoding an image may take, and how 16-bit images are scaled."""

import dataclasses
import importlib.util
from typing import Final

from tl_infer.errors import ImageError, ImageTooLargeError

# Of images with 16 bits a channel.
FULL_DEPTH: Final = 16
MIN_DEPTH: Final = 8

MAX_SECONDS: Final = 86_400


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """What decoding an image may take: what exceeds a maximum is refused before it is decoded.

    Attributes:
        max_file_bytes: size of the file, bytes; does not apply to bytes, which are in memory already.
        max_pixels: width times height, pixels; of a TIFF also of all its tiles. Decoding takes about 8 bytes of memory
            for each besides the file, of a progressive JPEG 12, of WebP 20, of 16-bit colour with a bit depth 44; the
            result takes three of them.
        max_side_px: width and height, pixels; resizing an image of extreme shape would need memory out of proportion
            to its pixels.
        max_scans: passes over a progressive JPEG; encoders write about ten, and each costs as much time as an image.
        fast_decode: let a `Classifier` decode large JPEGs at a reduced scale, at least twice the network's input:
            much faster, and the answers change a little.
        bit_depth: how many of their 16 bits images of 16 bits a channel use, 8 to 16, as cameras of 10 or 12 bits
            store them; a value that needs more is an error. None: for a `Classifier` what its model says, else 16.
        isolate: decode files and their bytes in other processes, which may crash or be stopped: one error, and the next
            image is unharmed. For services that take files from strangers. Not on Windows.
        max_seconds: how long such a process may take for one image.
        max_bytes: memory (address space) that it may take for decoding, beyond what it starts with.

    Raises:
        ValueError: a maximum below 1, a bit depth out of range, or `isolate` where it is not possible; the message
            begins with its name.

    """

    max_file_bytes: int = 200_000_000
    max_pixels: int = 50_000_000
    max_side_px: int = 65_535
    max_scans: int = 100
    fast_decode: bool = False
    bit_depth: int | None = None
    isolate: bool = False
    max_seconds: float = 10.0
    max_bytes: int = 2_000_000_000

    def __post_init__(self) -> None:
        for name in ("max_file_bytes", "max_pixels", "max_side_px", "max_scans", "max_bytes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: found {getattr(self, name)}, expected 1 or more")
        if self.bit_depth is not None and not MIN_DEPTH <= self.bit_depth <= FULL_DEPTH:
            raise ValueError(f"bit_depth: found {self.bit_depth}, expected {MIN_DEPTH} to {FULL_DEPTH}")
        if not 0 < self.max_seconds <= MAX_SECONDS:  # NaN fails this too
            raise ValueError(f"max_seconds: found {self.max_seconds}, expected above 0, at most {MAX_SECONDS}")
        if self.isolate and importlib.util.find_spec("resource") is None:
            raise ValueError("isolate: this system has no limits on processes")

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


DEFAULT_LIMITS: Final = Limits()
