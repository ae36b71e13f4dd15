"""The headers of a JPEG 2000 file: its size, its tiles, and what OpenJPEG sets up for them before it decodes anything.

A few hundred bytes can ask for millions of code blocks or precincts, each a record in memory. Source: ISO/IEC 15444-1,
annexes A, B and I.
"""

import dataclasses
import struct
from typing import Final

from tl_infer.errors import ImageError
from tl_infer.formats.further.boxes import Reader
from tl_infer.formats.further.recognise import CODESTREAM
from tl_infer.limits import Limits

MAX_TILES: Final = 4096  # OpenJPEG has about 10 KB for each from the start
MAX_BLOCKS: Final = 2_000_000  # code blocks and precincts; usual ones have 1024 or 4096 pixels
MAX_PACKETS: Final = 10_000_000  # precincts times layers

_CODING, _COMPONENT, _TILE_PART, _DATA, _END = 0xFF52, 0xFF53, 0xFF90, 0xFF93, 0xFFD9
_CODING_BYTES, _COMPONENT_BYTES = 10, 7
_WHOLE: Final = 0xFF  # precincts as large as can be
_MAX_BOXES: Final = 1000
_MAX_HEADER_BYTES: Final = 100_000
_MOST_COMPONENTS: Final = 4  # that Pillow decodes
_MOST_LEVELS: Final = 32


