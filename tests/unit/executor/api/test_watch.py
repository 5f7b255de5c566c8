"""Facts about a watch between log and queue: nothing missed and nothing twice, however the two overlap."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest
from msgspec import Raw

from weftline.v1 import workflow_service_pb2 as pb
from weftline_executor.api.snapshots import Snapshots
from weftline_executor.api.tail import Tail
from weftline_executor.api.watch import BUSY_EVENTS, BUSY_PACE_SECONDS, PACE_SECONDS, Watches, _WatchOne
from weftline_executor.engine import Engine
from weftline_executor.errors import ShuttingDown
from weftline_executor.metrics import Metrics
from weftline_executor.model import events as model
from weftline_executor.model.records import Batch
from weftline_executor.model.states import LogLevel
from weftline_executor.store import MemoryStore


class Scene:
    """A log, and a tail that is told of its commits when a test says so; it stands for the engine and its snapshots."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.tail = Tail(0)
        self.metrics = Metrics()
        self.active_runs = 0
        self.untold: list[Batch] = []
        self.states: dict[str, int] = {}
        engine, snapshots = cast("Engine", self), cast("Snapshots", self)
        self.watches = Watches(engine, self.tail, snapshots, self.metrics, 0.005)

    def active(self, workflow_id: str) -> None:
        """See Engine; the log alone says where the head is."""

    def active_workflows(self) -> list[str]:
        """See Engine."""
        return list(self.states)

    async def of(self, workflow_id: str) -> pb.WorkflowSnapshot:
        """See Snapshots."""
        return pb.WorkflowSnapshot(workflow_id=workflow_id, seq=self.states[workflow_id])

    async def write(self, workflow_id: str, count: int = 1, *, size: int = 1) -> None:
        """Commits a batch of so many events, without telling."""
        head = (await self.store.head(workflow_id)).seq
        events: list[model.Event] = []
        for seq in range(head + 1, head + count + 1):
            line = model.LogWritten(seq, 1, LogLevel.INFO, "x" * size)
            events.append(line if seq > 1 else model.RunStarted(1, 1, Raw(b"{}"), 1))
        self.untold += await self.store.append([Batch(workflow_id, f"r-{workflow_id}", tuple(events))])

    def tell(self, count: int = 1) -> None:
        """Tells the tail of the next commits."""
        self.tail.committed(self.untold[:count])
        del self.untold[:count]

    @asynccontextmanager
    async def watch(self, workflow_id: str = "w", **fields: object) -> AsyncIterator["Reader"]:
        """A watch that begins at a place of this log, or as its fields say."""
        request = pb.WatchEventsRequest(workflow_id=workflow_id)
        for name, value in fields.items():
            if name == "after" and workflow_id:
                request.cursor.CopyFrom(pb.Cursor(epoch=self.store.epoch, seq=cast("int", value)))
            elif name == "after":
                request.position.CopyFrom(pb.Position(epoch=self.store.epoch, commit=cast("int", value)))
            else:
                setattr(request, name, value)
        request.start_from = request.start_from or pb.WATCH_FROM_CURSOR
        stream = self.watches.serve(request)
        try:
            yield Reader(stream)
        finally:
            await stream.aclose()  # type: ignore[attr-defined]


class Reader:
    """Reads a watch up to where it has nothing more to say."""

    def __init__(self, stream: AsyncIterator[bytes]) -> None:
        self._stream = stream
        self.responses: list[pb.WatchEventsResponse] = []

    async def read(self) -> list[tuple[str, int]]:
        """The events, as (workflow, seq), up to the next heartbeat."""
        found: list[tuple[str, int]] = []
        async with asyncio.timeout(10):
            async for encoded in self._stream:
                response = pb.WatchEventsResponse.FromString(encoded)
                self.responses.append(response)
                if response.HasField("heartbeat"):
                    break
                found += [(event.workflow_id, event.seq) for event in response.events]
        return found


@pytest.fixture
def scene() -> Scene:
    return Scene()


def of_w(*seqs: int) -> list[tuple[str, int]]:
    """Events of "w" with these seqs."""
    return [("w", seq) for seq in seqs]


async def test_what_is_both_in_the_log_and_in_the_queue_is_sent_once(scene: Scene) -> None:
    await scene.write("w", 2)
    scene.tell()
    async with scene.watch(after=0) as reader:
        await anext(reader._stream)
        await scene.write("w", 2)
        await scene.write("w", 2)
        scene.tell(1)
        assert await reader.read() == of_w(1, 2, 3, 4, 5, 6)
        scene.tell(1)
        await scene.write("w")
        scene.tell()
        assert await reader.read() == of_w(7)


async def test_a_cursor_within_a_batch_gets_the_rest_of_it(scene: Scene) -> None:
    await scene.write("w", 5)
    scene.tell()
    async with scene.watch(after=3) as reader:
        assert await reader.read() == of_w(4, 5)


