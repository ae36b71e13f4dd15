"""The outline of a JPEG file: its frame and its scans, read as libjpeg reads them, without decoding.

Each scan of a progressive JPEG goes over the whole image again: 830 KB with 10,000 scans kept a processor busy for
over 20 seconds. Encoders write about ten. Source of the markers: ITU-T T.81, tables B.1 to B.3.
"""

import dataclasses
import re
from collections.abc import Iterator, Sequence
from typing import Final

from tl_infer.errors import ImageError
from tl_infer.formats.jpeg_filler import coefficient_tables, read_tables

MAX_SEGMENTS: Final = 10_000
MAX_FILLING: Final = 100_000  # bytes between segments before the first scan, which Pillow reads one by one
MAX_EXIF_SEGMENTS: Final = 100  # Pillow joins them one by one, in time that grows with the square of their number

END_OF_IMAGE: Final = b"\xff\xd9"
_DHT, _EOI, _SOS, _DRI, _APP1 = 0xC4, 0xD9, 0xDA, 0xDD, 0xE1
_HUFFMAN_FRAMES: Final = (0xC0, 0xC1, 0xC2)  # baseline, extended and progressive; the others are rare
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Markers without a length: TEM and the reserved ones, RST0 to RST7, SOI; and those that Pillow takes for such, where
# libjpeg gives up: JPG, JPG0 to JPG13.
_ALONE: Final = frozenset((*range(0x01, 0xC0), *range(0xD0, 0xD9), 0xC8, *range(0xF0, 0xFE)))
_MARKER: Final = re.compile(rb"\xff+([^\x00\xff])", re.DOTALL)
# What ends entropy-coded data. Restarts are part of it, and libjpeg skips the reserved markers in it.
_SCAN_ENDS: Final = re.compile(rb"\xff([\xc0-\xcf\xd8-\xfe])", re.DOTALL)
_RESTART: Final = re.compile(rb"\xff[\xd0-\xd7]")


