"""Files of 16 bits a channel, which Pillow reads but does not write in colour."""

import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

Values = npt.NDArray[np.uint16]

_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # channels -> grey, with alpha; RGB, with alpha


def png_of(values: Values, exif: bytes = b"") -> bytes:
    """A PNG of 16 bits a channel, from uint16 (H, W, 1 to 4)."""
    height, width, channels = values.shape
    header = struct.pack(">IIBBBBB", width, height, 16, _COLOUR_TYPES[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    chunks = [(b"IHDR", header), *([(b"eXIf", exif)] if exif else []), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


def tiff_of(values: Values, *, big_endian: bool = False, deflate: bool = False) -> bytes:
    """A TIFF of 16 bits a channel in one strip, from uint16 (H, W, 3)."""
    height, width, channels = values.shape
    order = ">" if big_endian else "<"
    strip = values.astype(f"{order}u2").tobytes()
    strip = zlib.compress(strip) if deflate else strip
    bits = struct.pack(f"{order}{channels}H", *[16] * channels)
    entries = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, channels, 8), (259, 3, 1, 8 if deflate else 1),
        (262, 3, 1, 2), (273, 4, 1, 8 + len(bits)), (277, 3, 1, channels), (278, 4, 1, height), (279, 4, 1, len(strip)),
    ]  # fmt: skip
    body = bits + strip
    body += b"\0" * (len(body) % 2)
    directory = struct.pack(f"{order}H", len(entries))
    for tag, kind, count, value in entries:
        packed = struct.pack(f"{order}HH", value, 0) if kind == 3 and count == 1 else struct.pack(f"{order}I", value)
        directory += struct.pack(f"{order}HHI", tag, kind, count) + packed
    start = (b"MM\0*" if big_endian else b"II*\0") + struct.pack(f"{order}I", 8 + len(body))
    return start + body + directory + bytes(4)


def deep_set(root: Path, most: int, count: int = 14, mean: float = 0.6) -> Path:
    """A folder with two classes of noisy grey images, whose values go up to `most`."""
    random = np.random.default_rng(0)
    for name in ("a", "b"):
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            small = random.normal(mean, 0.1, (12, 12)).clip(0, 1)
            small[0, 0] = 1
            values = (small * most).astype(np.uint16).repeat(8, 0).repeat(8, 1)
            Image.fromarray(values).save(root / name / f"{most}-{number}.png")
    return root
