"""TIFF files whose directory does not say what decoding them takes."""

import struct
import zlib
from collections.abc import Sequence

from attacks.jpeg_files import encoded, photo

Entry = tuple[int, int, Sequence[int]]  # tag, type, values
_FORMS = {3: "H", 4: "I"}


def tiff(entries: Sequence[Entry], body: bytes = b"") -> bytes:
    """A little-endian TIFF: the header, `body` (from byte 8), values that do not fit into an entry, the directory."""
    data = b"II*\0" + bytes(4) + body + bytes(len(body) % 2)
    directory = struct.pack("<H", len(entries))
    for tag, kind, values in entries:
        packed = struct.pack(f"<{len(values)}{_FORMS[kind]}", *values)
        if len(packed) > 4:
            packed, data = struct.pack("<I", len(data)), data + packed
        directory += struct.pack("<HHI", tag, kind, len(values)) + packed.ljust(4, b"\0")
    return data[:4] + struct.pack("<I", len(data)) + data[8:] + directory + bytes(4)


def _grey(width: int, height: int, *others: Entry, compression: int = 8) -> list[Entry]:
    return sorted([
        (256, 4, [width]), (257, 4, [height]), (258, 3, [8]), (259, 3, [compression]), (262, 3, [1]), (277, 3, [1]),
        *others,
    ])  # fmt: skip


def huge_tile(declared_px: int = 16, tile_px: int = 26_000, stored_rows: int = 0) -> bytes:
    """Declared tiny, with one tile of 676 million pixels: 2 MB took 1.94 GB."""
    tile = zlib.compress(bytes(tile_px * (stored_rows or 1)))
    layout = [(322, 4, [tile_px]), (323, 4, [tile_px]), (324, 4, [8]), (325, 4, [len(tile)])]
    return tiff(_grey(declared_px, declared_px, *layout), tile)


def many_strips(count: int, declared_px: int = 16) -> bytes:
    """More strips than rows: 200 MB of places for them took gigabytes as Python's numbers."""
    layout = [(273, 4, [8] * count), (278, 4, [1]), (279, 4, [16] * count)]
    return tiff(_grey(declared_px, declared_px, *layout, compression=1), bytes(declared_px**2))


def two_widths(first: int, second: int) -> bytes:
    """The width twice: Pillow and libtiff may take different ones."""
    strip = zlib.compress(bytes(256))
    layout = [(256, 4, [second]), (273, 4, [8]), (278, 4, [16]), (279, 4, [len(strip)])]
    return tiff(_grey(first, 16, *layout), strip)


def long_tag(count: int) -> bytes:
    """A tag of many numbers where one is expected: each becomes a Python number, and a warning."""
    layout = [(273, 4, [8]), (278, 4, [16]), (279, 4, [256]), (338, 3, [0] * count)]
    return tiff(_grey(16, 16, *layout, compression=1), bytes(256))


def many_odd_tags(count: int) -> bytes:
    """Tags whose values lie behind the end: Pillow warned of each, 12,000 lines from one file."""
    strip = bytes(256)
    good = tiff(_grey(16, 16, (273, 4, [8]), (278, 4, [16]), (279, 4, [256]), compression=1), strip)
    (start,) = struct.unpack_from("<I", good, 4)
    (entries,) = struct.unpack_from("<H", good, start)
    odd = b"".join(struct.pack("<HHII", 40_000 + number, 4, 1000, 1 << 30) for number in range(count))
    end = start + 2 + 12 * entries
    return good[:start] + struct.pack("<H", entries + count) + good[start + 2 : end] + odd + bytes(4)


def old_jpeg(width: int = 64, height: int = 48) -> bytes:
    """JPEG compression of the old kind; libtiff fills in grey where the file was cut."""
    stream = encoded(photo(width, height), subsampling=0)
    entries = [
        (256, 4, [width]), (257, 4, [height]), (258, 3, [8, 8, 8]), (259, 3, [6]), (262, 3, [6]),
        (273, 4, [0]), (277, 3, [3]), (278, 4, [height]), (279, 4, [len(stream)]),
        (513, 4, [0]), (514, 4, [len(stream)]), (530, 3, [1, 1]),
    ]  # fmt: skip
    place = len(tiff(entries))  # the stream comes last, so that a cut takes its end
    entries = [(tag, kind, [place] if tag in (273, 513) else values) for tag, kind, values in entries]
    return tiff(entries) + stream
