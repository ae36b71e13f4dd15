"""Pillow's warnings and log lines, kept away from the terminal: one file can cause thousands of them.

What matters of them is an error of the image. A thread that decodes ignores all warnings; those of other threads and
the host program's settings are left alone, which `warnings.catch_warnings` would not do.
"""

import contextlib
import ctypes
import functools
import logging
import os
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import PIL._imaging

_decoding = threading.local()
_lock = threading.Lock()
if hasattr(os, "register_at_fork"):  # not while another thread holds it, which would keep the child waiting
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


class _InDecodingThread:
    """Stands in a warning filter where a pattern for the module would: it matches whatever this thread does."""

    def match(self, _module: str) -> bool:
        return getattr(_decoding, "depth", 0) > 0


_FILTER: Any = ("ignore", None, Warning, _InDecodingThread(), 0)

# Without any handler, Python writes a library's errors to stderr.
logging.getLogger("PIL").addHandler(logging.NullHandler())


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Ignore the warnings of this thread while the block runs, even where the host makes them errors."""
    if not warnings.filters or warnings.filters[0] is not _FILTER:  # it is the host's list, which it may have replaced
        with _lock:
            filters: Any = warnings.filters
            filters[:] = [_FILTER, *(each for each in filters if each is not _FILTER)]
    _decoding.depth = getattr(_decoding, "depth", 0) + 1
    try:
        yield
    finally:
        _decoding.depth -= 1


@functools.cache
def silence_libtiff() -> None:
    """Keep libtiff from writing to file descriptor 2, as it does for every damaged file; Pillow has no setting for it.

    For the copy of libtiff that Pillow has loaded. Where it cannot be found, its lines stay.
    """
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(PIL._imaging.__file__)
        for name in ("TIFFSetErrorHandler", "TIFFSetErrorHandlerExt"):
            handler = getattr(library, name)
            handler.argtypes, handler.restype = [ctypes.c_void_p], ctypes.c_void_p
            handler(None)
