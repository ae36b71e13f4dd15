"""The directory of a TIFF file: what its strips or tiles decode to, and whether they are all in the file.

A picture declared with 16 x 16 pixels can have one tile of 26,000 x 26,000, which libtiff decodes whole. Source of the
tags and types: TIFF 6.0; of the 64-bit form: https://www.awaresystems.be/imaging/tiff/bigtiff.html.
"""

import dataclasses
import struct
from collections.abc import Iterator
from typing import Final

from tl_infer.errors import ImageError, ImageTooLargeError
from tl_infer.formats.tiff_jpeg import JpegPieces
from tl_infer.limits import Limits

MAX_ENTRIES: Final = 65_535  # what the 32-bit form can have
MAX_VALUES: Final = 1_000_000  # of a tag, besides the places of strips and tiles; a 16-bit palette has 196,608

_WIDTH, _HEIGHT, _COMPRESSION, _SAMPLES, _PLANES = 256, 257, 259, 277, 284
_STRIPS, _ROWS, _STRIP_BYTES = 273, 278, 279
_TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES = 322, 323, 324, 325
_JPEG_TABLES = 347
_JPEG, _JPEG_BYTES = 513, 514  # of the old kind of JPEG compression
_LAYOUT: Final = frozenset((
    _WIDTH, _HEIGHT, _COMPRESSION, _SAMPLES, _PLANES, _STRIPS, _ROWS, _STRIP_BYTES, _TILE_WIDTH, _TILE_HEIGHT, _TILES,
    _TILE_BYTES, _JPEG_TABLES, _JPEG, _JPEG_BYTES,
))  # fmt: skip
_PLACES: Final = frozenset((_STRIPS, _STRIP_BYTES, _TILES, _TILE_BYTES))
_UNCOMPRESSED, _OLD_JPEG, _NEW_JPEG = 1, 6, 7
_MOST_SAMPLES = 6  # that Pillow decodes

_SIZES: Final = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_INTEGERS: Final = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}


@dataclasses.dataclass(frozen=True, slots=True)
class _Entry:
    tag: int
    kind: int
    count: int
    start: int  # of the values


class _Reader:
    """The first directory of a file; every method raises ImageError for what is damaged."""

    def __init__(self, data: bytes, where: str) -> None:
        self._data = data
        self._where = where
        self._order = ">" if data.startswith(b"MM") else "<"
        self._is_big = data[2:4] == b"+\0"
        if data[2:4] == b"\0+":  # Pillow takes it for the 32-bit form, libtiff for what it is
            raise ImageError(where, "a big-endian BigTIFF: not supported")

    def damaged(self, what: str) -> ImageError:
        return ImageError(self._where, f"damaged image: {what}")

    def unpack(self, form: str, start: int) -> tuple[int, ...]:
        try:
            return struct.unpack_from(self._order + form, self._data, start)
        except (struct.error, OverflowError) as error:
            raise self.damaged("it is truncated: the directory of the TIFF ends after the file") from error

    def entries(self) -> Iterator[_Entry]:
        """Those of the first directory that this module is about, and those with too many values."""
        (start,) = self.unpack("Q", 8) if self._is_big else self.unpack("I", 4)
        (count,) = self.unpack("Q", start) if self._is_big else self.unpack("H", start)
        if count > MAX_ENTRIES:
            raise ImageError(self._where, f"a TIFF directory of {count} entries, the limit is {MAX_ENTRIES}")
        form, size, start = ("HHQ", 20, start + 8) if self._is_big else ("HHI", 12, start + 2)
        inline = 8 if self._is_big else 4
        for at in range(start, start + count * size, size):
            tag, kind, values = self.unpack(form, at)
            if tag not in _LAYOUT and (values <= MAX_VALUES or _SIZES.get(kind, 1) == 1):
                continue
            place = at + size - inline
            if values * _SIZES.get(kind, 1) > inline:
                (place,) = self.unpack("Q" if self._is_big else "I", place)
            yield _Entry(tag, kind, values, place)

    def blob(self, entry: _Entry) -> bytes:
        return self._data[entry.start : entry.start + entry.count]

    def integers(self, entry: _Entry) -> tuple[int, ...]:
        if entry.kind not in _INTEGERS or entry.count == 0:
            raise self.damaged(f"TIFF tag {entry.tag} holds no integer")
        return self.unpack(f"{entry.count}{_INTEGERS[entry.kind]}", entry.start)


