"""GIF and BMP files that take Pillow's Python code a long time."""

import io
import struct

from PIL import Image


def many_comments(count: int) -> bytes:
    """A GIF with comments of one byte: 200 MB of them took 6.8 GB of memory."""
    buffer = io.BytesIO()
    Image.new("P", (8, 8)).save(buffer, "GIF")
    data = buffer.getvalue()
    palette_ends = 13 + (6 << (data[10] & 7) if data[10] & 0x80 else 0)
    return data[:palette_ends] + b"!\xfe\x01a\0" * count + data[palette_ends:]


def run_length_encoded(width: int, height: int) -> bytes:
    """A BMP of runs of one pixel each, decoded in Python: 50 million pixels took 12 s."""
    buffer = io.BytesIO()
    Image.new("P", (width, height)).save(buffer, "BMP")
    header = bytearray(buffer.getvalue()[: struct.unpack_from("<I", buffer.getvalue(), 10)[0]])
    runs = (b"\x01\x05" * width + b"\0\0") * height + b"\0\x01"
    struct.pack_into("<II", header, 30, 1, len(runs))
    return bytes(header) + runs
