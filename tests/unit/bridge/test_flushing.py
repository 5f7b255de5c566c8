"""What one turn brought is written once, and a bridge at its limit writes more at a time instead of falling behind."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from weftline_bridge.hub.flushing import Flusher
from weftline_bridge.hub.tasks import TaskOwner
from weftline_bridge.metrics import Metrics

LONG = 0.2


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
