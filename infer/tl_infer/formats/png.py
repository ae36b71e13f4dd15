"""The chunks of a PNG file: not too many, the pixels' checksums right, and the end there."""

import struct
import zlib
from typing import Final

from tl_infer.errors import ImageError
from tl_infer.limits import Limits

MAX_CHUNKS: Final = 100_000  # encoders write 8 KB and more into each
_SIGNATURE_BYTES: Final = 8


def check_chunks(data: bytes, where: str, limits: Limits, *, truncated_too: bool = False) -> None:
    """Go through the chunks up to the end.

    Args:
        data: the file.
        where: what errors call it.
        limits: on its pixels.
        truncated_too: accept what is truncated or damaged, of which Pillow makes what it can.

    Raises:
        ImageError: truncated, damaged in the pixels' data, or of too many chunks or pixels.

    """
    position = _SIGNATURE_BYTES
    if data.startswith(b"IHDR", position + 4) and len(data) >= position + 16:
        width, height = struct.unpack_from(">II", data, position + 8)
        limits.check_pixels(width, height, where)
    for _ in range(MAX_CHUNKS):
        if position + 12 > len(data):
            if truncated_too:
                return
            raise ImageError(where, "damaged image: it is truncated: there is no end chunk")
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 8 + length
        if kind == b"IEND":
            return
        if not truncated_too:
            _check_chunk(data, position, end, kind, where)
        position = end + 4
    raise ImageError(where, f"a PNG of more than {MAX_CHUNKS} chunks, the limit")


def _check_chunk(data: bytes, position: int, end: int, kind: bytes, where: str) -> None:
    if end + 4 > len(data):
        raise ImageError(where, "damaged image: it is truncated: a chunk ends after the file")
    if kind == b"IDAT" and zlib.crc32(memoryview(data)[position + 4 : end]) != _integer(data, end):
        raise ImageError(where, "damaged image: the checksum of its pixel data is wrong")


def _integer(data: bytes, position: int) -> int:
    return int.from_bytes(data[position : position + 4], "big")
