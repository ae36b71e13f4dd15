"""Strips and tiles of a TIFF that are JPEG streams: libtiff drops libjpeg's warning that one is cut, too."""

import io
from typing import Final

from PIL import ImageFile
from PIL.JpegImagePlugin import JpegImageFile

from tl_infer.errors import ImageError, ImageTooLargeError
from tl_infer.formats.jpeg import END_OF_IMAGE, read_outline
from tl_infer.formats.jpeg_data import load_whole
from tl_infer.limits import Limits

_START: Final = b"\xff\xd8"


class JpegPieces:
    """Looks at the strips and tiles of one file, one after another."""

    def __init__(self, tables: bytes, where: str, limits: Limits) -> None:
        """`tables` is the stream of code tables that all of them share; empty if each has its own."""
        self._tables = tables.removeprefix(_START).removesuffix(END_OF_IMAGE)
        self._where = where
        self._limits = limits
        self._pixels = 0

    def check(self, piece: bytes) -> None:
        """Decode one at an eighth of its size, to see whether it is whole.

        Raises:
            ImageError: it is not, or has too many scans.
            ImageTooLargeError: all of them together have far more pixels than an image may have.

        """
        if not piece.startswith(_START) or ImageFile.LOAD_TRUNCATED_IMAGES:
            return
        stream = _START + self._tables + piece[len(_START) :]
        outline = read_outline(stream, self._where, self._limits.max_scans)
        if outline.frame is None or not outline.scans:
            return
        self._pixels += outline.frame.width * outline.frame.height
        if self._pixels > 2 * self._limits.max_pixels:  # the last strip may be higher than what is left of the image
            raise ImageTooLargeError(self._where, f"JPEG data of {self._pixels} pixels in a TIFF")
        if outline.end is None:
            raise ImageError(self._where, "damaged image: it is truncated: a strip or tile lacks its end marker")
        try:
            with JpegImageFile(io.BytesIO(stream)) as image:
                image.draft(None, (1, 1))
                load_whole(image, stream, outline, self._where)
        except ImageError:
            raise
        except Exception:  # noqa: BLE001 - a stream that Pillow cannot open by itself is left to libtiff
            return
