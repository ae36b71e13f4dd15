"""Torch and numpy on one thread in each of several."""

import contextlib
import functools
from collections.abc import Iterator

import torch
from threadpoolctl import ThreadpoolController


@contextlib.contextmanager
def single_threaded_math() -> Iterator[int]:
    """Let torch and numpy use one thread in each that calls them; yields how many torch used, for as many callers.

    Their own threads meet after every operation and wait for each other spinning: on a machine that does other work
    too, a fit took twenty times as long, and the proof of a file, which has a thread for each processor, 1.6 times.
    """
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with _loaded_libraries().limit(limits=1, user_api="blas"):
            yield count
    finally:
        torch.set_num_threads(count)


@functools.cache
def _loaded_libraries() -> ThreadpoolController:
    """Those with threads of their own; looking for them takes 7 ms, and a fit comes here for every strength."""
    return ThreadpoolController()
