"""The work of the service: images on a few threads, and a bounded number that wait for one."""

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

from tl_infer.serve.refusals import RefusedError

Answer = TypeVar("Answer")

_RECENT = 0.05  # weight of the newest image in the mean time that one takes
_MAX_RETRY_S = 60


class Work(Generic[Answer]):
    """Runs functions on threads; all methods are for the thread of the event loop.

    Attributes:
        queue: how many may wait.

    """

    def __init__(self, threads: int, queue: int) -> None:
        self.queue = queue
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="tl-infer-serve")
        self._taken = 0
        self._mean_s = 0.0

    @property
    def taken(self) -> int:
        """How many are under way or wait."""
        return self._taken

    @property
    def waiting(self) -> int:
        """How many wait for a thread."""
        return max(0, self._taken - self._threads)

    def start(self, tasks: Sequence[Callable[[], Answer]]) -> "asyncio.Future[list[Answer]]":
        """All of the tasks of one request, or none; cancelling what comes back takes those that wait out of the queue.

        Raises:
            RefusedError: with 413 if there are more than could ever wait, with 503 if there is no room for them now.

        """
        if len(tasks) > self.queue:
            raise RefusedError(413, f"{len(tasks)} images in one request, the limit is {self.queue}")
        if self._taken + len(tasks) > self._threads + self.queue:
            raise RefusedError(503, f"{self.waiting} images are waiting, try again later", self.retry_after_s())
        return asyncio.gather(*(self._submit(task) for task in tasks))

    def retry_after_s(self) -> int:
        """Seconds until what is waiting now will be done, by the time that images took lately; 1 to 60."""
        return min(max(1, math.ceil(self._taken * self._mean_s / self._threads)), _MAX_RETRY_S)

    def close(self) -> None:
        """Wait for what is under way; what waits is dropped."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _submit(self, task: Callable[[], Answer]) -> "asyncio.Future[Answer]":
        loop = asyncio.get_running_loop()

        def timed() -> Answer:
            started = time.perf_counter()
            try:
                return task()
            finally:
                with contextlib.suppress(RuntimeError):  # the loop has ended
                    loop.call_soon_threadsafe(self._took, time.perf_counter() - started)

        def release(_future: Future[Answer]) -> None:  # also of one that was cancelled, but not before its end
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._release)

        future = self._pool.submit(timed)
        self._taken += 1
        future.add_done_callback(release)
        return asyncio.wrap_future(future)

    def _took(self, seconds: float) -> None:
        self._mean_s += (seconds - self._mean_s) * (_RECENT if self._mean_s else 1)

    def _release(self) -> None:
        self._taken -= 1
