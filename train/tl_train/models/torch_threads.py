"""Torch on one thread in each of several."""

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def single_threaded_torch() -> Iterator[int]:
    """Let torch use one thread in each that calls it; yields how many it used itself, for as many callers.

    Torch's own threads meet after every operation and wait for each other spinning: on a machine that does other work
    too, a fit took twenty times as long.
    """
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield count
    finally:
        torch.set_num_threads(count)
