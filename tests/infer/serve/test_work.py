"""The queue: bounded, and free again whatever becomes of what was in it."""

import asyncio
import threading

import pytest

pytest.importorskip("starlette")

from tl_infer.serve.refusals import RefusedError
from tl_infer.serve.work import Work


def run(test):
    """Run a coroutine function with a queue of three for one thread."""

    async def running():
        work = Work(threads=1, queue=3)
        try:
            await asyncio.wait_for(test(work), timeout=60)
        finally:
            work.close()

    asyncio.run(running())


async def until(is_so):
    while not is_so():
        await asyncio.sleep(0.001)


def test_results_come_in_order_and_places_are_free_again():
    async def test(work):
        assert await work.start([lambda: 1, lambda: 2, lambda: 3]) == [1, 2, 3]
        await until(lambda: work.taken == 0)

    run(test)


def test_all_of_a_request_or_none():
    async def test(work):
        go = threading.Event()
        first = work.start([go.wait, go.wait])
        with pytest.raises(RefusedError, match="1 images are waiting") as refused:
            work.start([lambda: 1] * 3)
        assert (refused.value.status, refused.value.retry_after_s) == (503, 1)
        with pytest.raises(RefusedError, match="4 images in one request, the limit is 3") as refused:
            work.start([lambda: 1] * 4)
        assert refused.value.status == 413
        second = work.start([lambda: 1] * 2)
        assert (work.taken, work.waiting) == (4, 3)
        go.set()
        assert await asyncio.gather(first, second) == [[True, True], [1, 1]]

    run(test)


def test_what_is_cancelled_leaves_the_queue_but_not_its_thread():
    async def test(work):
        go, began = threading.Event(), threading.Event()
        running = work.start([lambda: began.set() or go.wait()])
        await until(began.is_set)
        waiting = work.start([lambda: pytest.fail("it was cancelled")] * 2)
        waiting.cancel()
        running.cancel()
        await until(lambda: work.taken == 1)
        go.set()
        await until(lambda: work.taken == 0)

    run(test)


def test_what_fails_is_raised_and_frees_its_place():
    async def test(work):
        def fail():
            raise ZeroDivisionError("by design")

        with pytest.raises(ZeroDivisionError, match="by design"):
            await work.start([fail, lambda: 1])
        await until(lambda: work.taken == 0)

    run(test)


def test_the_time_to_come_back_follows_what_images_take():
    async def test(work):
        assert work.retry_after_s() == 1
        work._took(2.5)
        go = threading.Event()
        running = work.start([go.wait] * 3)
        assert work.retry_after_s() == 8  # three of 2.5 seconds
        work._took(1e9)
        assert work.retry_after_s() == 60
        go.set()
        await running

    run(test)
