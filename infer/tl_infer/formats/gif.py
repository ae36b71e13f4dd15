"""The blocks of a GIF file before its first image: not too many. Source: GIF89a specification."""

from typing import Final

from tl_infer.errors import ImageError

MAX_BLOCKS: Final = 10_000  # of up to 255 bytes; Pillow keeps those of comments, at 34 times their size
_HEADER_BYTES: Final = 13
_EXTENSION, _IMAGE, _TRAILER = 0x21, 0x2C, 0x3B


def check_blocks(data: bytes, where: str) -> None:
    """Go through the blocks up to the first image; what is damaged is left to the decoder.

    Raises:
        ImageError: too many blocks.

    """
    position, blocks = _HEADER_BYTES, 0
    if len(data) > _HEADER_BYTES and data[10] & 0x80:  # the palette
        position += 6 << (data[10] & 7)
    while position < len(data) and data[position] not in (_IMAGE, _TRAILER):
        if data[position] == _EXTENSION:
            position += 2
            while position < len(data) and data[position] and blocks <= MAX_BLOCKS:
                position += 1 + data[position]
                blocks += 1
        position += 1
        blocks += 1
        if blocks > MAX_BLOCKS:
            raise ImageError(where, f"a GIF of more than {MAX_BLOCKS} blocks before its image, the limit")
