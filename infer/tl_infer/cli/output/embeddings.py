"""`--embeddings`: a NumPy file with one row per image, written as they come."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.lib import format as npy

from tl_infer.results import Vector
from tl_infer.system.files import replacing

EmbeddingWriter = Callable[[Vector | None], None]


@contextlib.contextmanager
def embedding_writer(path: Path, dimensions: int) -> Iterator[EmbeddingWriter]:
    """Open `path` for a float32 array [files, dimensions]; it appears whole when the block ends without an error.

    The block gets a function that takes an embedding (dimensions,), or None for a row of NaN.

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
    """As long for any number of rows, because numpy leaves room for the first axis to grow."""
    npy.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (rows, dimensions)})
