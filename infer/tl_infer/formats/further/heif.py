"""What decoding an AVIF or HEIC file takes: declared sizes, and those in the coded data, which libraries go by too.

A file that declares 16 x 16 pixels can hold a coded picture of 16,384 x 16,384, or a grid of thousands of cells.
"""

import dataclasses
import struct
from collections.abc import Iterator
from typing import Final

from tl_infer.errors import ImageError, ImageTooLargeError
from tl_infer.formats.further.av1 import Coded, coded_av1
from tl_infer.formats.further.boxes import Cursor, Item, Items, Reader, content, read_items
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


@dataclasses.dataclass(frozen=True, slots=True)
class _Check:
    kind: str
    reader: Reader
    where: str
    limits: Limits

    def run(self) -> None:
        items = read_items(self.reader)
        decoded = [items.primary]
        for kind, source, targets in items.references:
            # Cells can have transparency of their own.
            if kind == _AUXILIARY and source not in decoded and source in items.items:
                decoded.append(source)
            elif kind == _CELL_OF and source == items.primary and len(set(targets)) < len(targets):
                raise self.reader.damaged("a cell of its grid is there twice")
        coded = 0
        for number in decoded:
            for each in self._images(items, number):
                coded += self._check_coded(each)
        # A grid of cells is larger than the image by up to a row and a column; transparency has as many pixels again.
        most = 4 * self.limits.max_pixels
        if coded > most:
            raise ImageTooLargeError(self.where, f"coded images of {coded} pixels, the limit is {most} in all")

    def _images(self, items: Items, number: int) -> Iterator[Item]:
        """The coded images that an image is made of, once its declared size is checked."""
        if number not in items.items:
            raise self.reader.damaged("without an image")
        item = items.items[number]
        if item.kind in _CODED[self.kind]:
            yield item
            return
        if item.kind != _GRID:
            form = item.kind.decode("ascii", "replace")
            raise ImageError(self.where, f"an image of the form {form!r}: not supported in {self.kind.upper()} files")
        self._declared_size(item)
        cells = [target for kind, source, targets in items.references if (kind, source) == (_CELL_OF, number)
                 for target in targets]  # fmt: skip
        self._check_grid(item, len(cells))
        for cell in cells:
            if cell not in items.items or items.items[cell].kind not in _CODED[self.kind]:
                raise self.reader.damaged("a cell of its grid is no coded image")
            yield items.items[cell]

    def _check_grid(self, item: Item, cells: int) -> None:
        layout = content(self.reader, item)
        form = ">BBII" if len(layout) > 1 and layout[1] & 1 else ">BBHH"
        if len(layout) < 2 + struct.calcsize(form):
            raise self.reader.damaged("the layout of its grid is too short")
        rows, columns, width, height = struct.unpack_from(form, layout, 2)
        rows, columns = rows + 1, columns + 1
        self.limits.check_pixels(width, height, self.where)
        if rows * columns != cells:
            raise self.reader.damaged(f"a grid of {rows} x {columns} cells has {cells}")

    def _declared_size(self, item: Item) -> tuple[int, int]:
        sizes = [box for box in item.properties if box.kind == b"ispe"]
        if len(sizes) != 1:
            raise self.reader.damaged("an image does not say its size once")
        cursor = Cursor(self.reader, sizes[0])
        width, height = cursor.number(4), cursor.number(4)
        self.limits.check_pixels(width, height, self.where)
        return width, height

    def _check_coded(self, item: Item) -> int:
        """How many pixels decoding one goes over at most."""
        width, height = self._declared_size(item)
        found = self._coded(item)
        if found.width > width + _ROUNDING_PX or found.height > height + _ROUNDING_PX:
            raise ImageTooLargeError(
                self.where, f"{found.width} x {found.height} pixels where {width} x {height} are declared"
            )
        if found.passes > self.limits.max_scans:
            raise ImageError(self.where, f"an image of {found.passes} slices, the limit is {self.limits.max_scans}")
        return width * height

    def _coded(self, item: Item) -> Coded:
        data = content(self.reader, item)
        if self.kind == "avif":
            return coded_av1(self.reader, data)
        settings = [box for box in item.properties if box.kind == b"hvcC"]
        if len(settings) != 1:
            raise self.reader.damaged("an image without one configuration")
        return coded_hevc(self.reader, settings[0], data)
