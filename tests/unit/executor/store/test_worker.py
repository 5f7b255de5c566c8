"""Facts about the thread that works for the event loop."""

import asyncio
import threading
from collections.abc import Iterator
from functools import partial

import pytest

from weftline_executor.store.worker import Worker

WAIT_SECONDS = 10.0


@pytest.fixture
def worker() -> Iterator[Worker]:
    made = Worker("worker-of-test")
    yield made
    made.close()
    for thread in threading.enumerate():
        if thread.name == "worker-of-test":
            thread.join(WAIT_SECONDS)
            assert not thread.is_alive()


async def test_pieces_of_work_are_done_in_one_thread_in_the_order_in_which_they_came(worker: Worker) -> None:
    done: list[tuple[int, str]] = []

    def note(number: int) -> None:
        done.append((number, threading.current_thread().name))

    for number in range(20):
        worker.submit(partial(note, number))
    await worker.submit(lambda: None)
    assert done == [(number, "worker-of-test") for number in range(20)]


async def test_work_begins_before_it_is_awaited(worker: Worker) -> None:
    begun = threading.Event()
    future = worker.submit(begun.set)
    assert begun.wait(WAIT_SECONDS)
    await future


async def test_an_error_comes_back_and_ends_nothing(worker: Worker) -> None:
    with pytest.raises(ZeroDivisionError):
        await worker.submit(lambda: 1 // 0)
    assert await worker.submit(lambda: 1 // 1) == 1


async def test_work_that_nobody_waits_for_any_more_is_done_all_the_same(worker: Worker) -> None:
    gate, done = threading.Event(), threading.Event()
    first, second = worker.submit(lambda: gate.wait(WAIT_SECONDS)), worker.submit(done.set)
    for future in (first, second):
        future.cancel()
    gate.set()
    await worker.submit(lambda: None)
    assert done.is_set()


def test_a_loop_that_is_closed_before_its_work_is_done_does_not_end_the_thread(worker: Worker) -> None:
    gate = threading.Event()

    async def leave() -> None:
        worker.submit(lambda: gate.wait(WAIT_SECONDS))

    async def ask() -> str:
        return await worker.submit(lambda: "still there")

    asyncio.run(leave())
    gate.set()
    assert asyncio.run(ask()) == "still there"


async def test_what_is_in_the_line_is_done_before_the_thread_ends(worker: Worker) -> None:
    gate = threading.Event()
    worker.submit(lambda: gate.wait(WAIT_SECONDS))
    last = worker.submit(lambda: "done")
    worker.close()
    gate.set()
    assert await asyncio.wait_for(last, WAIT_SECONDS) == "done"
