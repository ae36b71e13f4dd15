"""A few decoding processes, each for one image at a time, started when first needed and replaced when they die."""

import functools
import os
import threading
import weakref

import numpy as np
import numpy.typing as npt

from tl_infer.errors import ImageError, ImageTooLargeError
from tl_infer.isolation.messages import NO_MEMORY, PIXELS, REFUSED, TOO_LARGE, Answer
from tl_infer.isolation.worker import Worker, WorkerDiedError
from tl_infer.limits import Limits
from tl_infer.sixteen_bit import DepthTally
from tl_infer.system.parallel import available_threads

Pixels = npt.NDArray[np.uint8]

_alive: "weakref.WeakSet[DecodingPool]" = weakref.WeakSet()


class DecodingPool:
    """Decodes files as `images.decode`, each in another process. Thread-safe; works in forked processes."""

    def __init__(self, limits: Limits, processes: int) -> None:
        """No process is started yet."""
        self._limits = limits
        self._processes = processes
        self._idle: list[Worker] = []
        self._closed = False
        self._forget()
        _alive.add(self)
        weakref.finalize(self, _stop_all, self._idle)  # at the latest when the program ends

    def decode(self, data: bytes, where: str, fast_for_px: int | None, tally: DepthTally | None) -> Pixels:
        """The upright RGB pixels in a file's bytes.

        Raises:
            ImageError: as `load_image`; also if decoding took more time or memory than the limits allow, or crashed.
            TlError: no process can be started.

        """
        with self._turns:
            worker = self._take()
            try:
                answer = worker.decode(data, fast_for_px, tallied=tally is not None)
                pixels = worker.take_pixels(*self._checked_size(answer)) if answer.kind == PIXELS else None
                worker.clear()
            except WorkerDiedError as error:
                worker.stop()
                raise ImageError(where, str(error)) from error
            except BaseException:
                worker.stop()
                raise
            if answer.kind in (PIXELS, REFUSED, TOO_LARGE):
                self._give_back(worker)
            else:
                worker.stop()
        if pixels is None:
            raise self._refusal(answer, where)
        if tally is not None and answer.depth:
            tally.count(answer.depth)
        return pixels

    def close(self) -> None:
        """End the processes; one that is decoding ends after its image."""
        with self._lock:
            self._closed = True
            _stop_all(self._idle)

    def _take(self) -> Worker:
        with self._lock:
            while self._idle:
                if (worker := self._idle.pop()).is_alive():
                    return worker
                worker.stop()
        return Worker(self._limits)

    def _give_back(self, worker: Worker) -> None:
        with self._lock:
            self._idle.append(worker)
            if self._closed:
                _stop_all(self._idle)

    def _checked_size(self, answer: Answer) -> tuple[int, int]:
        """What a process says that read a hostile file is not to be believed."""
        if not 1 <= answer.height * answer.width <= self._limits.max_pixels:
            raise WorkerDiedError("the process that decoded it gave no sensible answer")
        return answer.height, answer.width

    def _refusal(self, answer: Answer, where: str) -> ImageError:
        if answer.kind == NO_MEMORY:
            return ImageError(where, f"decoding needs more than {self._limits.max_bytes} bytes of memory, the limit")
        if answer.kind not in (REFUSED, TOO_LARGE):
            return ImageError(where, "the process that decoded it gave no sensible answer")
        kind = ImageTooLargeError if answer.kind == TOO_LARGE else ImageError
        return kind(where, " ".join(answer.text.split()))

    def _forget(self) -> None:
        """At the start; and in a forked child, where other threads may have held the locks."""
        self._lock = threading.Lock()
        self._turns = threading.BoundedSemaphore(self._processes)
        for worker in self._idle:
            worker.let_go()
        self._idle.clear()


def _stop_all(workers: list[Worker]) -> None:
    while workers:
        workers.pop().stop()


@functools.lru_cache(maxsize=8)
def shared_pool(limits: Limits) -> DecodingPool:
    """For whoever has none of their own."""
    return DecodingPool(limits, available_threads())


def _after_fork() -> None:
    for pool in list(_alive):
        pool._forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
