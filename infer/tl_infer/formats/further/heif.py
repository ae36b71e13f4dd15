"""What decoding an AVIF or HEIC file takes: declared sizes, and those in the coded data, which libraries go by too.

A file that declares 16 x 16 pixels can hold a coded picture of 16,384 x 16,384, or a grid of thousands of cells.
"""

import struct
from collections.abc import Sequence
from typing import Final

from tl_infer.errors import ImageError, ImageTooLargeError
from tl_infer.formats.further.av1 import Coded, coded_av1
from tl_infer.formats.further.boxes import Cursor, Item, Reader, content, read_items
from tl_infer.formats.further.hevc import coded_hevc
from tl_infer.limits import Limits

_CODED: Final = {"avif": (b"av01",), "heic": (b"hvc1", b"hev1")}
_GRID: Final = b"grid"
_CELL_OF, _AUXILIARY = b"dimg", b"auxl"
_ROUNDING_PX: Final = 64  # coded sides are multiples of a block's


def check_container(kind: str, data: bytes, where: str, limits: Limits) -> None:
    """Refuse a file that takes more than the limits allow, whose data are not all there, or that is no single image.

    Args:
        kind: "avif" or "heic".
        data: the file.
        where: what errors call it.
        limits: on pixels; on slices of HEVC data, of which each can go over the whole image, `max_scans`.

    Raises:
        ImageError: damaged, truncated, of a form that is not supported, or of too many slices.
        ImageTooLargeError: more pixels would be decoded than the limits allow.

    """
    _Check(kind, Reader(data, where), where, limits).run()


class _Check:
    """Looks at one file; each item is looked at once, however often it is referred to."""

    def __init__(self, kind: str, reader: Reader, where: str, limits: Limits) -> None:
        self._kind = kind
        self._reader = reader
        self._where = where
        self._limits = limits
        self._items = read_items(reader)
        self._cells = {source: targets for kind, source, targets in self._items.references if kind == _CELL_OF}
        self._pixels: dict[int, int] = {}

    def run(self) -> None:
        """Raise ImageError for what is missing or too much."""
        # Cells can have transparency of their own.
        others = {source for kind, source, _ in self._items.references if kind == _AUXILIARY}
        decoded = [self._items.primary, *sorted(others & self._items.items.keys() - {self._items.primary})]
        coded = sum(self._coded_pixels(part) for number in decoded for part in self._parts(number))
        # A grid of cells is larger than the image by up to a row and a column; transparency has as many pixels again.
        most = 4 * self._limits.max_pixels
        if coded > most:
            raise ImageTooLargeError(self._where, f"coded images of {coded} pixels, the limit is {most} in all")

    def _parts(self, number: int) -> Sequence[int]:
        """The numbers of the coded images that an image is made of, once its declared size is checked."""
        item = self._items.items.get(number)
        if item is None:
            raise self._reader.damaged("without an image")
        if item.kind in _CODED[self._kind]:
            return (number,)
        if item.kind != _GRID:
            form = item.kind.decode("ascii", "replace")
            raise ImageError(self._where, f"an image of the form {form!r}: not supported in {self._kind.upper()} files")
        self._declared_size(item)
        cells = self._cells.get(number, ())
        self._check_grid(item, len(cells))
        if len(set(cells)) < len(cells):
            raise self._reader.damaged("a cell of its grid is there twice")
        for cell in cells:
            if cell not in self._items.items or self._items.items[cell].kind not in _CODED[self._kind]:
                raise self._reader.damaged("a cell of its grid is no coded image")
        return cells

    def _check_grid(self, item: Item, cells: int) -> None:
        layout = content(self._reader, item)
        form = ">BBII" if len(layout) > 1 and layout[1] & 1 else ">BBHH"
        if len(layout) < 2 + struct.calcsize(form):
            raise self._reader.damaged("the layout of its grid is too short")
        rows, columns, width, height = struct.unpack_from(form, layout, 2)
        rows, columns = rows + 1, columns + 1
        self._limits.check_pixels(width, height, self._where)
        if rows * columns != cells:
            raise self._reader.damaged(f"a grid of {rows} x {columns} cells has {cells}")

    def _declared_size(self, item: Item) -> tuple[int, int]:
        sizes = [box for box in item.properties if box.kind == b"ispe"]
        if len(sizes) != 1:
            raise self._reader.damaged("an image does not say its size once")
        cursor = Cursor(self._reader, sizes[0])
        width, height = cursor.number(4), cursor.number(4)
        self._limits.check_pixels(width, height, self._where)
        return width, height

    def _coded_pixels(self, number: int) -> int:
        """How many pixels decoding a coded image goes over, once that is checked."""
        if number not in self._pixels:
            self._pixels[number] = self._check_coded(self._items.items[number])
        return self._pixels[number]

    def _check_coded(self, item: Item) -> int:
        width, height = self._declared_size(item)
        found = self._coded(item)
        if found.width > width + _ROUNDING_PX or found.height > height + _ROUNDING_PX:
            raise ImageTooLargeError(
                self._where, f"{found.width} x {found.height} pixels where {width} x {height} are declared"
            )
        if found.passes > self._limits.max_scans:
            raise ImageError(self._where, f"an image of {found.passes} slices, the limit is {self._limits.max_scans}")
        return width * height

    def _coded(self, item: Item) -> Coded:
        data = content(self._reader, item)
        if self._kind == "avif":
            return coded_av1(self._reader, data)
        settings = [box for box in item.properties if box.kind == b"hvcC"]
        if len(settings) != 1:
            raise self._reader.damaged("an image without one configuration")
        return coded_hevc(self._reader, settings[0], data)
