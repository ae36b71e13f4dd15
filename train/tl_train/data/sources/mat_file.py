"""Reading `.mat` files (MATLAB 4 to 7) in a limited process of their own, as scipy's reader crashes on crafted ones."""

import dataclasses
import errno
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Literal, get_args

import numpy as np

from tl_infer.errors import first_line
from tl_infer.images import Pixels
from tl_infer.system.files import open_regular
from tl_train.config.choices import MatOrder, parse_sides
from tl_train.data.sources import mat_process
from tl_train.errors import ConfigError, DataError

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


@dataclasses.dataclass(frozen=True, slots=True)
class MatLayout:
    """Where the images are in a `.mat` file: one variable per class, one image per column.

    Attributes:
        keys: names of the variables; they are also the class names.
        height, width: of each image, pixels.
        order: how a column's values run over the image: `column` goes down its columns first, as MATLAB's `A(:)`
            does, `row` goes along its rows first.

    """

    keys: tuple[str, ...]
    height: int
    width: int
    order: MatOrder = "column"

    def __post_init__(self) -> None:
        bad = [key for key in self.keys if not _NAME.fullmatch(key)]
        if bad or len(set(self.keys)) < len(self.keys) or not self.keys:
            raise ConfigError(
                f"mat_keys: found '{','.join(self.keys)}', expected different names of variables, such as dog,cat"
            )
        if self.order not in get_args(MatOrder):
            raise ConfigError(f"mat_order: found {self.order}, expected {' or '.join(get_args(MatOrder))}")

    @staticmethod
    def parse(keys: str, shape: str, order: MatOrder = "column") -> "MatLayout":
        """The layout from options.

        Args:
            keys: names of variables with commas between them: `dog,cat`.
            shape: height and width: `64x64`.
            order: see the class.

        Raises:
            ConfigError: one of them cannot be understood; names it.

        """
        sides = parse_sides(shape)
        if sides is None:
            raise ConfigError(f"mat_shape: found '{shape}', expected HEIGHTxWIDTH in pixels, such as 64x64")
        return MatLayout(tuple(keys.split(",")), *sides, order)

    def images(self, columns: Pixels) -> list[Pixels]:
        """The grey images in the columns of a uint8 (height * width, N): N arrays, uint8 (height, width)."""
        order: Literal["F", "C"] = "F" if self.order == "column" else "C"
        return [columns[:, i].reshape((self.height, self.width), order=order) for i in range(columns.shape[1])]


@dataclasses.dataclass(frozen=True, slots=True)
class MatLimits:
    """What reading a file may take.

    Attributes:
        max_file_bytes: size of the file, bytes.
        memory_bytes: address space of the reading process, bytes; Python and scipy take about 0.3e9 of it.
        cpu_s: processor time, seconds.
        timeout_s: wall time, seconds.

    """

    max_file_bytes: int = 500_000_000
    memory_bytes: int = 2_500_000_000
    cpu_s: int = 60
    timeout_s: int = 180


DEFAULT_MAT_LIMITS = MatLimits()


def read_mat(path: Path, keys: Sequence[str], limits: MatLimits = DEFAULT_MAT_LIMITS) -> list[Pixels]:
    """The named variables of a `.mat` file, each a uint8 (rows, columns), in the order of `keys`.

    The file is parsed in another process with limits on memory, time and output; what comes back is checked and is
    nothing but numbers of rows and columns and raw bytes.

    Raises:
        DataError: no such file or variable, another type or number of dimensions, not a `.mat` file, over a limit,
            or the reading process crashed.

    """
    try:
        with open_regular(path, limits.max_file_bytes) as source, tempfile.TemporaryFile() as result:
            outcome = _run_child(path, keys, limits, source, result)
            result.seek(0)
            header, body = result.readline(mat_process.MAX_HEADER_BYTES), result.read()
    except OSError as error:
        remedy = "use a folder of images" if error.errno == errno.EFBIG else "expected a .mat file"
        raise DataError(f"{path}: cannot be read: {first_line(error)}; {remedy}") from error
    if outcome != 0:
        raise DataError(f"{path}: {_death(outcome, limits)}; expected a .mat file that MATLAB or scipy wrote")
    return _parse(path, keys, header, body)


def _run_child(path: Path, keys: Sequence[str], limits: MatLimits, source: BinaryIO, result: BinaryIO) -> int:
    # -P: the folders of the script and of the caller are no places to import from.
    command = [sys.executable, "-P", mat_process.__file__, str(limits.memory_bytes), str(limits.cpu_s), *keys]
    # A thread per core in numpy's linear algebra would count against the memory.
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    try:
        done = subprocess.run(  # noqa: S603 - our own script, and names that MatLayout or the caller checked
            command, stdin=source, stdout=result, stderr=subprocess.DEVNULL, env=environment,
            timeout=limits.timeout_s, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise DataError(f"{path}: not read after {limits.timeout_s} s, given up; use a folder of images") from error
    return done.returncode


def _death(returncode: int, limits: MatLimits) -> str:
    if returncode == -signal.SIGXCPU:
        return f"took more than {limits.cpu_s} s of processor time to read"
    if returncode < 0:
        return f"damaged or crafted: the process that read it was killed by {signal.Signals(-returncode).name}"
    return f"the process that read it ended with code {returncode}"


def _parse(path: Path, keys: Sequence[str], header: bytes, body: bytes) -> list[Pixels]:
    """The child read an untrusted file, so its answer is checked like one."""
    try:
        answer = json.loads(header)
        if "error" in answer:
            raise DataError(f"{path}: {answer['error']}")
        shapes = [(int(rows), int(columns)) for rows, columns in answer["shapes"]]
        sizes = [rows * columns for rows, columns in shapes]
        if len(shapes) != len(keys) or min(sizes) < 0 or sum(sizes) != len(body):
            raise ValueError(f"{len(shapes)} variables, {len(body)} bytes")
    except DataError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: the process that read it gave no sensible answer ({error})") from error
    ends = np.cumsum(sizes)
    values = np.frombuffer(body, np.uint8)
    return [
        values[end - size : end].reshape(shape) for shape, size, end in zip(shapes, sizes, ends.tolist(), strict=True)
    ]
