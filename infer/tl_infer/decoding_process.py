"""The process that decodes files from strangers, one after another; started by `isolation.worker`.

It limits itself before the first file: memory, no files written, no core dump, and an alarm clock that ends it if the
process that started it is gone. This is a limit on damage, not a sandbox: it can read what its user can.
"""

import functools
import importlib
import mmap
import os
import resource
import signal
import sys
from pathlib import Path

import numpy as np
from PIL import AvifImagePlugin, Image

from tl_infer.errors import ImageError, ImageTooLargeError
from tl_infer.formats.jpeg_fast import fast_decoder
from tl_infer.images import decode
from tl_infer.isolation.messages import (
    NO_MEMORY,
    PIXELS,
    READY,
    REFUSED,
    REQUEST_BYTES,
    TOO_LARGE,
    Answer,
    Request,
)
from tl_infer.sixteen_bit import DepthTally


def main(memory: int, memory_bytes: int, max_bytes: int, alarm_s: int) -> None:
    """Decode until there are no more requests.

    Args:
        memory: descriptor of the shared memory.
        memory_bytes: its size; it grows if a larger file comes.
        max_bytes: address space that decoding may take.
        alarm_s: seconds for one file after which this process ends.

    """
    Image.init()  # imports every format before memory is limited
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # each thread counts against the memory; other images have processes
    fast_decoder()
    shared = mmap.mmap(memory, memory_bytes)
    limit = _address_space() + max_bytes
    for kind, most in ((resource.RLIMIT_AS, limit), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0)):
        _, hard = resource.getrlimit(kind)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb", buffering=0)
    answers.write(Answer(READY).pack())
    while len(packed := requests.read(REQUEST_BYTES)) == REQUEST_BYTES:
        signal.alarm(alarm_s)
        request = Request.unpack(packed)
        try:
            if len(shared) < request.memory_bytes:
                shared = mmap.mmap(memory, request.memory_bytes)
            answer = _answer(request, shared)
        except (MemoryError, OSError):
            answer = Answer(NO_MEMORY)
        answers.write(answer.pack())
        signal.alarm(0)


def _answer(request: Request, shared: mmap.mmap) -> Answer:
    tally = DepthTally()
    try:
        if "heic" in request.limits.formats:
            _limit_heif_threads()
        data = shared[: request.file_bytes]
        pixels = decode(data, "", request.limits, request.fast_for_px, tally if request.tallied else None)
        np.frombuffer(shared, np.uint8, pixels.size)[:] = pixels.reshape(-1)
    except ImageTooLargeError as error:
        return Answer(TOO_LARGE, text=error.reason)
    except ImageError as error:
        if isinstance(error.__cause__, MemoryError):
            return Answer(NO_MEMORY)
        return Answer(REFUSED, text=error.reason)
    return Answer(PIXELS, pixels.shape[0], pixels.shape[1], next(iter(tally.counts()), 0))


@functools.cache
def _limit_heif_threads() -> None:
    importlib.import_module("pillow_heif.options").DECODE_THREADS = 1  # type: ignore[attr-defined]


def _address_space() -> int:
    """Bytes that this process has mapped; 0 where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except (OSError, ValueError):
        return 0
    return pages * resource.getpagesize()
