"""Counting the scans of a JPEG before it is decoded.

Each scan of a progressive JPEG goes over the whole image again: 830 KB with 10,000 scans kept a processor busy for
over 20 seconds. Encoders write about ten.
"""

import re

_START_OF_SCAN = b"\xff\xda"
_END_OF_IMAGE = 0xD9
# Markers without a length: TEM, RST0 to RST7, SOI. Source: ITU-T T.81, table B.1.
_ALONE = frozenset((0x01, *range(0xD0, 0xD9)))
_MARKER = re.compile(rb"\xff+([^\x00\xff])", re.DOTALL)


def has_more_scans(data: bytes, limit: int) -> bool:
    """Whether a JPEG file has more scans than `limit`; False for any other file.

    Markers are read only if the two bytes of the scan marker occur more often than that: they can also occur by chance,
    in a thumbnail, or in a video that a phone put after the image.
    """
    if not data.startswith(b"\xff\xd8") or data.count(_START_OF_SCAN) <= limit:
        return False
    return count_scans(data) > limit


def count_scans(data: bytes) -> int:
    """Scans up to the end of the image, with markers read as the decoder reads them."""
    scans, position = 0, 2
    while found := _MARKER.search(data, position):
        marker, position = found[1][0], found.end()
        if marker == _END_OF_IMAGE:
            break
        if marker in _ALONE:
            continue
        scans += marker == _START_OF_SCAN[1]
        # The length includes its own two bytes; refusing a wrong one is left to the decoder.
        position += max(2, int.from_bytes(data[position : position + 2], "big"))
    return scans