def check_layout(data: bytes, where: str, limits: Limits) -> None:
    """Refuse a TIFF whose strips or tiles are too large, too many, or not all in the file.

    Raises:
        ImageError: the layout is damaged, or a strip or tile lies behind the end.
        ImageTooLargeError: more pixels would be decoded than the limits allow.

    """
    reader = _Reader(data, where)
    layout: dict[int, _Entry] = {}
    for entry in reader.entries():
        if entry.tag not in _LAYOUT:
            raise ImageError(where, f"TIFF tag {entry.tag} has {entry.count} values, the limit is {MAX_VALUES}")
        if entry.tag in layout:  # Pillow and libtiff could take different ones
            raise reader.damaged(f"TIFF tag {entry.tag} is there twice")
        layout[entry.tag] = entry
    single = {tag: _first(reader, entry) for tag, entry in layout.items() if tag not in _PLACES | {_JPEG_TABLES}}
    if _WIDTH not in single or _HEIGHT not in single:
        raise reader.damaged("a TIFF without a width or height")
    limits.check_pixels(single[_WIDTH], single[_HEIGHT], where)
    most = _most_pieces(reader, single, where, limits)
    for tag in _PLACES & layout.keys():
        if layout[tag].count > most:
            raise reader.damaged(f"{layout[tag].count} strips or tiles, expected {most} at most")
    compression = single.get(_COMPRESSION, _UNCOMPRESSED)
    if compression != _UNCOMPRESSED:  # Pillow itself finds out what uncompressed data lacks
        tables = reader.blob(layout[_JPEG_TABLES]) if _JPEG_TABLES in layout else b""
        jpeg = JpegPieces(tables, where, limits) if compression in (_OLD_JPEG, _NEW_JPEG) else None
        for start, end in _pieces(reader, layout, single):
            if start >= len(data) or end > len(data):
                raise reader.damaged("it is truncated: a strip or tile of the TIFF lies behind the end")
            if jpeg is not None:
                jpeg.check(data[start : end if end > start else len(data)])


def _first(reader: _Reader, entry: _Entry) -> int:
    value = reader.integers(dataclasses.replace(entry, count=min(entry.count, 1)))[0]
    if value < 0:
        raise reader.damaged(f"TIFF tag {entry.tag} is {value}")
    return value


def _most_pieces(reader: _Reader, single: dict[int, int], where: str, limits: Limits) -> int:
    """How many strips or tiles there can be."""
    width, height = single[_WIDTH], single[_HEIGHT]
    planes = min(single.get(_SAMPLES, 1), _MOST_SAMPLES)
    if _TILE_WIDTH not in single and _TILE_HEIGHT not in single:
        return height * planes
    tile_width, tile_height = single.get(_TILE_WIDTH, 0), single.get(_TILE_HEIGHT, 0)
    if not tile_width or not tile_height:
        raise reader.damaged(f"tiles of {tile_width} x {tile_height} pixels")
    across, down = -(-width // tile_width), -(-height // tile_height)
    pixels = across * tile_width * down * tile_height
    if pixels > limits.max_pixels:
        raise ImageTooLargeError(
            where, f"{pixels} pixels in tiles of {tile_width} x {tile_height}, the limit is {limits.max_pixels} in all"
        )
    return across * down * planes


def _pieces(reader: _Reader, layout: dict[int, _Entry], single: dict[int, int]) -> Iterator[tuple[int, int]]:
    """Where each strip or tile starts and ends, as far as the file says it; 0 bytes where it does not."""
    for starts, sizes in ((_STRIPS, _STRIP_BYTES), (_TILES, _TILE_BYTES)):
        if starts in layout:
            places = reader.integers(layout[starts])
            lengths = reader.integers(layout[sizes]) if sizes in layout else ()
            for number, start in enumerate(places):
                yield start, start + (lengths[number] if number < len(lengths) else 0)
    if single.get(_JPEG) and single.get(_COMPRESSION) == _OLD_JPEG:
        yield single[_JPEG], single[_JPEG] + single.get(_JPEG_BYTES, 0)
