"""Decoding a JPEG's coded data so that missing data shows.

libjpeg fills in what is missing with grey as soon as it sees an end marker, and Pillow drops its warning. So the end
marker is held back: without it libjpeg waits for more data, and what it still wants says whether the image is whole.
"""

from typing import Any, Final

from PIL import Image, ImageFile

from tl_infer.errors import ImageError
from tl_infer.formats.jpeg import END_OF_IMAGE, Outline, missing_part
from tl_infer.formats.jpeg_filler import filler

_ONE_MORE: Final = b"\xaa"


def load_whole(image: Image.Image, data: bytes, outline: Outline, where: str) -> None:
    """Load the pixels of a JPEG that Pillow has opened from `data`.

    Raises:
        ImageError: a part is missing.
        Exception: Pillow's, of damage.

    """
    if ImageFile.LOAD_TRUNCATED_IMAGES or outline.frame is None or not outline.frame.is_huffman:
        image.load()
        return
    if outline.end is None and len(outline.scans) > 1:
        raise ImageError(where, "damaged image: it is truncated: there is no end marker")
    if missing := missing_part(outline, data):
        raise ImageError(where, f"damaged image: it is truncated: {missing}")
    assert isinstance(image, ImageFile.ImageFile)
    image.load_prepare()
    (name, extents, _offset, arguments) = image.tile[0]
    decoder = Image._getdecoder(image.mode, name, arguments, image.decoderconfig)
    try:
        decoder.setimage(image.im, extents)
        if not _is_whole(decoder, data, outline):
            raise ImageError(where, "damaged image: it is truncated: coded data is missing")
    finally:
        decoder.cleanup()
    image.tile = []


def _is_whole(decoder: Any, data: bytes, outline: Outline) -> bool:
    """Decode everything; whether the coded data of every scan sufficed."""
    if len(outline.scans) == 1:
        # Lines come out as the data comes in, so the image is finished without an end marker.
        end = _without_markers(data, len(data) if outline.end is None else outline.end)
        used = _decode(decoder, memoryview(data)[:end])
        return used is None or _decode(decoder, data[used:end] + filler(outline.scans[0].tables)) is None
    # Of several scans no line comes out before the end marker. After a whole one everything is skipped up to a marker,
    # inside of it the decoder waits for more than one byte.
    start = 0
    for scan in outline.scans:
        coded = data[start : _without_markers(data, scan.end)] + filler(scan.tables)
        for part in (coded, _ONE_MORE, _ONE_MORE):
            if _decode(decoder, part) != len(part):
                return False
        start = scan.end
    return _decode(decoder, END_OF_IMAGE) is None


def _without_markers(data: bytes, end: int) -> int:
    """Where coded data ends: bytes of 255 before its end would be markers with what is fed next."""
    while end and data[end - 1] == 0xFF:
        end -= 1
    return end


def _decode(decoder: Any, data: bytes | memoryview) -> int | None:
    """How many bytes were used, or None if the image is finished.

    Raises:
        OSError: the data is damaged.

    """
    used, error = decoder.decode(data)
    if error < 0:
        raise OSError("broken data stream when reading image file")
    return int(used) if used >= 0 else None
