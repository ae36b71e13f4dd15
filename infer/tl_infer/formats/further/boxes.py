"""The boxes of an AVIF or HEIC file: its items, where their data lie, and how they belong together.

Source: ISO/IEC 14496-12 (ISO base media file format, 8.11) and ISO/IEC 23008-12 (HEIF).
"""

import dataclasses
from collections.abc import Iterator
from typing import Final

from tl_infer.errors import ImageError

MAX_ENTRIES: Final = (
    100_000  # boxes, items, extents, properties and references; a 200-megapixel photo has a few thousand
)

_REST, _LONG = 0, 1  # as the size of a box: up to the end, and 64 bits that follow


@dataclasses.dataclass(frozen=True, slots=True)
class Box:
    """A box; `start` and `end` are those of its content."""

    kind: bytes
    start: int
    end: int


@dataclasses.dataclass(slots=True)
class Item:
    """An item: an image, a cell of one, or something else such as EXIF.

    Attributes:
        kind: four letters.
        extents: the parts of its data in the file, each with start and end.
        properties: boxes that describe it.

    """

    kind: bytes = b""
    extents: list[tuple[int, int]] = dataclasses.field(default_factory=list)
    properties: list[Box] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(slots=True)
class Items:
    """All items of a file by their numbers.

    Attributes:
        primary: the number of the image that is shown.
        references: kind, number of the item that refers, numbers of those referred to.

    """

    primary: int = -1
    items: dict[int, Item] = dataclasses.field(default_factory=dict)
    references: list[tuple[bytes, int, tuple[int, ...]]] = dataclasses.field(default_factory=list)

    def item(self, number: int) -> Item:
        """The item of a number, a new one if there is none."""
        return self.items.setdefault(number, Item())


class Reader:
    """Numbers and boxes of a file; every method raises ImageError for what is damaged or too much."""

    def __init__(self, data: bytes, where: str) -> None:
        self.data = data
        self._where = where
        self._entries = 0

    def damaged(self, what: str) -> ImageError:
        """An error of this file."""
        return ImageError(self._where, f"damaged image: {what}")

    def count(self, entries: int = 1) -> None:
        """Count what is gone through one by one."""
        self._entries += entries
        if self._entries > MAX_ENTRIES:
            raise ImageError(self._where, f"more than {MAX_ENTRIES} boxes and entries, the limit")

    def number(self, start: int, size: int, end: int) -> int:
        """A big-endian number of `size` bytes, which may be 0."""
        if start + size > end:
            raise self.damaged("a box is shorter than what it holds")
        return int.from_bytes(self.data[start : start + size], "big")

    def boxes(self, start: int, end: int) -> Iterator[Box]:
        """The boxes one after another; fewer than eight bytes at the end are left alone."""
        while start + 8 <= end:
            self.count()
            size, kind, header = self.number(start, 4, end), self.data[start + 4 : start + 8], 8
            if size == _LONG:
                size, header = self.number(start + 8, 8, end), 16
            stop = end if size == _REST else start + size
            if stop < start + header:
                raise self.damaged("a box has a size smaller than its header")
            if stop > end:
                raise self.damaged(f"it is truncated: the box {_printable(kind)} is not whole")
            yield Box(kind, start + header, stop)
            start = stop

    def unique(self, start: int, end: int) -> dict[bytes, Box]:
        """Boxes by their kind, which each has for itself: of two, libraries could take different ones."""
        found: dict[bytes, Box] = {}
        for box in self.boxes(start, end):
            if box.kind in found and box.kind != b"free":
                raise self.damaged(f"the box {_printable(box.kind)} is there twice")
            found[box.kind] = box
        return found


class Cursor:
    """Reads one number after another from a box."""

    def __init__(self, reader: Reader, box: Box) -> None:
        """Begin behind the version and flags of the box, which are kept as attributes."""
        self._reader = reader
        self._end = box.end
        self.position = box.start
        self.version = self.number(1)
        self.flags = self.number(3)

    def number(self, size: int) -> int:
        """The next number of so many bytes."""
        value = self._reader.number(self.position, size, self._end)
        self.position += size
        return value

    def repeated(self, size: int) -> Iterator[None]:
        """As often as the next number of so many bytes says."""
        count = self.number(size)
        self._reader.count(count)
        for _ in range(count):
            yield


