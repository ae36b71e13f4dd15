"""Keeping freed memory in the process, so that the large tensors of every step need not come from the kernel again."""

import contextlib
import ctypes

# Parameters of mallopt, from glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3

_LARGE_BYTES = 1 << 30  # no tensor of a step is larger


def keep_freed_memory() -> bool:
    """Ask the C library to keep freed memory for the next step; a program calls this once, before it trains.

    A step of training takes about 0.85 and computing features 0.75 of the time without it, for about 5% more memory
    (`benchmarks/train.py`). It is a setting of the whole process and so not for a library to make.

    Returns:
        Whether it was understood: only glibc knows these settings, which then do what its environment variables
        MALLOC_MMAP_THRESHOLD_ and MALLOC_TRIM_THRESHOLD_ would have done at the start.

    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library, another system
        return False
    settings = {_M_MMAP_THRESHOLD: _LARGE_BYTES, _M_TRIM_THRESHOLD: 2 * _LARGE_BYTES - 1}
    return all(mallopt(name, value) == 1 for name, value in settings.items())


def return_freed_memory() -> None:
    """Give memory that was freed back to the system, between phases that need other sizes; where the C library can."""
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
