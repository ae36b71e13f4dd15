"""PNG files."""

import io
import struct
import zlib

from PIL import Image

SIGNATURE = b"\x89PNG\r\n\x1a\n"
END = b"\0\0\0\0IEND\xae\x42\x60\x82"


def chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk with its length and checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def bomb(side_px: int = 13_000) -> bytes:
    """A few kilobytes that promise, and hold, 169 million one-bit pixels: 2 GB."""
    packed = zlib.compressobj(9)
    row = bytes(1 + -(-side_px // 8))
    rows = b"".join(packed.compress(row) for _ in range(side_px)) + packed.flush()
    header = struct.pack(">IIBBBBB", side_px, side_px, 1, 0, 0, 0, 0)
    return SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + END


def many_chunks(count: int) -> bytes:
    """Empty chunks before the pixels: Pillow takes microseconds for each of millions."""
    buffer = io.BytesIO()
    Image.new("L", (8, 8)).save(buffer, "PNG")
    data = buffer.getvalue()
    return data[:33] + chunk(b"tEXt", b"") * count + data[33:]


def cut_and_ended(data: bytes, position: int) -> bytes:
    """A PNG cut and given an end chunk."""
    return data[:position] + END
