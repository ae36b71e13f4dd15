"""Activations on disk: an ordinary .npy file of float16 with a checksum for each image behind the array.

Rows are read at their place in the file, not through a memory map, whose pages count as the memory of the process.
"""

import hashlib
import io
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from tl_infer.system.files import open_regular
from tl_infer.system.parallel import available_threads, ordered_map
from tl_train.errors import TrainingError
from tl_train.progress import Progress

Half = npt.NDArray[np.float16]
Shape = tuple[int, ...]

_CHECKSUM_BYTES = 16
_ITEM_BYTES = np.dtype(np.float16).itemsize


class DamagedFileError(ValueError):
    """The file was cut or altered, or holds something else."""


def file_bytes(rows: int, shape: Shape) -> int:
    """The size of the file that holds so many rows of that shape."""
    return len(_header(rows, shape)) + rows * (_row_bytes(shape) + _CHECKSUM_BYTES) + _CHECKSUM_BYTES


def to_half(row: npt.NDArray[np.float32]) -> Half:
    """The values rounded to float16.

    Raises:
        TrainingError: one is no finite number, or too large for float16.

    """
    with np.errstate(over="ignore"):
        half: Half = row.astype("<f2")
    if not np.isfinite(half).all():
        raise TrainingError(
            f"the frozen stages give values up to {np.abs(row).max():g}, more than float16 can hold; "
            "cut the network elsewhere (--freeze-until), or use mode gradual"
        )
    return half


class ActivationWriter:
    """Writes the rows one after the other."""

    def __init__(self, file: BinaryIO, rows: int, shape: Shape) -> None:
        """Begin a file of `rows` rows, each of that shape."""
        self._file, self._missing, self._shape = file, rows, shape
        self._checksums = bytearray()
        self._header = _header(rows, shape)
        file.write(self._header)

    def add(self, row: npt.NDArray[np.float32]) -> None:
        """Write the next row, rounded to float16.

        Raises:
            TrainingError: as `to_half`.

        """
        assert row.shape == self._shape
        data = to_half(row)
        self._file.write(data.tobytes())
        self._checksums += _checksum(data.tobytes())
        self._missing -= 1
        if self._missing == 0:
            self._file.write(self._checksums + _checksum(self._header + self._checksums))

    @property
    def complete(self) -> bool:
        """Whether all rows, and the checksums behind them, were written."""
        return self._missing == 0


class ActivationFile:
    """A file of activations, opened and checked.

    Attributes:
        rows: images.
        shape: of the activation of one.

    """

    def __init__(self, path: Path, rows: int, shape: Shape, progress: Progress) -> None:
        """Open a file and check every row, on all processors.

        Raises:
            OSError: it is not there, or cannot be read.
            DamagedFileError: it does not hold what was written.

        """
        self.rows, self.shape = rows, shape
        self._file = open_regular(path)
        self._start = len(_header(rows, shape))
        try:
            self._check(path, progress)
        except BaseException:
            self._file.close()
            raise

    def read(self, indices: Sequence[int]) -> Half:
        """Some of the rows: float16 (n, *shape)."""
        result = np.empty((len(indices), *self.shape), "<f2")
        for place, index in enumerate(indices):
            result[place] = np.frombuffer(self._row(index), "<f2").reshape(self.shape)
        return result

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _row(self, index: int) -> bytes:
        size = _row_bytes(self.shape)
        return os.pread(self._file.fileno(), size, self._start + index * size)

    def _check(self, path: Path, progress: Progress) -> None:
        descriptor, header = self._file.fileno(), _header(self.rows, self.shape)
        end = self._start + self.rows * _row_bytes(self.shape)
        checksums = os.pread(descriptor, (self.rows + 1) * _CHECKSUM_BYTES, end)
        whole = os.fstat(descriptor).st_size == file_bytes(self.rows, self.shape)
        expected = header + checksums[:-_CHECKSUM_BYTES]
        if not whole or os.pread(descriptor, len(header), 0) != header or _checksum(expected) != checksums[-16:]:
            raise DamagedFileError(f"{path}: cut or altered")
        found = ordered_map(lambda index: _checksum(self._row(index)), range(self.rows), available_threads())
        for index, checksum in enumerate(progress.steps(found, "Checking activations", self.rows)):
            if checksum != checksums[index * _CHECKSUM_BYTES : (index + 1) * _CHECKSUM_BYTES]:
                raise DamagedFileError(f"{path}: row {index} was altered")


def _header(rows: int, shape: Shape) -> bytes:
    header = io.BytesIO()
    fields = {"descr": "<f2", "fortran_order": False, "shape": (rows, *shape)}
    np.lib.format.write_array_header_1_0(header, fields)
    return header.getvalue()


def _row_bytes(shape: Shape) -> int:
    return math.prod(shape) * _ITEM_BYTES


def _checksum(data: bytes | bytearray) -> bytes:
    return hashlib.blake2b(data, digest_size=_CHECKSUM_BYTES).digest()
