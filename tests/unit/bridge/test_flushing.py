"""What one turn brought is written once, and a bridge at its limit writes more at a time instead of falling behind."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from tests.unit.bridge.messages import durable
from weftline_bridge.frames import Batch
from weftline_bridge.hub.flushing import MOST_CREDIT, SLICE, Flusher
from weftline_bridge.hub.tasks import TaskOwner
from weftline_bridge.metrics import Metrics

LONG = 10 * MOST_CREDIT


class Item:
    """Notes when it is flushed, which takes a while."""

    def __init__(self, name: str, story: list[str], takes: float = 0.0) -> None:
        self._name, self._story, self._takes = name, story, takes
        self.flushed = asyncio.Event()

    def flush(self) -> None:
        time.sleep(self._takes)
        self._story.append(self._name)
        self.flushed.set()


@pytest.fixture
async def flusher() -> AsyncIterator[Flusher]:
    tasks = TaskOwner()
    yield Flusher(Metrics("test"), tasks)
    await tasks.close()


async def test_all_that_is_marked_in_a_turn_is_flushed_after_it_in_order(flusher: Flusher) -> None:
    story: list[str] = []
    items = [Item(name, story) for name in "abc"]
    for item in items:
        flusher.mark(item)
    story.append("end of turn")
    await items[-1].flushed.wait()
    assert story == ["end of turn", "a", "b", "c"]


async def test_after_a_flush_that_took_long_the_next_waits_as_long_and_takes_all_that_came(flusher: Flusher) -> None:
    story: list[str] = []
    slow = Item("slow", story, LONG)
    flusher.mark(slow)
    await slow.flushed.wait()
    first, second = Item("first", story), Item("second", story)
    flusher.mark(first)

    def later() -> None:
        story.append("later")
        flusher.mark(second)

    asyncio.get_running_loop().call_later(LONG / 4, later)
    await second.flushed.wait()
    assert story == ["slow", "later", "first", "second"]


async def test_a_short_flush_makes_nobody_wait(flusher: Flusher) -> None:
    story: list[str] = []
    loop = asyncio.get_running_loop()
    waits: list[float] = []
    for _ in range(20):
        item = Item("item", story)
        marked = loop.time()
        flusher.mark(item)
        await item.flushed.wait()
        waits.append(loop.time() - marked)
    assert min(waits) < SLICE


async def test_between_the_slices_of_a_queue_the_loop_gets_its_turn(flusher: Flusher) -> None:
    story: list[str] = []
    items = [Item(name, story, 2 * SLICE) for name in "abc"]
    for item in items:
        flusher.queue(item)

    def others() -> None:
        if story[-1:] != ["others"]:
            story.append("others")
        if not items[-1].flushed.is_set():
            asyncio.get_running_loop().call_soon(others)

    others()
    await items[-1].flushed.wait()
    assert story[:6] == ["others", "a", "others", "b", "others", "c"]


async def test_all_is_written_at_once_when_that_is_asked_for(flusher: Flusher) -> None:
    story: list[str] = []
    flusher.queue(Item("queued", story, 2 * SLICE))
    flusher.queue(Item("queued later", story))
    flusher.mark(Item("marked", story))
    flusher.flush()
    assert story == ["marked", "queued", "queued later"]


async def test_groups_that_have_the_same_to_write_share_it(flusher: Flusher) -> None:
    one, other = Batch([durable(1)]), Batch([durable(2)])
    assert flusher.share([one, other]) is flusher.share([one, other])
    assert flusher.share([one, other]) is not flusher.share([other])
