"""One decoding process, as the process that started it sees it."""

import json
import mmap
import os
import select
import signal
import sys
import time
from typing import Final

import numpy as np
import numpy.typing as npt

from tl_infer.errors import TlError
from tl_infer.isolation.messages import ANSWER_BYTES, READY, Answer, Request
from tl_infer.limits import Limits

_START_SECONDS: Final = 120  # a loaded machine may need long to import numpy and Pillow
_BIG_BYTES: Final = 1 << 24  # shared memory beyond this is given back after use

# A thread per core in numpy's linear algebra would count against the memory. And glibc would get the memory of each
# image from the system anew, and give it back.
_ENVIRONMENT: Final = {
    "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": "33554432", "MALLOC_TRIM_THRESHOLD_": "67108864",
}  # fmt: skip

# The folders to import from are those of this process, not what a new one would find for itself.
_PROGRAM: Final = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from tl_infer.decoding_process import main
main(*map(int, sys.argv[2:]))
"""


class WorkerDiedError(Exception):
    """The process ended or was stopped; the message says how."""


class Worker:
    """A decoding process and the memory that it shares with this one. Not thread-safe."""

    def __init__(self, limits: Limits) -> None:
        """Start the process and wait until it is ready.

        Raises:
            TlError: it does not start.

        """
        import subprocess  # here, because most programs isolate nothing

        self._limits = limits
        self._memory = -1
        folders = [os.path.abspath(folder) for folder in sys.path if folder]  # noqa: PTH100 - folders and zip files
        try:
            self._memory = os.memfd_create("tl-infer") if hasattr(os, "memfd_create") else _temporary_file()
            os.ftruncate(self._memory, 3 * limits.max_pixels)
            self._map = mmap.mmap(self._memory, 3 * limits.max_pixels)
            numbers = [self._memory, len(self._map), limits.max_bytes, int(limits.max_seconds) + 10]
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-P", "-c", _PROGRAM, json.dumps(folders), *map(str, numbers)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0,
                pass_fds=(self._memory,), process_group=0, env={**os.environ, **_ENVIRONMENT},
            )  # fmt: skip
            answer = self._receive(_START_SECONDS)
        except (OSError, WorkerDiedError) as error:
            self.stop()
            raise TlError(f"a process for decoding images does not start: {error}") from error
        except BaseException:
            self.stop()
            raise
        if answer.kind != READY:
            self.stop()
            raise TlError("a process for decoding images does not start: it gave no sensible answer")

    def decode(self, data: bytes, fast_for_px: int | None, *, tallied: bool) -> Answer:
        """Let it decode a file.

        Raises:
            WorkerDiedError: it ended, or did not answer in time; it is of no use any more.

        """
        if len(data) > len(self._map):  # which has room for the pixels
            os.ftruncate(self._memory, len(data))
            self._map = mmap.mmap(self._memory, len(data))
        self._map[: len(data)] = data
        request = Request(len(data), len(self._map), fast_for_px, self._limits, tallied)
        try:
            assert self._process.stdin is not None
            self._process.stdin.write(request.pack())
        except OSError as error:
            raise WorkerDiedError(self._death()) from error
        return self._receive(self._limits.max_seconds)

    def is_alive(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    def take_pixels(self, height: int, width: int) -> npt.NDArray[np.uint8]:
        """A copy of the pixels of the last answer, uint8 (height, width, 3)."""
        values = np.frombuffer(self._map, np.uint8, height * width * 3)
        return values.reshape(height, width, 3).copy()

    def clear(self) -> None:
        """Give back the memory of a large image."""
        if os.fstat(self._memory).st_blocks * 512 > _BIG_BYTES:
            os.ftruncate(self._memory, 0)
            os.ftruncate(self._memory, len(self._map))

    def stop(self) -> None:
        """End the process, whatever it does."""
        process = getattr(self, "_process", None)
        if process is not None:
            process.kill()
            process.wait()
        self.let_go()

    def let_go(self) -> None:
        """Close what connects this process to it, which ends it when no other process is connected."""
        if process := getattr(self, "_process", None):
            process.stdin.close()
            process.stdout.close()
            process.returncode = process.returncode or 0  # not to be waited for: in a forked child it is no child
        if self._memory >= 0:
            os.close(self._memory)
            self._memory = -1

    def _receive(self, seconds: float) -> Answer:
        assert self._process.stdout is not None
        output = self._process.stdout.fileno()
        poll, deadline, data = select.poll(), time.monotonic() + seconds, b""
        poll.register(output, select.POLLIN)
        while len(data) < ANSWER_BYTES:
            left = deadline - time.monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                raise WorkerDiedError(f"not decoded after {seconds:g} s, the limit")
            part = os.read(output, ANSWER_BYTES - len(data))
            if not part:
                raise WorkerDiedError(self._death())
            data += part
        return Answer.unpack(data)

    def _death(self) -> str:
        import subprocess

        try:
            code = self._process.wait(5)
        except subprocess.TimeoutExpired:
            return "the process that decoded it closed its output"
        if code < 0:
            return f"the process that decoded it was killed by {signal.Signals(-code).name}"
        return f"the process that decoded it ended with code {code}"


def _temporary_file() -> int:
    import tempfile

    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
