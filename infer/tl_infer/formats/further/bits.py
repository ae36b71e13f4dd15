"""Numbers of single bits, as video streams have them in their headers."""


class Bits:
    """Reads bits from the highest of the first byte on; behind the end there are zeros."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def take(self, count: int) -> int:
        """The next bits as a number."""
        first, last = self._position >> 3, (self._position + count + 7) >> 3
        self._position += count
        value = int.from_bytes(self._data[first:last].ljust(last - first, b"\0"), "big")
        return value >> (8 * last - self._position) & (1 << count) - 1

    def exponential_golomb(self) -> int:
        """The next number of the code of H.264 and HEVC (0-th order, unsigned), of at most 32 bits."""
        zeros = 0
        while zeros < 32 and not self.take(1):
            zeros += 1
        return (1 << zeros) - 1 + self.take(zeros)

    def variable_length(self) -> int:
        """The next number of AV1's `uvlc`; all ones where it has 32 bits and more."""
        zeros = 0
        while zeros < 32 and not self.take(1):
            zeros += 1
        return 0xFFFFFFFF if zeros == 32 else (1 << zeros) - 1 + self.take(zeros)
