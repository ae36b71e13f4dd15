"""Ways of doing the same work, each in a process of its own, that take turns: what the benchmarks measure with."""

import multiprocessing
import statistics
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from typing import Any

Run = Callable[[], float]


class Worker:
    """One way in a process of its own, as a program has; only one works at a time.

    Args:
        make: called in that process, gives the run to be timed; at the top level of its module.
        arguments: of `make`.

    """

    def __init__(self, make: Callable[..., Run], *arguments: Any) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(1, mp_context=spawn, initializer=_start, initargs=(make, arguments))

    def timed(self, repeats: int = 1) -> tuple[float, float]:
        """Seconds of `repeats` runs, and what the last one gave."""
        return self._pool.submit(_timed, repeats).result()


_runs: list[Run] = []  # of a worker's process


def _start(make: Callable[..., Run], arguments: tuple[Any, ...]) -> None:
    _runs.append(make(*arguments))


def _timed(repeats: int) -> tuple[float, float]:
    started = time.perf_counter()
    results = [_runs[0]() for _ in range(repeats)]
    return time.perf_counter() - started, results[-1]


def in_turn(work: Mapping[Worker, int], rounds: int) -> list[float]:
    """Median seconds of each worker's so many repeats, the workers taking turns: a slow minute slows all of them."""
    seconds: list[list[float]] = [[] for _ in work]
    for _ in range(rounds):
        for times, (worker, repeats) in zip(seconds, work.items(), strict=True):
            times.append(worker.timed(repeats)[0])
    return [statistics.median(times) for times in seconds]
