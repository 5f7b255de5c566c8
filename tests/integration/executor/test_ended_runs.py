"""An ended run is freed at once: nothing refers to it any more, and nothing in it refers to itself in a circle."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.executor_client import is_node
from tests.support.executor_engine import RunningExecutor
from tests.support.executor_gates import Gate
from tests.support.executor_graphs import chain, definition, node, noops
from weftline.v1 import workflow_service_pb2 as pb
from weftline_executor.engine.run import Run

WAIT_SECONDS = 8.0
POLL_SECONDS = 0.01
RETRIED = {"retry": {"attempts": 2, "delay": 0.01}, "timeout": {"attempt": 60, "idle": 60}}
DEFINITIONS = {
    "inline": noops(3),
    "in the loop and in a thread": chain(
        node("a", "test.echo", value=1), node("b", "fail", message="x", policy={"onError": "fail_branch"})
    ),
    "fails": chain(node("a", "test.raise"), node("b")),
    "tries again": chain(node("a", "test.raise", policy=RETRIED)),
    "branches": definition(
        [node("a", "condition", expression="{{ true }}"), node("b"), node("c")], "a:true>b", "a:false>c"
    ),
    "has a deadline and a limit": chain(node("a", "delay", seconds=0.01), node("b"), deadline=60, concurrency=1),
    "cleans up": definition([node("a"), node("b", policy={"finally": True})]),
    "runs a body": definition([node("a", "map", items=[1, 2]), {**node("b"), "parentId": "a"}]),
}


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[weakref.ref[Run]]]:
    """The runs that begin, while the collector does not look for circles."""
    found: list[weakref.ref[Run]] = []
    begin = Run.begin

    def noted(run: Run, *args: Any, **named: Any) -> int:
        found.append(weakref.ref(run))
        return begin(run, *args, **named)

    monkeypatch.setattr(Run, "begin", noted)
    gc.collect()
    gc.disable()
    yield found
    gc.enable()


async def all_freed(begun: list[weakref.ref[Run]]) -> None:
    """Waits until none of the runs is there any more."""
    deadline = time.monotonic() + WAIT_SECONDS
    while any(run() is not None for run in begun):
        assert time.monotonic() < deadline, "an ended run is still there"
        await asyncio.sleep(POLL_SECONDS)


@pytest.mark.parametrize("text", DEFINITIONS.values(), ids=DEFINITIONS.keys())
async def test_an_ended_run_is_freed_without_the_collector(
    executor: RunningExecutor, begun: list[weakref.ref[Run]], text: str
) -> None:
    await executor.client.run(text)
    assert begun
    await all_freed(begun)


async def test_a_stopped_run_is_freed_though_the_code_of_a_node_goes_on(
    executor: RunningExecutor, begun: list[weakref.ref[Run]], gate: Gate
) -> None:
    client = executor.client
    async with client.watch(start_from=pb.WATCH_FROM_NOW) as watch:
        await client.start(chain(node("a", "test.deaf_thread", gate=str(gate))))
        await watch.until(is_node("a", "running"))
    await client.stop(mode=pb.STOP_MODE_TERMINATE)
    try:
        await all_freed(begun)
    finally:
        gate.open()
