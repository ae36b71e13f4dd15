"""`--embeddings`: one row of a NumPy file per picture, written as they come."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from tl_infer.results import Vector
from tl_infer.system.files import replacing

EmbeddingWriter = Callable[[Vector | None], None]

# Source: numpy.lib.format, version 1.0: magic, version, length of the header, header; in all a multiple of 64.
_HEADER_BYTES = 128
_MAGIC = b"\x93NUMPY\x01\x00"


@contextlib.contextmanager
def embedding_writer(path: Path, dimensions: int) -> Iterator[EmbeddingWriter]:
    """Open `path` for a float32 array [files, dimensions]; it appears whole when the block ends without an error.

    What the block gets takes an embedding (dimensions,), or None for a row of NaN.

    Raises:
        OutputPathError: the file cannot be written.

    """
    nothing = np.full(dimensions, np.nan, "<f4").tobytes()
    rows = 0
    with replacing(path) as file:
        _write_header(file, 0, dimensions)

        def write(embedding: Vector | None) -> None:
            nonlocal rows
            file.write(nothing if embedding is None else embedding.astype("<f4", copy=False).tobytes())
            rows += 1

        yield write
        file.seek(0)
        _write_header(file, rows, dimensions)


def _write_header(file: BinaryIO, rows: int, dimensions: int) -> None:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {dimensions}), }}"
    length = _HEADER_BYTES - len(_MAGIC) - 2
    file.write(_MAGIC + length.to_bytes(2, "little") + header.encode("ascii").ljust(length - 1) + b"\n")
