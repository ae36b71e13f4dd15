"""Activations on disk: an ordinary .npy file of float16; after the array, each image's digest and a checksum.

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

DIGEST_BYTES = 16  # of an image
_CHECKSUM_BYTES = 16
_ENTRY_BYTES = DIGEST_BYTES + _CHECKSUM_BYTES


class DamagedFileError(ValueError):
    """The file is truncated, corrupted or something else."""


def file_bytes(rows: int, shape: Shape) -> int:
    """The size of the file that holds so many rows of that shape."""
    return len(_header(rows, shape)) + rows * (_row_bytes(shape) + _ENTRY_BYTES) + _CHECKSUM_BYTES


def to_half(row: npt.NDArray[np.float32]) -> Half:
    """The values rounded to float16.

    Raises:
        TrainingError: one is NaN, infinite or too large for float16.

    """
    with np.errstate(over="ignore"):
        half: Half = row.astype("<f2")
    if not np.isfinite(half).all():
        raise TrainingError(
            f"activations of the frozen stages reach {np.abs(row).max():g}, too large for float16; "
            "cut the network elsewhere (--freeze-until), or use mode gradual"
        )
    return half


class ActivationWriter:
    """Writes the rows one after the other."""

    def __init__(self, file: BinaryIO, rows: int, shape: Shape) -> None:
        """Begin a file of `rows` rows, each of that shape."""
        self._file, self._missing, self._shape = file, rows, shape
        self._entries = bytearray()
        self._header = _header(rows, shape)
        file.write(self._header)

    def add(self, digest: bytes, row: Half) -> None:
        """Write the next row, of the image with that digest."""
        assert row.shape == self._shape
        assert len(digest) == DIGEST_BYTES
        data = row.tobytes()
        self._file.write(data)
        self._entries += digest + _checksum(data)
        self._missing -= 1

    def finish(self) -> None:
        """Write what makes the file complete."""
        assert self._missing == 0
        self._file.write(self._entries + _checksum(self._header + self._entries))


class ActivationFile:
    """A file of activations.

    Attributes:
        path: of the file.
        digests: of the images, in the order of the rows.
        shape: of the activation of one image.

    """

    def __init__(self, path: Path) -> None:
        """Open a file and check all of it but the rows.

        Raises:
            OSError: it is not there, or cannot be read.
            DamagedFileError: it is truncated, corrupted or something else.

        """
        self.path = path
        self._file = open_regular(path)
        try:
            self._start, rows, self.shape = _read_header(self._file, path)
            end = self._start + rows * _row_bytes(self.shape)
            trailer = self._read(end, rows * _ENTRY_BYTES + _CHECKSUM_BYTES)
            entries, checksum = trailer[:-_CHECKSUM_BYTES], trailer[-_CHECKSUM_BYTES:]
            whole = os.fstat(self._file.fileno()).st_size == file_bytes(rows, self.shape)
            if not whole or _checksum(_header(rows, self.shape) + entries) != checksum:
                raise DamagedFileError(f"{path}: truncated or corrupted")
        except BaseException:
            self._file.close()
            raise
        parts = [entries[start : start + _ENTRY_BYTES] for start in range(0, len(entries), _ENTRY_BYTES)]
        self.digests = tuple(part[:DIGEST_BYTES] for part in parts)
        self._checksums = tuple(part[DIGEST_BYTES:] for part in parts)

    def check_rows(self, progress: Progress) -> None:
        """Read every row once, on all processors.

        Raises:
            DamagedFileError: one is corrupted.

        """
        rows = range(len(self.digests))
        for _ in progress.steps(ordered_map(self.checked_row, rows, available_threads()), "Checking cache", len(rows)):
            pass

    def checked_row(self, index: int) -> Half:
        """One row, float16 `shape`; thread-safe.

        Raises:
            DamagedFileError: it is corrupted.

        """
        data = self._row(index)
        if _checksum(data) != self._checksums[index]:
            raise DamagedFileError(f"{self.path}: row {index} is corrupted")
        return np.frombuffer(data, "<f2").reshape(self.shape)

    def rows(self, indices: Sequence[int]) -> Half:
        """Some of the rows, not checked again: float16 (n, *shape)."""
        result = np.empty((len(indices), *self.shape), "<f2")
        for place, index in enumerate(indices):
            result[place] = np.frombuffer(self._row(index), "<f2").reshape(self.shape)
        return result

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _row(self, index: int) -> bytes:
        size = _row_bytes(self.shape)
        return self._read(self._start + index * size, size)

    def _read(self, start: int, size: int) -> bytes:
        data = os.pread(self._file.fileno(), size, start)
        while len(data) < size and (more := os.pread(self._file.fileno(), size - len(data), start + len(data))):
            data += more
        if len(data) < size:
            raise DamagedFileError(f"{self.path}: truncated")
        return data


def _read_header(file: BinaryIO, path: Path) -> tuple[int, int, Shape]:
    """Where the array starts, its rows, and the shape of each."""
    try:
        version = np.lib.format.read_magic(file)
        (rows, *shape), in_columns, dtype = np.lib.format.read_array_header_1_0(file)
    except Exception as error:  # of an altered header, numpy raises whatever its parser does
        raise DamagedFileError(f"{path}: truncated or corrupted") from error
    if version != (1, 0) or in_columns or dtype != np.dtype("<f2"):
        raise DamagedFileError(f"{path}: not written by tl-train")
    return file.tell(), rows, tuple(shape)


def _header(rows: int, shape: Shape) -> bytes:
    header = io.BytesIO()
    fields = {"descr": "<f2", "fortran_order": False, "shape": (rows, *shape)}
    np.lib.format.write_array_header_1_0(header, fields)
    return header.getvalue()


def _row_bytes(shape: Shape) -> int:
    return math.prod(shape) * np.dtype("<f2").itemsize


def _checksum(data: bytes | bytearray) -> bytes:
    return hashlib.blake2b(data, digest_size=_CHECKSUM_BYTES).digest()
