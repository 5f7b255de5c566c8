"""What must not shake the executor: slow or failing commits, odd errors, blocked loops, nodes that kill the process."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from msgspec import Raw

from tests.support.executor_checks import check_run, ends
from tests.support.executor_client import Client, is_node, is_run, is_terminal
from tests.support.executor_engine import SECRETS, RunningExecutor, running_executor
from tests.support.executor_gates import Gate, Marks
from tests.support.executor_graphs import chain, definition, node, noops
from tests.support.executor_process import ExecutorProcess
from weftline.v1 import events_pb2 as events_pb
from weftline.v1 import workflow_service_pb2 as pb
from weftline_executor.engine.attempts import MAX_RECOVERIES
from weftline_executor.errors import BatchRefused, StaleWriter, StoreUnavailable
from weftline_executor.model.events import Event, NodePending, NodeRunning, RunCompleted, RunStarted, RunStopping
from weftline_executor.model.records import Batch
from weftline_executor.model.states import PendingReason
from weftline_executor.store import SqliteStore


@contextmanager
def held_commits(
    executor: RunningExecutor, which: Callable[[Batch], bool]
) -> Iterator[tuple[asyncio.Event, asyncio.Event]]:
    """Holds the first commit that has such a batch; gives the events "it is held" and "let it go"."""
    append, held, go_on = executor.store.append, asyncio.Event(), asyncio.Event()

    async def slow(batches: Sequence[Batch]) -> list[Batch]:
        if not go_on.is_set() and any(which(batch) for batch in batches):
            held.set()
            await go_on.wait()
        return await append(batches)

    executor.store.append = slow  # type: ignore[method-assign]
    try:
        yield held, go_on
    finally:
        go_on.set()
        executor.store.append = append  # type: ignore[method-assign]


def ends_run(batch: Batch) -> bool:
    return any(isinstance(event, RunCompleted) for event in batch.events)


def stops_run(batch: Batch) -> bool:
    return any(isinstance(event, RunStopping) for event in batch.events)


async def test_a_start_that_replaces_a_run_just_as_it_ends_follows_it(executor: RunningExecutor) -> None:
    client = executor.client
    with held_commits(executor, ends_run) as (held, go_on):
        await client.start(noops(1))
        await held.wait()
        second = asyncio.create_task(client.start(chain(node("a"), onConflict="replace")))
        await asyncio.sleep(0)
        go_on.set()
        assert (await second).seq == 5
    async with client.watch(start_from=pb.WATCH_FROM_SNAPSHOT) as watch:
        if not (await client.snapshot()).HasField("ended_ms"):
            await watch.until(is_terminal)
    check_run(await client.history(after=4))


async def test_a_start_that_replaces_ends_a_run_that_is_cleaning_up(client: Client, gate: Gate) -> None:
    async with client.watch() as watch:
        await client.start(chain(node("a", "test.deaf_thread", gate=str(gate))))
        await watch.until(is_node("a", "running"))
        await client.stop(grace_ms=3_000_000)
        replaced = await client.start(chain(node("a"), onConflict="replace"))
        await watch.until(is_terminal)
        end = await watch.until(is_terminal)
    gate.open()
    assert end.run_id == replaced.run_id


async def test_a_command_that_comes_again_before_it_is_durable_acts_once(executor: RunningExecutor, gate: Gate) -> None:
    client = executor.client
    request = pb.StopWorkflowRequest(workflow_id="w", command_id="stop-1")
    async with client.watch() as watch:
        await client.start(chain(node("a", "test.step", gate=str(gate))))
        await watch.until(is_node("a", "running"))
        with held_commits(executor, stops_run) as (held, go_on):
            with pytest.raises(grpc.aio.AioRpcError):
                await client.stub.StopWorkflow(request, timeout=0.3)
            await held.wait()
            again = asyncio.ensure_future(client.stub.StopWorkflow(request, timeout=20))
            go_on.set()
            answer = await again
        await watch.until(is_terminal)
    stops = [event for event in await client.history() if event.HasField("workflow_stop")]
    assert [event.seq for event in stops] == [answer.result.seq]


async def test_a_command_while_the_log_fails_is_told_so_and_may_be_sent_again(executor: RunningExecutor) -> None:
    client, append = executor.client, executor.store.append
    request = pb.StartWorkflowRequest(workflow_id="w", definition_json=noops(1), command_id="start-1")

    async def failing(batches: Sequence[Batch]) -> list[Batch]:
        raise StoreUnavailable("no space left on device")

    executor.store.append = failing  # type: ignore[method-assign]
    try:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await client.stub.StartWorkflow(request, timeout=20)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    finally:
        executor.store.append = append  # type: ignore[method-assign]
    answer = await client.stub.StartWorkflow(request, timeout=20)
    assert answer.result.seq == 1
    assert len((await client.stub.ListRuns(pb.ListRunsRequest(workflow_id="w"))).runs) == 1


@pytest.mark.parametrize("refusal", [BatchRefused(["bad"], "too big"), StaleWriter("bad", 0)])
async def test_a_batch_that_the_log_refuses_stops_its_own_run_only(
    executor: RunningExecutor, refusal: BatchRefused
) -> None:
    client, append = executor.client, executor.store.append

    async def picky(batches: Sequence[Batch]) -> list[Batch]:
        if any(batch.workflow_id == "bad" for batch in batches):
            raise refusal
        return await append(batches)

    executor.store.append = picky  # type: ignore[method-assign]
    with pytest.raises(grpc.aio.AioRpcError):
        await client.start(noops(1), "bad")
    events = await client.run(noops(3))
    check_run(events)
    assert executor.engine.healthy


async def test_an_attaching_start_that_comes_twice_does_not_start_a_second_run(client: Client, gate: Gate) -> None:
    await client.start(chain(node("a", "test.step", gate=str(gate))))
    first = await client.start(definition([node("a")], onConflict="attach"), command_id="mine")
    async with client.watch(start_from=pb.WATCH_FROM_SNAPSHOT) as watch:
        gate.open()
        await watch.until(is_terminal)
    again = await client.start(definition([node("a")], onConflict="attach"), command_id="mine")
    assert (again.run_id, again.state) == (first.run_id, events_pb.RUN_STATE_SUCCESS)


async def test_a_repeated_command_is_answered_with_the_state_of_its_own_run(client: Client, gate: Gate) -> None:
    first = await client.start(noops(1), command_id="first")
    async with client.watch(start_from=pb.WATCH_FROM_SNAPSHOT) as watch:
        if not (await client.snapshot()).HasField("ended_ms"):
            await watch.until(is_terminal)
        await client.start(chain(node("a", "test.step", gate=str(gate))))
        again = await client.start(noops(1), command_id="first")
        assert (again.run_id, again.state) == (first.run_id, events_pb.RUN_STATE_SUCCESS)
        gate.open()
        await watch.until(is_node("a", "success"))


async def test_no_more_runs_are_active_than_allowed_however_many_start_at_once(gate: Gate) -> None:
    async with running_executor(max_runs=1) as executor:
        waiting = chain(node("a", "test.step", gate=str(gate)))
        commands = executor.engine.commands
        starts = [commands.start(f"w{at}", waiting.encode(), by="", command_id="") for at in range(20)]
        results = await asyncio.gather(*starts, return_exceptions=True)
        assert sum(not isinstance(result, BaseException) for result in results) == 1
        gate.open()


@pytest.mark.parametrize("kind", ["message", "code", "details", "unshowable"])
@pytest.mark.parametrize("where", ["test.odd_error", "test.odd_error_inline"])
async def test_an_error_that_is_no_proper_one_fails_its_node_all_the_same(
    client: Client, where: str, kind: str
) -> None:
    events = await client.run(definition([node("odd", where, kind=kind), node("other")], failurePolicy="continue"))
    check_run(events)
    assert ends(events)["other"] == "success"
    assert ends(events)["odd"].startswith("error ")


@pytest.mark.parametrize("raises", [False, True])
async def test_a_secret_that_a_node_reads_is_in_no_event(client: Client, raises: bool) -> None:
    events = await client.run(chain(node("a", "test.tell_secret", name="TOKEN", raises=raises)))
    assert ends(events) == {"a": "error node_raised" if raises else "success"}
    assert "it is ***" in [event.log.message for event in events]
    assert not any(SECRETS["TOKEN"].encode() in event.SerializeToString() for event in events)


async def test_nodes_beside_one_that_blocks_their_loop_begin_anew_and_go_on(gate: Gate) -> None:
    async with running_executor(blocked_loop_seconds=0.3) as executor:
        try:
            nodes = [node("beside", "test.nap", seconds=0.5), node("blocker", "test.block_loop", gate=str(gate))]
            events = await executor.client.run(definition(nodes, failurePolicy="continue"))
            assert ends(events) == {"blocker": "error node_blocked", "beside": "success"}
        finally:
            gate.open()


async def test_a_node_that_kills_the_process_each_time_fails_in_the_end(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    await store.open()
    text = definition([node("deadly", "test.step"), node("other")])
    events: list[Event] = [RunStarted(1, 1, Raw(text.encode()), 2), NodeRunning(2, 2, "deadly", 1)]
    for death in range(MAX_RECOVERIES):
        events.append(NodePending(len(events) + 1, 3, "deadly", death + 2, PendingReason.RECOVERED))
        events.append(NodeRunning(len(events) + 1, 3, "deadly", death + 2))
    await store.append([Batch("w", "run", tuple(events))])
    await store.close()
    async with running_executor(tmp_path) as executor, executor.client.watch() as watch:
        if not (await executor.client.snapshot()).HasField("ended_ms"):
            await watch.until(is_terminal)
        snapshot = await executor.client.snapshot()
    assert (snapshot.error.code, snapshot.error.node_id) == ("crash_loop", "deadly")


async def test_what_is_unsafe_and_was_running_while_a_run_drained_is_for_a_person_to_decide(
    tmp_path: Path, gate: Gate, marks: Marks
) -> None:
    process = ExecutorProcess(tmp_path)
    try:
        process.start()
        client = Client(process.address)
        async with client.watch() as watch:
            await client.start(chain(node("a", "test.unsafe", marks=str(marks), gate=str(gate))))
            await watch.until(is_node("a", "running"))
            await client.pause(reason="lunch")
        process.kill9()
        await client.channel.close()
        process.start()
        client = Client(process.address)
        async with client.watch(start_from=pb.WATCH_FROM_SNAPSHOT) as watch:
            if (await client.snapshot()).state != events_pb.RUN_STATE_PAUSED:
                await watch.until(is_run("workflow_pause", "paused"))
        assert (await client.snapshot()).reason == "unknown_outcome"
        await client.channel.close()
    finally:
        process.close()
