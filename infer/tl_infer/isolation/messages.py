"""What this process and a decoding process say to each other: records of a fixed size, never pickled.

File and pixels go through memory that both have mapped.
"""

import dataclasses
import struct
from typing import Final, Self

from tl_infer.limits import Limits

READY, PIXELS, REFUSED, TOO_LARGE, NO_MEMORY = range(5)

_REQUEST: Final = struct.Struct("<QQqQQQBB")
_ANSWER: Final = struct.Struct("<BIIBH")
_TEXT_BYTES: Final = 480
REQUEST_BYTES: Final = _REQUEST.size
ANSWER_BYTES: Final = _ANSWER.size + _TEXT_BYTES


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """One file to decode.

    Attributes:
        file_bytes: size of the file, which lies at the beginning of the memory.
        memory_bytes: size of the memory.
        fast_for_px: as for `load_image`.
        limits: on what is decoded.
        tallied: 16-bit images are looked at for the bits that they use.

    """

    file_bytes: int
    memory_bytes: int
    fast_for_px: int | None
    limits: Limits
    tallied: bool

    def pack(self) -> bytes:
        """As bytes."""
        limits, fast = self.limits, -1 if self.fast_for_px is None else self.fast_for_px
        numbers = (limits.max_pixels, limits.max_side_px, limits.max_scans, limits.bit_depth or 0)
        return _REQUEST.pack(self.file_bytes, self.memory_bytes, fast, *numbers, self.tallied)

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """From bytes."""
        file_bytes, memory_bytes, fast, pixels, side_px, scans, depth, tallied = _REQUEST.unpack(data)
        limits = Limits(max_pixels=pixels, max_side_px=side_px, max_scans=scans, bit_depth=depth or None)
        return cls(file_bytes, memory_bytes, None if fast < 0 else fast, limits, bool(tallied))


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What became of it.

    Attributes:
        kind: one of the constants above.
        height, width: of the pixels, which lie at the beginning of the memory.
        depth: bits that a 16-bit image uses; 0 if it is none.
        text: why it was refused.

    """

    kind: int
    height: int = 0
    width: int = 0
    depth: int = 0
    text: str = ""

    def pack(self) -> bytes:
        """As bytes."""
        text = self.text.encode("utf-8", "replace")[:_TEXT_BYTES]
        return _ANSWER.pack(self.kind, self.height, self.width, self.depth, len(text)) + text.ljust(_TEXT_BYTES, b"\0")

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """From bytes, which may be anything."""
        kind, height, width, depth, length = _ANSWER.unpack_from(data)
        text = data[_ANSWER.size :][:length].decode("utf-8", "replace")
        return cls(kind, height, width, depth, text)