@dataclasses.dataclass(frozen=True, slots=True)
class _Grid:
    """The image and its tiles on the reference grid: corners of the image, side and corner of the first tile."""

    left: int
    top: int
    right: int
    bottom: int
    tile_width: int
    tile_height: int
    tiles_left: int
    tiles_top: int
    components: int

    @property
    def size(self) -> tuple[int, int]:
        return self.right - self.left, self.bottom - self.top

    @property
    def tiles(self) -> int:
        across = -(-(self.right - self.tiles_left) // self.tile_width)
        return across * -(-(self.bottom - self.tiles_top) // self.tile_height)


def check_codestream(data: bytes, where: str, limits: Limits) -> None:
    """Refuse a file that takes more than the limits allow, or of which a part is missing.

    Raises:
        ImageError: damaged, truncated, or of too many boxes, tiles, code blocks or packets.
        ImageTooLargeError: too many pixels.

    """
    reader = Reader(data, where)
    start, end, declared = 0, len(data), None
    if not data.startswith(CODESTREAM):
        start, end, declared = _find_codestream(reader)
    if data[start : start + 4] != CODESTREAM:
        raise reader.damaged("no JPEG 2000 codestream where one is expected")
    grid = _read_size(reader, start + 4, end)
    limits.check_pixels(*grid.size, where)
    if declared is not None and declared != grid.size:
        raise reader.damaged(f"it declares {declared[0]} x {declared[1]} and {grid.size[0]} x {grid.size[1]} pixels")
    if grid.tiles > MAX_TILES:
        raise ImageError(where, f"a JPEG 2000 image of {grid.tiles} tiles, the limit is {MAX_TILES}")
    _Walk(reader, grid, where, start + 2, end).run()


def _find_codestream(reader: Reader) -> tuple[int, int, tuple[int, int] | None]:
    """Start and end of the first codestream among the boxes, and the size declared before it."""
    declared = None
    for number, box in enumerate(reader.boxes(0, len(reader.data))):
        if number > _MAX_BOXES or (box.kind == b"jp2h" and box.end - box.start > _MAX_HEADER_BYTES):
            raise reader.damaged(f"more than {_MAX_BOXES} boxes or {_MAX_HEADER_BYTES} bytes of header")
        if box.kind == b"jp2h":
            for inner in reader.boxes(box.start, box.end):
                if inner.kind == b"ihdr":
                    height, width = (reader.number(inner.start + place, 4, inner.end) for place in (0, 4))
                    declared = (width, height)
        if box.kind == b"jp2c":
            return box.start, box.end, declared
    raise reader.damaged("it is truncated: there is no codestream")


def _read_size(reader: Reader, start: int, end: int) -> _Grid:
    form = ">HHIIIIIIIIH"
    if start + struct.calcsize(form) > end:
        raise reader.damaged("it is truncated: its header ends after the file")
    _, _, right, bottom, left, top, width, height, tiles_left, tiles_top, components = struct.unpack_from(
        form, reader.data, start
    )
    inside = left < right and top < bottom and tiles_left <= left and tiles_top <= top
    if not inside or not width or not height or left >= tiles_left + width or top >= tiles_top + height:
        raise reader.damaged("the first tile of the image lies outside of it")
    if not 1 <= components <= _MOST_COMPONENTS:
        raise reader.damaged(f"{components} components, expected 1 to {_MOST_COMPONENTS}")
    return _Grid(left, top, right, bottom, width, height, tiles_left, tiles_top, components)


class _Walk:
    """Goes through the main header and those of the tile parts, up to the end marker."""

    def __init__(self, reader: Reader, grid: _Grid, where: str, start: int, end: int) -> None:
        self._reader = reader
        self._grid = grid
        self._where = where
        self._position = start
        self._end = end
        self._part_end = 0  # of the current tile part
        self._tiles: set[int] = set()
        self._checked: set[tuple[int, bytes]] = set()
        self._layers = 1

    def run(self) -> None:
        """Raise ImageError for what is missing or too much."""
        while (marker := self._marker()) != _END:
            if marker == _DATA:
                if not self._part_end:
                    raise self._reader.damaged("data before the first tile")
                self._position = self._part_end
            else:
                self._take_segment(marker)
        if len(self._tiles) < self._grid.tiles:
            found = f"{len(self._tiles)} of {self._grid.tiles}"
            raise self._reader.damaged(f"it is truncated: {found} tiles are there")

    def _marker(self) -> int:
        self._reader.count()
        if self._position + 2 > self._end:
            raise self._reader.damaged("it is truncated: there is no end marker")
        marker = self._reader.number(self._position, 2, self._end)
        if marker < 0xFF00:
            raise self._reader.damaged("no marker where one is expected in its JPEG 2000 data")
        return marker

    def _take_segment(self, marker: int) -> None:
        start = self._position + 4
        length = self._reader.number(self._position + 2, 2, self._end)
        if length < 2 or start + length - 2 > self._end:
            raise self._reader.damaged("it is truncated: a segment of its header ends after it")
        segment = self._reader.data[start : start + length - 2]
        if marker == _TILE_PART:
            self._begin_part(start, start + length - 2)
        elif marker == _CODING and len(segment) >= _CODING_BYTES:
            self._layers = max(self._layers, int.from_bytes(segment[2:4], "big"))
            self._check_coding(segment[0], segment[5:])
        elif marker == _COMPONENT and len(segment) >= _COMPONENT_BYTES:
            self._check_coding(segment[1], segment[2:])
        elif marker in (_CODING, _COMPONENT):
            raise self._reader.damaged("a segment of its header is too short")
        self._position = start + length - 2

    def _begin_part(self, start: int, stop: int) -> None:
        self._tiles.add(self._reader.number(start, 2, stop))
        length = self._reader.number(start + 2, 4, stop)
        self._part_end = self._position + length if length else self._end - 2  # the last one need not say it
        if self._part_end <= stop or self._part_end > self._end - 2:
            raise self._reader.damaged("it is truncated: the data of a tile end after the file")

    def _check_coding(self, style: int, coding: bytes) -> None:
        key = (self._layers, style.to_bytes(1, "big") + coding)
        if key in self._checked:
            return
        self._checked.add(key)
        self._reader.count(100)  # what a new one costs to look at
        blocks, precincts = _blocks_and_precincts(self._grid, coding, has_precincts=bool(style & 1))
        if blocks + precincts > MAX_BLOCKS:
            raise ImageError(
                self._where, f"a JPEG 2000 image of up to {blocks + precincts} blocks, the limit is {MAX_BLOCKS}"
            )
        if precincts * self._layers > MAX_PACKETS:
            raise ImageError(
                self._where, f"a JPEG 2000 image of {precincts * self._layers} packets, the limit is {MAX_PACKETS}"
            )


def _blocks_and_precincts(grid: _Grid, coding: bytes, *, has_precincts: bool) -> tuple[int, int]:
    """How many code blocks and precincts there are at most, if all components are coded so."""
    levels = min(coding[0], _MOST_LEVELS)
    block_width, block_height = (coding[1] & 15) + 2, (coding[2] & 15) + 2
    width, height = min(grid.tile_width, grid.size[0]), min(grid.tile_height, grid.size[1])
    blocks = precincts = 0
    for level in range(levels + 1):
        shift = levels - level
        size = coding[5 + level] if has_precincts and len(coding) > 5 + level else _WHOLE
        across, down = -(-width >> shift), -(-height >> shift)
        precincts += _cells(across, size & 15) * _cells(down, size >> 4)
        halved = 1 if level else 0  # three bands of half the size
        sides = (min(block_width, max((size & 15) - halved, 0)), min(block_height, max((size >> 4) - halved, 0)))
        blocks += (3 if level else 1) * _cells(across >> halved, sides[0]) * _cells(down >> halved, sides[1])
    each = grid.tiles * grid.components
    return each * blocks, each * precincts


def _cells(length: int, exponent: int) -> int:
    """How many cells of a power of two can overlap so many pixels."""
    return -(-length >> exponent) + 1
