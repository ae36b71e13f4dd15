"""A file changed at random."""

import random

# Where parsers count: lengths of 0, of the most, and beyond a sign.
_NUMBERS = (0, 1, 2, 4, 8, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)


def mutate(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """One to eight changes, one after another."""
    for _ in range(rng.randint(1, 8)):
        data = rng.choice(_CHANGES)(data, other, rng)
    return data[:1_000_000]


def _flip(data: bytes, _other: bytes, rng: random.Random) -> bytes:
    if not data:
        return data
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]


def _number(data: bytes, _other: bytes, rng: random.Random) -> bytes:
    size = rng.choice((1, 2, 4))
    value = (rng.choice(_NUMBERS) & (1 << 8 * size) - 1).to_bytes(size, rng.choice(("big", "little")))
    at = rng.randint(0, len(data))
    return data[:at] + value + data[at + size :]


def _remove(data: bytes, _other: bytes, rng: random.Random) -> bytes:
    start, end = _range(data, rng)
    return data[:start] + data[end:]


def _repeat(data: bytes, _other: bytes, rng: random.Random) -> bytes:
    start, end = _range(data, rng)
    return data[:end] + data[start:end] * rng.choice((1, 1, 2, 50)) + data[end:]


def _insert(data: bytes, _other: bytes, rng: random.Random) -> bytes:
    at = rng.randint(0, len(data))
    return data[:at] + rng.randbytes(rng.randint(1, 8)) + data[at:]


def _splice(data: bytes, other: bytes, rng: random.Random) -> bytes:
    start, end = _range(other, rng)
    at = rng.randint(0, len(data))
    return data[:at] + other[start:end] + data[at + (end - start) * rng.randint(0, 1) :]


def _cut(data: bytes, _other: bytes, rng: random.Random) -> bytes:
    return data[: rng.randint(0, len(data))]


def _range(data: bytes, rng: random.Random) -> tuple[int, int]:
    start = rng.randint(0, len(data))
    return start, min(len(data), start + rng.choice((1, 4, 16, 64, 1000)))


_CHANGES = (_flip, _flip, _flip, _number, _number, _remove, _repeat, _insert, _splice, _cut)
