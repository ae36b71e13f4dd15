"""HEVC data of a HEIC item: how large the picture is, and how many slices it has.

Source: ITU-T H.265, 7.3; ISO/IEC 14496-15, 8.3.3.1 (the configuration).
"""

from collections.abc import Iterator
from typing import Final

from tl_infer.formats.further.av1 import Coded
from tl_infer.formats.further.bits import Bits
from tl_infer.formats.further.boxes import Box, Reader

_SLICES: Final = range(32)
_PARAMETERS: Final = 33  # of a sequence
_LENGTH_PLACE, _ARRAYS_PLACE = 21, 22


def coded_hevc(reader: Reader, configuration: Box, data: bytes) -> Coded:
    """What the HEVC data of an item decode to.

    Raises:
        ImageError: truncated, without a picture or its size, or of several pictures.

    """
    settings = reader.data[configuration.start : configuration.end]
    length_bytes = 1 + (_number(reader, settings, _LENGTH_PLACE, 1)[0] & 3)
    width = height = pictures = slices = 0
    for unit in (*_configured(reader, settings), *_units(reader, data, length_bytes)):
        kind = unit[0] >> 1 & 63 if unit else -1
        if kind == _PARAMETERS:
            size = _picture_size(unit)
            width, height = max(width, size[0]), max(height, size[1])
        elif kind in _SLICES:
            slices += 1
            pictures += len(unit) > 2 and unit[2] >> 7
    if not width or not slices:
        raise reader.damaged("it is truncated: HEVC data without a picture")
    if pictures > 1:
        raise reader.damaged(f"{pictures} pictures in one image")
    return Coded(width, height, slices)


def _configured(reader: Reader, settings: bytes) -> Iterator[bytes]:
    """The units in the configuration."""
    place = _ARRAYS_PLACE
    arrays, place = _number(reader, settings, place, 1)
    for _ in range(arrays):
        count, place = _number(reader, settings, place + 1, 2)
        for _ in range(count):
            reader.count()
            length, place = _number(reader, settings, place, 2)
            yield settings[place : place + length]
            place += length


def _number(reader: Reader, data: bytes, place: int, size: int) -> tuple[int, int]:
    """A number in `data`, and where it ends."""
    if place + size > len(data):
        raise reader.damaged("it is truncated: a unit of its HEVC data ends after them")
    return int.from_bytes(data[place : place + size], "big"), place + size


def _units(reader: Reader, data: bytes, length_bytes: int) -> Iterator[bytes]:
    """The first bytes of each unit in the data."""
    place = 0
    while place < len(data):
        reader.count()
        length, place = _number(reader, data, place, length_bytes)
        if place + length > len(data):
            raise reader.damaged("it is truncated: a unit of its HEVC data ends after them")
        yield data[place : place + min(length, 1000)]
        place += length


def _picture_size(unit: bytes) -> tuple[int, int]:
    """Width and height in the parameters of a sequence, before cropping."""
    bits = Bits(unit[2:].replace(b"\0\0\3", b"\0\0"))  # without the bytes that keep start codes away
    bits.take(4)
    layers = bits.take(3)
    bits.take(1 + 96)  # nesting; profile and level
    if layers:
        present = [(bits.take(1), bits.take(1)) for _ in range(8)][:layers]
        for profile, level in present:
            bits.take(88 * profile + 8 * level)
    bits.exponential_golomb()  # its number
    if bits.exponential_golomb() == 3:  # 4:4:4
        bits.take(1)
    return bits.exponential_golomb(), bits.exponential_golomb()
