"""Work on several threads: how many this process may use, and a map that keeps the order."""

import collections
import math
import os
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Generic, TypeVar, cast

Item = TypeVar("Item")
Result = TypeVar("Result")

# Enough that no worker waits for the slowest image, few enough that memory stays flat.
_WINDOW_PER_WORKER = 4

_ROOT = Path("/")
_END = object()


def available_threads(root: Path = _ROOT) -> int:
    """Processors that this process may use, at least 1.

    The number it may be scheduled on or the quota of its control groups, rounded up, whichever is less: in a container
    that may use 1.5 of 64 processors, 64 threads would only wait for each other.

    Args:
        root: parent of `proc` and `sys`; another folder in tests.

    """
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_quota(root)
    return processors if quota is None else max(1, min(processors, math.ceil(quota)))


class OrderedMap(Iterator[Result], Generic[Result]):
    """The results of `ordered_map`."""

    def __init__(self, results: Generator[Result], pending: collections.deque[Future[Result]]) -> None:
        self._results, self._pending = results, pending

    def __next__(self) -> Result:
        return next(self._results)

    def ready(self) -> bool:
        """Whether the next result is there."""
        return bool(self._pending) and self._pending[0].done()

    def close(self) -> None:
        """Stop the work."""
        self._results.close()


def ordered_map(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    workers: int,
    take: Callable[[Item], Item] | None = None,
) -> OrderedMap[Result]:
    """`map(function, items)` on threads: results in the order of the items, a bounded number under way.

    `items` may be endless: it is read only as far ahead as the workers need. Where it has a method `ready`, it is asked
    for the next item only if that is there, as long as there are results to give: somebody who names one file a minute
    gets each answer at once. An exception of `function` or of `items` is raised when its item's turn comes. Leaving the
    iterator early stops the work. `take` is called with each item as it is read, before the next one is.

    Raises:
        RuntimeError: the iterator was taken into a forked process, which does not have its threads.

    """
    pending: collections.deque[Future[Result]] = collections.deque()
    is_ready: Callable[[], bool] = getattr(items, "ready", lambda: True)
    taken = iter(items) if take is None else map(take, items)
    return OrderedMap(_results(function, (taken, is_ready), workers, pending), pending)


def _results(
    function: Callable[[Item], Result],
    items: tuple[Iterator[Item], Callable[[], bool]],
    workers: int,
    pending: collections.deque[Future[Result]],
) -> Generator[Result]:
    process = os.getpid()
    remaining, is_ready = items
    pool = ThreadPoolExecutor(workers, thread_name_prefix="tl-infer")
    window = workers * _WINDOW_PER_WORKER
    try:
        while True:
            if os.getpid() != process:
                raise RuntimeError("this iterator belongs to the process that made it; make a new one after the fork")
            while len(pending) < window and (not pending or is_ready()):
                try:
                    item = next(remaining, _END)
                except Exception as error:  # noqa: BLE001 - raised in its turn, after the results of those before it
                    item = _END
                    pending.append(_failed(error))
                if item is _END:
                    is_ready, window = (lambda: False), 0
                    break
                pending.append(pool.submit(function, cast("Item", item)))
            if not pending:
                return
            yield pending.popleft().result()
    finally:
        # A forked child has no threads to wait for.
        pool.shutdown(wait=os.getpid() == process, cancel_futures=True)


def _failed(error: Exception) -> Future[Result]:
    future: Future[Result] = Future()
    future.set_exception(error)
    return future


def _cgroup_quota(root: Path) -> float | None:
    """Processors that the control groups of this process and their parents allow; None without a limit.

    Source: https://docs.kernel.org/admin-guide/cgroup-v2.html (cpu.max) and cgroup-v1 (cpu.cfs_quota_us).
    """
    quotas = []
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if controllers == "":
            quotas += [_quota_v2(folder) for folder in _folders(root / "sys/fs/cgroup", group)]
        elif "cpu" in controllers.split(","):
            quotas += [_quota_v1(folder) for folder in _folders(root / "sys/fs/cgroup/cpu", group)]
    return min((quota for quota in quotas if quota is not None), default=None)


def _folders(mount: Path, group: str) -> list[Path]:
    """The group's folder and all its parents: each can have a quota. In a container the mount is the group itself."""
    parts = [part for part in group.split("/") if part not in ("", ".", "..")]
    return [mount.joinpath(*parts[:count]) for count in range(len(parts) + 1)]


def _quota_v2(folder: Path) -> float | None:
    fields = _read(folder / "cpu.max").split()
    return _ratio(*fields) if len(fields) == 2 else None


def _quota_v1(folder: Path) -> float | None:
    return _ratio(_read(folder / "cpu.cfs_quota_us").strip(), _read(folder / "cpu.cfs_period_us").strip())


def _ratio(quota_us: str, period_us: str) -> float | None:
    """None for `max`, for -1 (no limit) and for a file that does not exist."""
    if not (quota_us.isdecimal() and period_us.isdecimal() and int(quota_us) and int(period_us)):
        return None
    return int(quota_us) / int(period_us)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
