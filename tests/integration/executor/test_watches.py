"""WatchEvents: where a watch begins, what it gets, and that it never misses, repeats or reorders an event."""

import asyncio

import grpc
import pytest

from tests.support.executor_client import CALL_SECONDS, Client, Event, is_node, is_terminal, refused
from tests.support.executor_engine import RunningExecutor, running_executor
from tests.support.executor_gates import Gate
from tests.support.executor_graphs import chain, definition, node, noops
from weftline.v1 import events_pb2 as events_pb
from weftline.v1 import workflow_service_pb2 as pb
from weftline_executor.api.tail import MAX_QUEUED_BYTES
from weftline_executor.model.records import Retention

NOW, SNAPSHOT, CURSOR = pb.WATCH_FROM_NOW, pb.WATCH_FROM_SNAPSHOT, pb.WATCH_FROM_CURSOR


def epoch_of(executor: RunningExecutor) -> str:
    """The incarnation of the executor's log."""
    return executor.store.epoch


def check_sound(events: list[Event], after: int = 0) -> None:
    """Asserts that durable events of one workflow follow a seq without hole or repetition."""
    assert [event.seq for event in events] == list(range(after + 1, after + 1 + len(events)))


async def test_the_first_response_says_what_the_watch_is_bound_to(executor: RunningExecutor) -> None:
    client = executor.client
    events = await client.run(noops(2))
    async with client.watch(start_from=NOW) as watch:
        created = watch.responses[0].created
    assert (created.epoch, created.seq) == (epoch_of(executor), events[-1].seq)
    assert created.commit == executor.store.last_commit
    assert created.version
    assert created.heartbeat_interval_ms == 5000


async def test_a_watch_of_a_workflow_that_does_not_exist_waits_for_it(client: Client) -> None:
    async with client.watch(start_from=SNAPSHOT) as watch:
        assert watch.responses[0].created.seq == 0
        await client.start(noops(1))
        await watch.until(is_terminal)
        check_sound(watch.events)


async def test_a_watch_from_a_snapshot_goes_on_from_its_seq(client: Client, gate: Gate) -> None:
    async with client.watch(start_from=NOW) as first:
        await client.start(chain(node("a"), node("b", "test.step", gate=str(gate)), node("c")))
        await first.until(is_node("b", "running"))
        async with client.watch(start_from=SNAPSHOT) as watch:
            snapshot = (await watch.until_response("snapshot")).snapshot
            states = {state.node_id: state.status for state in snapshot.nodes}
            assert states["a"] == events_pb.NODE_STATUS_SUCCESS
            assert states["c"] == events_pb.NODE_STATUS_PENDING
            gate.open()
            await watch.until(is_terminal)
            check_sound(watch.durable, snapshot.seq)


async def test_a_snapshot_of_an_ended_run_holds_its_end(client: Client) -> None:
    events = await client.run(chain(node("a", "test.step", value=1), node("b", "output")))
    async with client.watch(start_from=SNAPSHOT, until_head=True) as watch:
        await watch.rest()
    snapshot = watch.responses[1].snapshot
    assert snapshot == await client.snapshot()
    assert snapshot.seq == events[-1].seq
    assert snapshot.ended_ms >= snapshot.started_ms > 0
    assert (snapshot.outputs_json, snapshot.progress.progress) == ('{"b":1}', 1.0)
    assert [(state.node_id, state.attempt, state.data_json) for state in snapshot.nodes] == [
        ("a", 1, "1"),
        ("b", 1, "1"),
    ]
    assert watch.events == []


async def test_a_watch_resumed_at_any_seq_gets_exactly_the_rest(executor: RunningExecutor) -> None:
    client = executor.client
    await client.run(definition([node("a"), node("b"), node("c", "test.log", lines=5)], "a>b", "a>c"))
    events = await client.run(noops(3))
    history = await client.history()
    check_sound(history)
    for seq in range(len(history) + 1):
        cursor = pb.Cursor(epoch=epoch_of(executor), seq=seq)
        async with client.watch(start_from=CURSOR, cursor=cursor, until_head=True) as watch:
            assert await watch.rest() == history[seq:]
    assert history[-1] == events[-1]


async def test_a_watch_resumed_in_the_middle_of_a_live_run_misses_nothing(
    executor: RunningExecutor, gate: Gate
) -> None:
    client = executor.client
    nodes = [node(f"n{number}", "test.step") for number in range(40)]
    async with client.watch(start_from=NOW) as first:
        await client.start(chain(*nodes))
        await first.until(is_node("n3", "success"))
        cursor = pb.Cursor(epoch=epoch_of(executor), seq=5)
        async with client.watch(start_from=CURSOR, cursor=cursor) as second:
            await asyncio.gather(first.until(is_terminal), second.until(is_terminal))
            check_sound(second.events, 5)
            assert second.events == first.events[5:]