@dataclasses.dataclass(frozen=True, slots=True)
class Frame:
    """What a JPEG's frame header says.

    Attributes:
        kind: its marker's second byte.
        width, height: pixels.
        sampling: component -> (horizontal, vertical) sampling factor.

    """

    kind: int
    width: int
    height: int
    sampling: dict[int, tuple[int, int]]

    @property
    def is_huffman(self) -> bool:
        """Whether its coded data can be fed to libjpeg in parts; that of arithmetic coding cannot."""
        return self.kind in _HUFFMAN_FRAMES

    def units(self, components: Sequence[int]) -> int:
        """How many minimum coded units a scan of these components has.

        Source: ITU-T T.81, A.2.
        """
        most_h = max(h for h, _ in self.sampling.values())
        most_v = max(v for _, v in self.sampling.values())
        if len(components) > 1:
            return -(-self.width // (8 * most_h)) * -(-self.height // (8 * most_v))
        h, v = self.sampling[components[0]]
        return -(-self.width * h // (8 * most_h)) * -(-self.height * v // (8 * most_v))


@dataclasses.dataclass(frozen=True, slots=True)
class Scan:
    """One scan: which bits of which coefficients of which components.

    Attributes:
        components: their numbers.
        band: first and last coefficient, 0..63.
        low_bit: the lowest bit that it gives.
        start, end: where its entropy-coded data lies.
        restart_units: units between two restarts; 0 for none.
        tables: its code tables of coefficients.

    """

    components: tuple[int, ...]
    band: tuple[int, int]
    low_bit: int
    start: int
    end: int
    restart_units: int
    tables: Sequence[bytes]


@dataclasses.dataclass(frozen=True, slots=True)
class Outline:
    """A JPEG file up to the end of its (first) image.

    Attributes:
        frame: None if there is no whole frame header.
        scans: in order.
        end: where its end marker lies; None if it has none.

    """

    frame: Frame | None
    scans: tuple[Scan, ...]
    end: int | None


def read_outline(data: bytes, where: str, max_scans: int) -> Outline:
    """The outline of a JPEG file; what is wrong with its headers is left to the decoder.

    Raises:
        ImageError: too many scans, segments, or segments of EXIF; or the end comes before the first scan.

    """
    frame, restart_units, exif_segments, filling, last_end = None, 0, 0, 0, 2
    scans: list[Scan] = []
    tables: dict[int, bytes] = {}
    for number, (marker, start, end) in enumerate(_segments(data)):
        if number >= MAX_SEGMENTS:
            raise ImageError(where, f"a JPEG of more than {MAX_SEGMENTS} segments, the limit")
        filling += 0 if scans else start - last_end
        if filling > MAX_FILLING:
            raise ImageError(where, f"more than {MAX_FILLING} bytes between the segments of a JPEG, the limit")
        last_end = end
        if marker == _EOI:
            if not scans:  # Pillow would go on looking for one
                raise ImageError(where, "damaged image: a JPEG that ends before its first scan")
            return Outline(frame, tuple(scans), start - 2)
        body = data[start + 2 : min(end, start + 1024)]
        if marker in _FRAMES and frame is None:
            frame = _read_frame(marker, body)
        elif marker == _DHT:
            tables |= read_tables(data[start + 2 : end])
        elif marker == _DRI:
            restart_units = int.from_bytes(body[:2], "big")
        elif marker == _APP1 and body.startswith(b"Exif\0\0"):
            exif_segments += 1
            if exif_segments > MAX_EXIF_SEGMENTS:
                raise ImageError(where, f"EXIF in more than {MAX_EXIF_SEGMENTS} segments, the limit")
        elif marker == _SOS:
            if len(scans) == max_scans:
                raise ImageError(where, f"a JPEG of more than {max_scans} scans, the limit")
            scans.append(_read_scan(body, (_header_end(data, start), end), restart_units, tables))
    return Outline(frame, tuple(scans), None)


def missing_part(outline: Outline, data: bytes) -> str | None:
    """What the outline shows to be missing from a JPEG of Huffman coding; None if nothing."""
    frame = outline.frame
    if frame is None or not outline.scans:
        return "there is no image in it"
    for scan in outline.scans:
        if scan.restart_units and scan.components and set(scan.components) <= frame.sampling.keys():
            expected = -(-frame.units(scan.components) // scan.restart_units) - 1
            found = sum(1 for _ in _RESTART.finditer(data, scan.start, scan.end))
            if found < expected:
                return f"{found} of {expected} restart markers"
    return _missing_scan(frame, outline.scans)


def _missing_scan(frame: Frame, scans: Sequence[Scan]) -> str | None:
    """Whether every bit of every coefficient has a scan; encoders give the low bits in the last ones."""
    progressive = frame.kind == 0xC2
    low_bits = {component: [1] * 64 for component in frame.sampling}
    for scan in scans:
        first, last = scan.band if progressive else (0, 63)
        for component in scan.components:
            if component in low_bits:
                low_bits[component][first : last + 1] = [scan.low_bit if progressive else 0] * (last + 1 - first)
    missing = sum(1 for bits in low_bits.values() if any(bits))
    return f"{missing} of {len(low_bits)} components lack scans" if missing else None


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """The second byte of each marker, and where its segment starts, with its length, and ends, with its coded data."""
    position = 2
    while found := _MARKER.search(data, position):
        marker, start = found[1][0], found.end()
        position = start
        if marker in _ALONE:
            continue
        position = _header_end(data, start)
        if marker == _SOS:
            ends = _SCAN_ENDS.search(data, position)
            position = ends.start() if ends else max(position, len(data))
        yield marker, start, position


def _header_end(data: bytes, start: int) -> int:
    # The length includes its own two bytes; refusing a wrong one is left to the decoder.
    return start + max(2, int.from_bytes(data[start : start + 2], "big"))


def _read_frame(kind: int, body: bytes) -> Frame | None:
    if len(body) < 6 or len(body) < 6 + 3 * body[5] or body[5] == 0:
        return None
    sampling = {body[at]: (body[at + 1] >> 4, body[at + 1] & 15) for at in range(6, 6 + 3 * body[5], 3)}
    width, height = int.from_bytes(body[3:5], "big"), int.from_bytes(body[1:3], "big")
    return Frame(kind, width, height, sampling) if all(h and v for h, v in sampling.values()) else None


def _read_scan(body: bytes, coded: tuple[int, int], restart_units: int, tables: dict[int, bytes]) -> Scan:
    count = body[0] if body else 0
    spectral = body[1 + 2 * count : 4 + 2 * count]
    if len(spectral) < 3:
        return Scan((), (0, 63), 0, *coded, restart_units, ())
    band = min(spectral[0], 63), min(spectral[1], 63)
    used = coefficient_tables(tables, [selector & 15 for selector in body[2 : 2 + 2 * count : 2]])
    return Scan(tuple(body[1 : 1 + 2 * count : 2]), band, spectral[2] & 15, *coded, restart_units, used)