def read_items(reader: Reader) -> Items:
    """The items of a file.

    Raises:
        ImageError: damaged, truncated, of too many boxes or items, or an image sequence.

    """
    file = {box.kind: box for box in reader.boxes(0, len(reader.data))}
    if b"moov" in file:
        raise reader.damaged("it is an image sequence, expected a single image")
    if b"meta" not in file:
        raise reader.damaged("it is truncated: there is no box that says where the image is")
    meta = reader.unique(file[b"meta"].start + 4, file[b"meta"].end)
    missing = [_printable(kind) for kind in (b"pitm", b"iinf", b"iloc", b"iprp") if kind not in meta]
    if missing:
        raise reader.damaged(f"without the box {missing[0]}")
    items = Items()
    primary = Cursor(reader, meta[b"pitm"])
    items.primary = primary.number(2 if primary.version == 0 else 4)
    _read_kinds(reader, meta[b"iinf"], items)
    _read_places(reader, meta, items)
    _read_properties(reader, meta[b"iprp"], items)
    if b"iref" in meta:
        _read_references(reader, meta[b"iref"], items)
    return items


def content(reader: Reader, item: Item) -> bytes:
    """An item's data."""
    return b"".join(reader.data[start:end] for start, end in item.extents)


def _read_kinds(reader: Reader, box: Box, items: Items) -> None:
    cursor = Cursor(reader, box)
    start = cursor.position + (2 if cursor.version == 0 else 4)
    for entry in reader.boxes(start, box.end):
        one = Cursor(reader, entry)
        if entry.kind != b"infe" or one.version < 2:
            continue
        number = one.number(2 if one.version == 2 else 4)
        if one.number(2):
            raise reader.damaged("an item is encrypted")
        if items.item(number).kind:
            raise reader.damaged(f"item {number} is there twice")
        items.item(number).kind = one.number(4).to_bytes(4, "big")


def _read_places(reader: Reader, meta: dict[bytes, Box], items: Items) -> None:
    cursor = Cursor(reader, meta[b"iloc"])
    sizes = cursor.number(2)
    offset_bytes, length_bytes, base_bytes, index_bytes = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    with_method = cursor.version in (1, 2)
    total = 0
    for _ in cursor.repeated(4 if cursor.version == 2 else 2):
        item = items.item(cursor.number(4 if cursor.version == 2 else 2))
        method = cursor.number(2) & 15 if with_method else 0
        if cursor.number(2) or method > 1 or item.extents:
            raise reader.damaged("an item's data are in another file or item, or it has two places")
        inside = meta.get(b"idat") if method else Box(b"", 0, len(reader.data))
        base = cursor.number(base_bytes) + (inside.start if inside else 0)
        for _ in cursor.repeated(2):
            cursor.number(index_bytes if with_method else 0)
            start = base + cursor.number(offset_bytes)
            end = start + cursor.number(length_bytes)
            total += end - start
            if inside is None or end > inside.end or total > 2 * len(reader.data):
                raise reader.damaged("it is truncated: the data of an item end after the file")
            item.extents.append((start, end))


def _read_properties(reader: Reader, box: Box, items: Items) -> None:
    described = list(reader.boxes(box.start, box.end))
    properties = [each for part in described if part.kind == b"ipco" for each in reader.boxes(part.start, part.end)]
    for part in described:
        if part.kind != b"ipma":
            continue
        cursor = Cursor(reader, part)
        index_bytes = 2 if cursor.flags & 1 else 1
        for _ in cursor.repeated(4):
            item = items.item(cursor.number(2 if cursor.version == 0 else 4))
            for _ in cursor.repeated(1):
                index = cursor.number(index_bytes) & (0x7FFF if index_bytes == 2 else 0x7F)
                if index > len(properties):
                    raise reader.damaged(f"property {index} of {len(properties)}")
                if index:
                    item.properties.append(properties[index - 1])


def _read_references(reader: Reader, box: Box, items: Items) -> None:
    cursor = Cursor(reader, box)
    size = 2 if cursor.version == 0 else 4
    seen: set[tuple[bytes, int]] = set()
    for entry in reader.boxes(cursor.position, box.end):
        source = reader.number(entry.start, size, entry.end)
        count = reader.number(entry.start + size, 2, entry.end)
        reader.count(count)
        first = entry.start + size + 2
        targets = tuple(reader.number(first + size * index, size, entry.end) for index in range(count))
        if (entry.kind, source) in seen:  # libraries could take the one or the other
            raise reader.damaged(f"the references {_printable(entry.kind)} of item {source} are there twice")
        seen.add((entry.kind, source))
        items.references.append((entry.kind, source, targets))


def _printable(kind: bytes) -> str:
    return repr(kind.decode("ascii", "replace"))
