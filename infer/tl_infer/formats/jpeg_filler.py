"""What to feed a Huffman decoder after a JPEG's coded data, so that it can finish the image only if that was whole.

libjpeg reads up to eight bytes ahead. If those stood for ends of blocks, as zeros often do, the last blocks of an
image could be missing. So a pattern is chosen in which the image's own code tables see no end, wherever in it they
begin to read. Source of the tables: ITU-T T.81, annex C and F.2.2.
"""

import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import Final

AHEAD_BYTES: Final = 8
_LONGEST: Final = 16  # bits of a code
_AC: Final = 1  # class of tables for all coefficients of a block but the first

# Bits to repeat. Codes begin with zeros, and a run of ones is none.
_PATTERNS: Final = tuple("".join(bits) for length in (1, 2, 3, 4, 5) for bits in itertools.product("01", repeat=length))


def filler(tables: Sequence[bytes]) -> bytes:
    """Eight bytes, and a zero after each that is 255, so that it is no marker.

    Args:
        tables: of the last scan's coefficients, as `read_tables` gives them.

    """
    return _chosen(tuple(sorted(set(tables))))


def read_tables(segment: bytes) -> dict[int, bytes]:
    """The tables of a DHT segment without its length: class and number -> 16 counts, then the symbols."""
    tables, position = {}, 0
    while position + 17 <= len(segment):
        size = 16 + sum(segment[position + 1 : position + 17])
        tables[segment[position]] = segment[position + 1 : position + 1 + size]
        position += 1 + size
    return tables


def coefficient_tables(tables: Mapping[int, bytes], numbers: Sequence[int]) -> list[bytes]:
    """Of all tables those for coefficients with these numbers."""
    return [tables[_AC << 4 | number] for number in numbers if _AC << 4 | number in tables]


@functools.lru_cache(maxsize=256)
def _chosen(tables: tuple[bytes, ...]) -> bytes:
    codes = [_codes(table) for table in tables]
    best = max(_PATTERNS, key=lambda pattern: sum(_has_no_end(pattern, table) for table in codes))
    bits = (best * 8 * AHEAD_BYTES)[: 8 * AHEAD_BYTES]
    return int(bits, 2).to_bytes(AHEAD_BYTES, "big").replace(b"\xff", b"\xff\0")


def _codes(table: bytes) -> dict[str, int]:
    """Code, as a string of bits -> symbol."""
    codes, code, symbols = {}, 0, iter(table[16:])
    for length, count in enumerate(table[:16], start=1):
        for symbol in itertools.islice(symbols, count):
            codes[f"{code:0{length}b}"] = symbol
            code += 1
        code <<= 1
    return codes


def _has_no_end(pattern: str, codes: Mapping[str, int]) -> bool:
    """Whether no end of a block is read, beginning at any bit; a symbol of size 0 is one, or a long run of zeros."""
    bits = pattern * (2 * _LONGEST)
    for start in range(len(pattern)):
        for length in range(1, _LONGEST + 1):
            if (symbol := codes.get(bits[start : start + length])) is not None:
                break
        if symbol is None or symbol & 15 == 0:
            return False
    return True