async def test_many_watches_see_the_same(client: Client) -> None:
    calls = [client.watch(start_from=NOW) for _ in range(30)]
    watches = [await call.__aenter__() for call in calls]
    await client.start(definition([node(f"n{number}", "test.step") for number in range(50)]))
    await asyncio.gather(*(watch.until(is_terminal) for watch in watches))
    for watch in watches:
        assert watch.events == watches[0].events
    check_sound(watches[0].events)
    for call in calls:
        await call.__aexit__(None, None, None)


async def test_a_watch_of_all_sees_every_workflow_in_one_order(executor: RunningExecutor) -> None:
    client = executor.client
    async with client.watch("", start_from=NOW) as watch:
        await asyncio.gather(*(client.start(noops(5), f"w{number}") for number in range(5)))
        for _ in range(5):
            await watch.until(is_terminal)
    for number in range(5):
        check_sound([event for event in watch.events if event.workflow_id == f"w{number}"])
    commits = [response.commit for response in watch.responses if response.events]
    assert commits == sorted(commits)
    assert commits[-1] == executor.store.last_commit
    for at, response in enumerate(watch.responses):
        if not response.events:
            continue
        position = pb.Position(epoch=epoch_of(executor), commit=response.commit)
        async with client.watch("", start_from=CURSOR, position=position, until_head=True) as resumed:
            assert await resumed.rest() == [e for later in watch.responses[at + 1 :] for e in later.events]


async def test_a_watch_of_all_begins_with_the_snapshots_of_active_workflows(client: Client, gate: Gate) -> None:
    await client.run(noops(1), "ended")
    async with client.watch("", start_from=NOW) as first:
        for workflow_id in ("one", "two"):
            await client.start(chain(node("a", "test.step", gate=str(gate)), node("b")), workflow_id)
            await first.until(is_node("a", "running"))
    async with client.watch("", start_from=SNAPSHOT) as watch:
        snapshots = [(await watch.next()).snapshot, (await watch.next()).snapshot]
        assert sorted(snapshot.workflow_id for snapshot in snapshots) == ["one", "two"]
        gate.open()
        await watch.until(is_terminal)
        await watch.until(is_terminal)
    for snapshot in snapshots:
        check_sound([e for e in watch.events if e.workflow_id == snapshot.workflow_id], snapshot.seq)


async def test_a_watch_from_now_until_the_head_is_over_at_once(client: Client) -> None:
    await client.run(noops(1))
    for workflow_id in ("w", ""):
        async with client.watch(workflow_id, start_from=NOW, until_head=True) as watch:
            assert await watch.rest() == []


@pytest.mark.parametrize(
    ("epoch", "seq", "reason"),
    [
        ("0123456789abcdef", 1, pb.COMPACTED_REASON_WRONG_EPOCH),
        ("", 0, pb.COMPACTED_REASON_WRONG_EPOCH),
        (None, 1000, pb.COMPACTED_REASON_SEQ_AHEAD),
        (None, 1, pb.COMPACTED_REASON_RETENTION),
    ],
)
async def test_a_cursor_that_cannot_be_honoured_is_answered_with_why_and_a_snapshot(
    executor: RunningExecutor, epoch: str | None, seq: int, reason: pb.CompactedReason.ValueType
) -> None:
    client = executor.client
    first, second = await client.run(noops(1)), await client.run(noops(1))
    await executor.store.retain(Retention(1 << 40, 1, 1 << 40), second[-1].timestamp_ms)
    cursor = pb.Cursor(epoch=epoch_of(executor) if epoch is None else epoch, seq=seq)
    async with client.watch(start_from=CURSOR, cursor=cursor, until_head=True) as watch:
        assert await watch.rest() == []
    compacted, snapshot = watch.responses[1].compacted, watch.responses[2].snapshot
    assert compacted.reason == reason
    assert (compacted.oldest_seq, compacted.head_seq) == (first[-1].seq + 1, second[-1].seq)
    assert (snapshot.seq, snapshot.run_id) == (second[-1].seq, second[-1].run_id)
    exactly_oldest = pb.Cursor(epoch=epoch_of(executor), seq=first[-1].seq)
    async with client.watch(start_from=CURSOR, cursor=exactly_oldest, until_head=True) as watch:
        assert await watch.rest() == second


@pytest.mark.parametrize(
    ("epoch", "commit", "reason"),
    [
        ("0123456789abcdef", 1, pb.COMPACTED_REASON_WRONG_EPOCH),
        (None, 1000, pb.COMPACTED_REASON_SEQ_AHEAD),
        (None, 0, pb.COMPACTED_REASON_RETENTION),
    ],
)
async def test_a_position_that_cannot_be_honoured_is_answered_with_why(
    executor: RunningExecutor, epoch: str | None, commit: int, reason: pb.CompactedReason.ValueType
) -> None:
    client = executor.client
    await client.run(noops(1))
    last = (await client.run(noops(1)))[-1]
    await executor.store.retain(Retention(1 << 40, 1, 1 << 40), last.timestamp_ms)
    position = pb.Position(epoch=epoch_of(executor) if epoch is None else epoch, commit=commit)
    async with client.watch("", start_from=CURSOR, position=position, until_head=True) as watch:
        assert await watch.rest() == []
    assert watch.responses[1].compacted.reason == reason


