"""Run-length encoding in BMP files, which Pillow decodes in Python. Source: Windows GDI, BITMAPINFOHEADER."""

from typing import Final

from tl_infer.errors import ImageError

MAX_RLE_BYTES: Final = 20_000_000  # 2.5 s; of 50 million pixels it could be 12
_SIZE_PLACE, _COMPRESSION_PLACE = 14, 30
_RLE: Final = (1, 2)  # of 8 and of 4 bits


def check_encoding(data: bytes, where: str) -> None:
    """Refuse a large file with run-length encoding.

    Raises:
        ImageError: it is one.

    """
    header_bytes = int.from_bytes(data[_SIZE_PLACE : _SIZE_PLACE + 4], "little")
    compression = int.from_bytes(data[_COMPRESSION_PLACE : _COMPRESSION_PLACE + 4], "little")
    if header_bytes >= 40 and compression in _RLE and len(data) > MAX_RLE_BYTES:
        raise ImageError(where, f"a run-length encoded BMP of {len(data)} bytes, the limit is {MAX_RLE_BYTES}")
