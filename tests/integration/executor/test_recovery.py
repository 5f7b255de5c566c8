"""What a run does when its executor is killed: every fact is seen by a client of the process that comes after."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.executor_checks import check_run, ends, story
from tests.support.executor_client import Client, Event, Watch, is_node, is_run, is_terminal
from tests.support.executor_gates import Gate, Marks
from tests.support.executor_graphs import chain, definition, node, noops
from tests.support.executor_process import ExecutorProcess
from weftline.v1 import events_pb2 as events_pb
from weftline.v1 import workflow_service_pb2 as pb


class Crashes:
    """An executor process that a test kills and starts again, with a new client and a new watch of "w" each time."""

    def __init__(self, process: ExecutorProcess) -> None:
        self.process = process

    @asynccontextmanager
    async def life(self) -> AsyncIterator[tuple[Client, Watch]]:
        """One life of the process: it is started if it is dead, and killed at the end of the block."""
        if not self.process.ready():
            self.process.start()
        client = Client(self.process.address)
        try:
            async with client.watch(start_from=pb.WATCH_FROM_SNAPSHOT) as watch:
                yield client, watch
        finally:
            self.process.kill9()
            await client.channel.close()

    async def end(self) -> list[Event]:
        """Waits in a new life for the end of the run, and gives all its events."""
        async with self.life() as (client, watch):
            await ended(client, watch)
            return await client.history()


async def ended(client: Client, watch: Watch) -> None:
    """Waits until the newest run has ended, whether that was before the watch or comes in it."""
    snapshot = await client.snapshot()
    if not snapshot.HasField("ended_ms"):
        await watch.until(is_terminal)


@pytest.fixture
async def crashes(tmp_path: Path) -> AsyncIterator[Crashes]:
    process = ExecutorProcess(tmp_path)
    yield Crashes(process)
    process.close()


async def test_a_run_goes_on_after_a_kill_and_finished_nodes_do_not_run_again(
    crashes: Crashes, gate: Gate, marks: Marks
) -> None:
    nodes = [
        node("a", "test.step", marks=str(marks)),
        node("b", "test.step", marks=str(marks), gate=str(gate)),
        node("c"),
    ]
    async with crashes.life() as (client, watch):
        await client.start(chain(*nodes))
        await watch.until(is_node("b", "running"))
        await marks.wait(2)
        seen = list(watch.durable)
    gate.open()
    events = await crashes.end()
    check_run(events)
    assert events[: len(seen)] == seen
    assert marks.attempts() == ["a 1", "b 1", "b 2"]
    assert story(events) == [
        *("a running", "a success", "b running"),
        *("b pending recovered", "b running", "b success", "c running", "c success"),
    ]
    attempts = [event.node.attempt for event in events if event.node.node_id == "b"]
    assert attempts == [1, 2, 2, 2]


async def test_what_was_seen_is_in_the_log_however_soon_the_kill_comes(crashes: Crashes) -> None:
    seen: list[Event] = []
    for life in range(3):
        async with crashes.life() as (client, watch):
            if not life:
                await client.start(chain(*(node(f"n{number}", "test.nap", seconds=0.03) for number in range(80))))
            for _ in range(9):
                await watch.until(lambda event: bool(event.seq))
            crashes.process.kill9()
            assert not any(is_terminal(event) for event in watch.durable)
            seen += watch.durable
    events = await crashes.end()
    check_run(events)
    by_seq = {event.seq: event for event in events}
    assert [by_seq[event.seq] for event in seen] == seen
    assert set(ends(events).values()) == {"success"}


async def test_the_idempotency_key_of_a_keyed_node_is_the_same_after_a_kill(
    crashes: Crashes, gate: Gate, marks: Marks
) -> None:
    async with crashes.life() as (client, watch):
        run = await client.start(chain(node("a", "test.keyed", marks=str(marks), gate=str(gate))))
        await watch.until(is_node("a", "running"))
        await marks.wait(1)
    gate.open()
    check_run(await crashes.end())
    assert marks.keys() == [f"{run.run_id}:a"] * 2


async def test_a_run_with_a_node_that_must_not_run_twice_pauses_until_a_person_decides(
    crashes: Crashes, gate: Gate, marks: Marks
) -> None:
    nodes = [node("a", "test.unsafe", marks=str(marks), gate=str(gate)), node("b")]
    async with crashes.life() as (client, watch):
        await client.start(chain(*nodes))
        await watch.until(is_node("a", "running"))
        await marks.wait(1)
    async with crashes.life() as (client, watch):
        snapshot = await client.snapshot()
        if snapshot.state != events_pb.RUN_STATE_PAUSED:
            await watch.until(is_run("workflow_pause", "paused"))
        snapshot = await client.snapshot()
        assert (snapshot.state, snapshot.reason) == (events_pb.RUN_STATE_PAUSED, "unknown_outcome")
        assert marks.attempts() == ["a 1"]
        gate.open()
        await client.resume(by="ada")
        await watch.until(is_terminal)
        events = await client.history()
    check_run(events)
    assert marks.attempts() == ["a 1", "a 2"]
    paused = next(event.workflow_pause for event in events if event.HasField("workflow_pause"))
    assert (paused.by, paused.reason) == ("weftline", "unknown_outcome")


async def test_a_paused_run_stays_paused_and_goes_on_when_it_is_resumed(crashes: Crashes, gate: Gate) -> None:
    async with crashes.life() as (client, watch):
        await client.start(chain(node("a", "test.step", gate=str(gate)), node("b")))
        await watch.until(is_node("a", "running"))
        await client.pause(reason="lunch")
        gate.open()
        await watch.until(is_run("workflow_pause", "paused"))
        before = await client.snapshot()
    async with crashes.life() as (client, watch):
        after = await client.snapshot()
        assert (after.seq, after.state, after.reason) == (before.seq, events_pb.RUN_STATE_PAUSED, "lunch")
        await client.resume()
        await watch.until(is_terminal)
        events = await client.history()
    check_run(events)
    assert ends(events) == {"a": "success", "b": "success"}


async def test_a_run_that_was_draining_is_paused_after_a_kill(crashes: Crashes, gate: Gate) -> None:
    async with crashes.life() as (client, watch):
        await client.start(chain(node("a", "test.step", gate=str(gate))))
        await watch.until(is_node("a", "running"))
        await client.pause()
    async with crashes.life() as (client, watch):
        if (await client.snapshot()).state != events_pb.RUN_STATE_PAUSED:
            await watch.until(is_run("workflow_pause", "paused"))
        gate.open()
        await client.resume()
        await watch.until(is_terminal)
        check_run(await client.history())


async def test_a_run_that_was_stopping_is_stopped_after_a_kill(crashes: Crashes, gate: Gate, marks: Marks) -> None:
    nodes = [node("a", "test.deaf_thread", gate=str(gate), marks=str(marks)), node("b")]
    async with crashes.life() as (client, watch):
        await client.start(chain(*nodes))
        await watch.until(is_node("a", "running"))
        await client.stop(reason="enough")
    events = await crashes.end()
    check_run(events)
    assert events[-1].complete.status == events_pb.RUN_STATE_STOPPED
    assert ends(events)["a"] == "error cancelled"
    assert marks.attempts() == []


async def test_a_run_whose_node_type_is_gone_ends_with_a_named_error_and_a_whole_snapshot(
    crashes: Crashes, gate: Gate
) -> None:
    async with crashes.life() as (client, watch):
        await client.start(chain(node("first"), node("a", "test.step", gate=str(gate)), node("b")))
        await watch.until(is_node("a", "running"))
    crashes.process.settings["NODES"] = ""
    async with crashes.life() as (client, watch):
        await ended(client, watch)
        events = await client.history()
        snapshot = await client.snapshot()
    assert events[-1].error.code == "not_recoverable"
    assert "test.step" in events[-1].error.error
    assert ends(events) == {"first": "success", "a": "error interrupted"}
    assert snapshot.state == events_pb.RUN_STATE_ERROR
    assert [state.node_id for state in snapshot.nodes] == ["first", "a", "b"]


async def test_a_sleep_counts_the_time_before_the_kill(crashes: Crashes, marks: Marks) -> None:
    async with crashes.life() as (client, watch):
        await client.start(chain(node("a", "test.nap", seconds=4, marks=str(marks))))
        await watch.until(is_node("a", "running"))
        await marks.wait(1)
    events = await crashes.end()
    check_run(events)
    begun, ended_at = events[0].timestamp_ms, events[-1].timestamp_ms
    second = next(event.timestamp_ms for event in events if event.node.attempt == 2 and event.node.status == 2)
    assert marks.attempts() == ["a 1", "a 2"]
    # Neither attempt slept for all of it, and yet the time passed.
    assert ended_at - begun >= 4000
    assert ended_at - second < 4000


async def test_a_log_goes_on_where_it_was_with_the_same_epoch_over_many_kills(crashes: Crashes) -> None:
    epochs: set[str] = set()
    seqs: list[int] = []
    for _ in range(3):
        async with crashes.life() as (client, watch):
            epochs.add(watch.responses[0].created.epoch)
            await client.run(noops(2))
            seqs = [event.seq for event in await client.history()]
    assert len(epochs) == 1
    assert seqs == list(range(1, 6 * 3 + 1))


async def test_counters_and_joins_are_as_if_nothing_had_happened(crashes: Crashes, gate: Gate) -> None:
    nodes: list[dict[str, Any]] = [
        *(node("ok"), node("bad", "fail"), node("no"), node("wait", "test.step", gate=str(gate))),
        node("if", "test.branch", handle="left"),
        node("all", "noop", policy={"join": "all_done"}),
        node("two", "noop", policy={"join": {"n_of": 2}}),
        node("fix", "noop", policy={"join": "one_failed"}),
        node("out", "output", value="{{ nodes.ok.output }}"),
    ]
    edges = ("if:right>no", "bad>all", "no>all", "wait>all", "ok>two", "wait>two", "bad>fix", "wait>fix", "ok>out")
    async with crashes.life() as (client, watch):
        await client.start(definition(nodes, *edges, failurePolicy="continue"))
        await watch.until(is_node("wait", "running"))
        await watch.until(is_node("out", "success"))
        if not any(is_node("fix", "success")(event) for event in watch.durable):
            await watch.until(is_node("fix", "success"))
    gate.open()
    events = await crashes.end()
    check_run(events)
    found = ends(events)
    assert [found[name] for name in ("all", "two", "fix", "out")] == ["success"] * 4
    assert found["no"] == "skipped branch_not_taken"
    assert events[-1].error.node_id == "bad"
    assert sum(event.node.node_id == "fix" for event in events) == 2