async def test_a_watch_from_a_cursor_without_one_is_refused(client: Client) -> None:
    for workflow_id, field in (("w", "cursor"), ("", "position")):
        with refused(grpc.StatusCode.INVALID_ARGUMENT, "invalid_argument") as refusal:
            async with client.watch(workflow_id, start_from=CURSOR):
                pass
        assert refusal.info.metadata["field"] == field
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "invalid_argument"):
        async with client.watch(start_from=CURSOR, cursor=pb.Cursor(seq=-1)):
            pass


async def test_a_watch_that_gets_nothing_gets_heartbeats_with_the_head(gate: Gate) -> None:
    async with running_executor(heartbeat_seconds=0.05) as executor:
        client = executor.client
        await client.start(chain(node("a", "test.step", gate=str(gate))))
        async with client.watch(start_from=SNAPSHOT) as watch, client.watch("", start_from=NOW) as everything:
            beat = (await watch.until_response("heartbeat")).heartbeat
            await watch.until_response("heartbeat")
            assert beat.epoch == epoch_of(executor)
            assert beat.seq == (await client.snapshot()).seq
            assert beat.active_workflows == 1
            assert beat.timestamp_ms > 0
            beat = (await everything.until_response("heartbeat")).heartbeat
            assert (beat.seq, beat.commit) == (0, executor.store.last_commit)
            gate.open()
            await watch.until(is_terminal)


def big_outputs() -> str:
    """Nodes whose outputs together are larger than what a watch may have queued, and then some."""
    size = 30_000
    count = 3 * MAX_QUEUED_BYTES // size
    return definition([node(f"n{number}", "test.big", size=size) for number in range(count)], concurrency=2)


@pytest.mark.parametrize("workflow_id", ["w", ""])
async def test_a_watch_that_does_not_read_holds_up_nobody_and_gets_everything_later(
    executor: RunningExecutor, workflow_id: str
) -> None:
    client = executor.client
    slow_client = Client(client.address)
    async with slow_client.watch(workflow_id, start_from=NOW) as slow:
        events = await client.run(big_outputs())
        await slow.until(is_terminal)
        assert slow.durable == events
        assert executor.metrics.watch_lags._value.get() >= 1
        again = await client.run(noops(2))
        await slow.until(is_terminal)
        assert slow.durable == events + again
    await slow_client.channel.close()


async def test_no_response_is_much_larger_than_its_bound_however_much_is_committed_at_once(client: Client) -> None:
    nodes = [node(f"{number}-{'x' * 240}", "test.step") for number in range(20_000)]
    async with client.watch(start_from=NOW) as watch:
        await client.start(definition(nodes, concurrency=1))
        await watch.until(lambda event: event.node.status == events_pb.NODE_STATUS_PENDING)
        await client.stop(mode=pb.STOP_MODE_TERMINATE)
        await watch.until(is_terminal)
    sizes = [response.ByteSize() for response in watch.responses if len(response.events) > 1]
    assert max(sizes) < 1 << 20
    check_sound(watch.durable)


async def test_watches_end_with_unavailable_when_the_executor_does(gate: Gate) -> None:
    async with running_executor() as executor:
        client = Client(executor.address)
        await client.start(chain(node("a", "test.step", gate=str(gate))))
        call = client.stub.WatchEvents(pb.WatchEventsRequest(start_from=NOW))
        await call.read()
    assert await call.code() is grpc.StatusCode.UNAVAILABLE
    gate.open()
    await client.channel.close()


async def test_watches_of_all_kinds_are_counted_while_they_are_open(executor: RunningExecutor) -> None:
    client = executor.client
    async with client.watch(start_from=NOW), client.watch("", start_from=SNAPSHOT):
        assert executor.metrics.watchers._value.get() == 2
    async with asyncio.timeout(10):
        while executor.metrics.watchers._value.get():
            await client.stub.ListWorkflows(pb.ListWorkflowsRequest(), timeout=CALL_SECONDS)
    assert executor.engine.active_runs == 0


async def test_telemetry_of_a_run_never_comes_after_its_end(client: Client) -> None:
    nodes = [node(f"n{number}", "test.progress", reports=[0.5, 1.0], pause=0.02) for number in range(10)]
    async with client.watch(start_from=NOW, telemetry=True) as watch:
        await client.start(definition(nodes))
        await watch.until(is_terminal)
        await client.start(noops(1), "other")
        await client.start(noops(1))
        await watch.until(is_terminal)
    ends = [at for at, event in enumerate(watch.events) if is_terminal(event)]
    assert {event.run_id for event in watch.events[ends[0] + 1 :]} == {watch.events[-1].run_id}
