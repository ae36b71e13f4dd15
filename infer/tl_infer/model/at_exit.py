"""A program's end waits for calls of onnxruntime.

As Python up to 3.13 ends, it ends each daemon thread that comes back from a library, and inside of onnxruntime that
aborts the process.
"""

import atexit
import contextlib
import os
import threading
import time
from collections.abc import Iterator

_MAX_SECONDS = 10  # for calls that are under way; a model that hangs must not keep the program

_under_way: set[int] = set()  # the threads that are in a call
_ending = threading.Event()


@contextlib.contextmanager
def finished_at_exit() -> Iterator[None]:
    """A call that the end of the program waits for; a daemon thread that comes later is held until it ends."""
    thread = threading.get_ident()
    _under_way.add(thread)  # before the look at `_ending`: either is seen by the other
    try:
        if _ending.is_set() and threading.current_thread().daemon:
            _under_way.discard(thread)
            threading.Event().wait()
        yield
    finally:
        _under_way.discard(thread)


def _wait() -> None:
    _ending.set()
    deadline = time.monotonic() + _MAX_SECONDS
    while _under_way and time.monotonic() < deadline:
        time.sleep(0.002)


atexit.register(_wait)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_under_way.clear)  # a child has no other threads
