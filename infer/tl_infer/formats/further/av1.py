"""AV1 data of an AVIF item: how large its frames are, and how many. Source: AV1 bitstream specification, 5.3 to 5.5."""

import dataclasses
from collections.abc import Iterator
from typing import Final

from tl_infer.formats.further.bits import Bits
from tl_infer.formats.further.boxes import Reader

MAX_FRAMES: Final = 8  # of one image; layered ones have up to four
_SEQUENCE, _FRAME_HEADER, _FRAME = 1, 3, 6


@dataclasses.dataclass(frozen=True, slots=True)
class Coded:
    """What decoding an item takes: the largest width and height of its pictures, and how often it goes over them."""

    width: int
    height: int
    passes: int


def coded_av1(reader: Reader, data: bytes) -> Coded:
    """What the AV1 data of an item decode to.

    Raises:
        ImageError: truncated, without a sequence header, or of too many frames or units.

    """
    width = height = frames = 0
    for kind, unit in _units(reader, data):
        if kind == _SEQUENCE:
            size = _largest_frame(Bits(unit))
            width, height = max(width, size[0]), max(height, size[1])
        elif kind in (_FRAME_HEADER, _FRAME):
            frames += 1
    if not width or not frames:
        raise reader.damaged("it is truncated: AV1 data without a frame")
    if frames > MAX_FRAMES:
        raise reader.damaged(f"{frames} frames in one image, the limit is {MAX_FRAMES}")
    return Coded(width, height, frames)


def _units(reader: Reader, data: bytes) -> Iterator[tuple[int, bytes]]:
    """The kind of each unit, and its first bytes."""
    start = 0
    while start < len(data):
        reader.count()
        header = data[start]
        start += 2 if header & 4 else 1
        length = len(data) - start
        if header & 2:
            length, start = _leb128(data, start)
        if length < 0 or start + length > len(data):
            raise reader.damaged("it is truncated: a unit of its AV1 data ends after them")
        yield header >> 3 & 15, data[start : start + min(length, 200)]
        start += length


def _leb128(data: bytes, start: int) -> tuple[int, int]:
    """A number of up to eight bytes, and where it ends."""
    value = 0
    for index, byte in enumerate(data[start : start + 8]):
        value |= (byte & 127) << 7 * index
        if byte < 128:
            return value, start + index + 1
    return 1 << 62, start


def _largest_frame(bits: Bits) -> tuple[int, int]:
    """Width and height in a sequence header."""
    bits.take(4)  # profile, still picture
    if bits.take(1):  # reduced header
        bits.take(5)
    else:
        _skip_operating_points(bits)
    width_bits, height_bits = bits.take(4) + 1, bits.take(4) + 1
    return bits.take(width_bits) + 1, bits.take(height_bits) + 1


def _skip_operating_points(bits: Bits) -> None:
    delay_bits = 0
    if bits.take(1):  # timing
        bits.take(64)
        if bits.take(1):
            bits.variable_length()
        if bits.take(1):  # decoder model
            delay_bits = bits.take(5) + 1
            bits.take(32 + 10)
    has_delay = bits.take(1)
    for _ in range(bits.take(5) + 1):
        bits.take(12)
        if bits.take(5) > 7:
            bits.take(1)
        if delay_bits and bits.take(1):
            bits.take(2 * delay_bits + 1)
        if has_delay and bits.take(1):
            bits.take(4)
