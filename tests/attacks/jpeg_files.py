"""JPEG files that cost time out of proportion, or hide that something is missing."""

import io

import numpy as np
from PIL import Image

END = b"\xff\xd9"


def encoded(image: Image.Image, **options: object) -> bytes:
    """A JPEG as Pillow writes it."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **options)
    return buffer.getvalue()


def photo(width: int = 64, height: int = 48, seed: int = 0) -> Image.Image:
    """Blocks of colour with noise: every 8 x 8 block has coefficients of its own."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (-(-height // 8), -(-width // 8), 3), dtype=np.uint8)
    pixels = np.kron(coarse, np.ones((8, 8, 1), np.uint8))[:height, :width]
    return Image.fromarray(pixels ^ random.integers(0, 30, pixels.shape, dtype=np.uint8))


def many_scans(data: bytes, scans: int) -> bytes:
    """A progressive JPEG whose last scan is repeated: each goes over the whole image."""
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * scans + END


def scans_behind_a_reserved_marker(scans: int, side_px: int = 1000) -> bytes:
    """Thousands of scans that a reader of segments jumps over.

    With a restart interval libjpeg skips a reserved marker inside coded data. Whoever takes the two bytes behind it
    for a length jumps 65,535 bytes far: 222 KB with 2002 scans were counted as 2.
    """
    data = encoded(Image.new("RGB", (side_px, side_px)), progressive=True)
    first = data.index(b"\xff\xda")
    every_row = b"\xff\xdd\x00\x04" + (side_px // 16).to_bytes(2, "big")
    last = data.rindex(b"\xff\xda")
    scan = data[last:-2] + b"\xff\x02\xff\xff"
    return data[:first] + every_row + data[first:last] + scan * scans + END


def exif_segments(count: int, size: int = 0) -> bytes:
    """Many EXIF segments: Pillow joins them one by one, 50 MB took 12 s."""
    body = b"Exif\0\0" + bytes(size)
    segment = b"\xff\xe1" + (2 + len(body)).to_bytes(2, "big") + body
    data = encoded(photo())
    return data[:2] + segment * count + data[2:]


def empty_comments(count: int) -> bytes:
    """Many empty comments, four bytes each: Pillow takes microseconds for each of millions."""
    data = encoded(photo())
    return data[:2] + b"\xff\xfe\x00\x02" * count + data[2:]


def hidden_exif_segments(count: int) -> bytes:
    """As above, behind markers that have a length by the standard, and none for Pillow."""
    segment = b"\xff\xe1\x00\x09Exif\0\0\0"
    hidden = b"\xff\xf0\xff\xff" + segment * 5957
    data = encoded(photo())
    return data[:2] + hidden * count + data[2:]


def filled(count: int, filling: bytes) -> bytes:
    """Bytes between two segments, which Pillow reads one by one: 200 MB took a minute."""
    data = encoded(photo())
    first = data.index(b"\xff\xda")
    return data[:first] + filling * count + data[first:]


def cut_and_ended(data: bytes, position: int) -> bytes:
    """A JPEG cut and given an end marker: libjpeg fills in grey, and its warning is lost."""
    return data[:position] + END


def without_last_scans(data: bytes, scans: int) -> bytes:
    """A progressive JPEG without its last scans: a whole picture of less detail."""
    for _ in range(scans):
        data = data[: data.rindex(b"\xff\xda")]
    return data + END
