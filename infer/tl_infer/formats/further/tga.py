"""TGA files, which begin with no signature: what the header must say, and what alpha is. Source: Truevision TGA 2.0."""

import dataclasses
import struct
from typing import Final

from PIL import Image

from tl_infer.errors import ImageError
from tl_infer.limits import Limits

_HEADER: Final = struct.Struct("<BBBHHBHHHHBB")
_RUN_LENGTH: Final = 8
_DEPTHS: Final = {1: (8,), 2: (16, 24, 32), 3: (8, 16)}  # bits a pixel: with a colour map, of colour, of grey
_MAP_DEPTHS: Final = (16, 24, 32)
_ALPHA_OF: Final = {(2, 32): 8, (3, 16): 8}  # bits of alpha that a pixel has room for


@dataclasses.dataclass(frozen=True, slots=True)
class _Header:
    """The first 18 bytes; attributes as the specification orders them."""

    id_bytes: int
    has_map: int
    kind: int
    map_start: int
    map_length: int
    map_depth: int
    left: int
    top: int
    width: int
    height: int
    depth: int
    flags: int

    @property
    def form(self) -> int:
        """1 with a colour map, 2 colour, 3 grey; whether the data are run-length encoded or not."""
        return self.kind & ~_RUN_LENGTH

    @property
    def is_sound(self) -> bool:
        """Whether its values fit together: all that tells such a file from others."""
        has_right_map = self.map_depth in _MAP_DEPTHS and self.map_length > 0 if self.has_map else self.map_length == 0
        return (
            self.has_map in (0, 1)
            and self.depth in _DEPTHS.get(self.form, ())
            and (self.form != 1 or self.has_map == 1)
            and has_right_map
            and self.width > 0
            and self.height > 0
            and self.flags & 0xC0 == 0
        )

    @property
    def has_alpha(self) -> bool:
        """Whether it declares alpha; of 16-bit colour, one bit is not taken for it."""
        return self.flags & 15 == _ALPHA_OF.get((self.form, self.depth))

    @property
    def data_start(self) -> int:
        map_bytes = self.map_length * self.map_depth // 8 if self.has_map else 0
        return _HEADER.size + self.id_bytes + map_bytes


def is_tga(data: bytes) -> bool:
    """Whether the bytes begin as such a file does."""
    return len(data) >= _HEADER.size and _Header(*_HEADER.unpack_from(data)).is_sound


def check_tga(data: bytes, where: str, limits: Limits) -> None:
    """Refuse a file that is too large, or of which a part is missing; run-length encoding is left to the decoder.

    Raises:
        ImageError: truncated.
        ImageTooLargeError: too many pixels.

    """
    header = _Header(*_HEADER.unpack_from(data))
    limits.check_pixels(header.width, header.height, where)
    row_bytes = -(-header.width * header.depth // 8)
    data_bytes = 0 if header.kind & _RUN_LENGTH else row_bytes * header.height
    if header.data_start + data_bytes > len(data):
        raise ImageError(where, "damaged image: it is truncated: pixels are missing")


def without_padding(image: Image.Image, data: bytes) -> Image.Image:
    """An image that Pillow has opened, its fourth or second byte taken for alpha only where the file declares it."""
    if image.mode not in ("RGBA", "LA") or _Header(*_HEADER.unpack_from(data)).has_alpha:
        return image
    return image.convert("RGB" if image.mode == "RGBA" else "L")