async def test_a_watch_of_all_waits_for_what_the_tail_was_not_told_yet(scene: Scene) -> None:
    await scene.write("a")
    await scene.write("b")
    scene.tell(1)
    async with scene.watch("", after=0) as reader:
        assert await reader.read() == [("a", 1)]
        scene.tell(1)
        assert await reader.read() == [("b", 1)]
        assert [response.commit for response in reader.responses if response.events] == [1, 2]


async def test_what_a_snapshot_holds_already_does_not_come_again(scene: Scene) -> None:
    await scene.write("w", 2)
    scene.tell()
    async with scene.watch("", start_from=pb.WATCH_FROM_SNAPSHOT) as reader:
        await anext(reader._stream)
        await scene.write("w", 3)
        await scene.write("other")
        # The state has moved on to seq 5 by the time that it is shown, though the watch began at commit 1.
        scene.states["w"] = 5
        scene.tell(2)
        assert await reader.read() == [("other", 1)]
        await scene.write("w")
        scene.tell()
        assert await reader.read() == of_w(6)


@pytest.mark.parametrize("workflow_id", ["w", ""])
async def test_a_watch_that_lagged_goes_on_from_the_log_without_a_gap(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, workflow_id: str
) -> None:
    monkeypatch.setattr("weftline_executor.api.tail.MAX_QUEUED_BYTES", 4096)
    await scene.write("w")
    scene.tell()
    async with scene.watch(workflow_id, after=1) as reader:
        assert await reader.read() == []
        for _ in range(5):
            await scene.write("w", 2, size=1000)
            scene.tell()
        assert await reader.read() == of_w(*range(2, 12))
        await scene.write("w")
        scene.tell()
        assert await reader.read() == of_w(12)
    assert scene.metrics.watch_lags._value.get() == 1


async def test_a_batch_in_several_items_moves_the_place_with_its_last(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("weftline_executor.api.tail.MAX_ITEM_BYTES", 1000)
    monkeypatch.setattr("weftline_executor.api.watch.MAX_RESPONSE_BYTES", 1000)
    async with scene.watch("", after=0) as reader:
        await reader.read()
        await scene.write("w", 5, size=600)
        await scene.write("v")
        scene.tell(2)
        assert await reader.read() == [*of_w(1, 2, 3, 4, 5), ("v", 1)]
    live = [response.commit for response in reader.responses if response.events]
    async with scene.watch("", after=0) as reader:
        assert await reader.read() == [*of_w(1, 2, 3, 4, 5), ("v", 1)]
    from_log = [response.commit for response in reader.responses if response.events]
    assert len(live) > 2
    for commits in (live, from_log):
        assert set(commits[:-2]) == {0}
        assert commits[-1] == 2


async def test_a_watch_of_all_that_lags_within_a_batch_repeats_nothing(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("weftline_executor.api.tail.MAX_ITEM_BYTES", 1000)
    monkeypatch.setattr("weftline_executor.api.watch.MAX_RESPONSE_BYTES", 1000)
    monkeypatch.setattr("weftline_executor.api.tail.MAX_QUEUED_BYTES", 8000)
    async with scene.watch("", after=0) as reader:
        await reader.read()
        await scene.write("w", 6, size=600)
        scene.tell()
        # The first response is taken, and then the rest is let go because more comes than may be queued.
        first = pb.WatchEventsResponse.FromString(await anext(reader._stream))
        assert 0 < len(first.events) < 6
        await scene.write("v", 9, size=2000)
        scene.tell()
        rest = await reader.read()
        assert of_w(*(event.seq for event in first.events)) + rest == [
            *of_w(1, 2, 3, 4, 5, 6),
            *(("v", seq) for seq in range(1, 10)),
        ]
    assert scene.metrics.watch_lags._value.get() == 1


async def test_a_watch_until_the_head_ends_there_and_not_before(scene: Scene) -> None:
    await scene.write("w", 3)
    scene.tell()
    async with scene.watch(after=0, until_head=True) as reader:
        assert await reader.read() == of_w(1, 2, 3)
        assert await reader.read() == []


async def test_the_end_of_the_executor_ends_a_watch(scene: Scene) -> None:
    async with scene.watch(start_from=pb.WATCH_FROM_NOW) as reader:
        await reader.read()
        scene.tail.close()
        with pytest.raises(ShuttingDown):
            await reader.read()
    assert scene.tail._by_workflow == {}
    assert scene.metrics.watchers._value.get() == 0


async def test_only_after_a_response_with_many_events_is_the_next_one_held_longer(scene: Scene) -> None:
    watcher = scene.tail.open("w", telemetry=False)
    watch = _WatchOne(scene.watches, pb.WatchEventsRequest(workflow_id="w"), watcher)
    for count, pace in ((1, PACE_SECONDS), (BUSY_EVENTS, BUSY_PACE_SECONDS), (BUSY_EVENTS - 1, PACE_SECONDS)):
        await scene.write("w", count)
        scene.tell()
        assert watch.next_response() is not None
        assert watch.pace == pace
