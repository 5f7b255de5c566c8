"""Attempts of a node: retries, time limits, and what its failure means for the run."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.executor_checks import check_run, ends, story
from tests.support.executor_client import Client, Event, is_node, is_run, is_terminal
from tests.support.executor_gates import Gate, Marks
from tests.support.executor_graphs import chain, definition, node
from tests.support.executor_process import ExecutorProcess
from weftline.v1 import events_pb2 as events_pb
from weftline.v1 import workflow_service_pb2 as pb

QUICK = {"attempts": 3, "delay": 0.01}


def failures(events: list[Event], node_id: str) -> list[events_pb.NodeTransition]:
    """The failed attempts of a node."""
    return [event.node for event in events if event.node.node_id == node_id and event.node.error_code]


async def test_a_node_is_tried_again_and_each_attempt_is_told(client: Client, marks: Marks) -> None:
    flaky = node("a", "test.flaky", marks=str(marks), failures=2, policy={"retry": QUICK})
    events = await client.run(chain(flaky, node("end", "output", value="{{ nodes.a.output }}")))
    check_run(events)
    assert marks.attempts() == ["a 1", "a 2", "a 3"]
    assert story(events)[:8] == [
        *("a running", "a error", "a pending retry", "a running", "a error", "a pending retry", "a running"),
        "a success",
    ]
    assert [(each.attempt, each.handled) for each in failures(events, "a")] == [(1, "retry"), (2, "retry")]
    end = events[-1].complete
    assert (end.status, end.failed_nodes, json.loads(end.outputs_json)) == (events_pb.RUN_STATE_SUCCESS, 0, {"end": 3})


async def test_after_its_last_attempt_a_node_has_failed(client: Client, marks: Marks) -> None:
    flaky = node("a", "test.flaky", marks=str(marks), failures=9, policy={"retry": QUICK})
    events = await client.run(chain(flaky, node("b")))
    check_run(events)
    assert [each.handled for each in failures(events, "a")] == ["retry", "retry", ""]
    assert json.loads(failures(events, "a")[-1].data_json) == {"attempt": 3}
    assert ends(events) == {"a": "error flaky", "b": "skipped upstream_failed"}
    assert events[-1].error.code == "flaky"


async def test_without_a_policy_a_node_is_tried_once(client: Client, marks: Marks) -> None:
    events = await client.run(chain(node("a", "test.flaky", marks=str(marks), failures=1)))
    assert marks.attempts() == ["a 1"]
    assert events[-1].HasField("error")


@pytest.mark.parametrize(
    "broken",
    [
        node("a", "test.flaky", marks="", failures=9, retryable=False),
        node("a", "test.not_json"),
        node("a", "template", template="{{ nodes.x.output.nothing }}"),
    ],
    ids=["said so", "not JSON", "expression"],
)
async def test_what_trying_again_cannot_mend_is_not_retried(client: Client, broken: dict[str, Any]) -> None:
    broken = {**broken, "data": {**broken["data"], "policy": {"retry": QUICK}}}
    events = await client.run(definition([node("x", "set", values={}), broken], "x>a"))
    assert [each.handled for each in failures(events, "a")] == [""]


async def test_a_retry_comes_no_sooner_than_the_node_asks_for(client: Client, marks: Marks) -> None:
    flaky = node("a", "test.flaky", marks=str(marks), failures=1, retry_after=0.5, policy={"retry": QUICK})
    events = await client.run(chain(flaky))
    failed, pending = (
        next(event for event in events if is_node("a", status)(event)) for status in ("error", "pending")
    )
    second = [event for event in events if is_node("a", "running")(event)][1]
    assert pending.node.due_ms - failed.timestamp_ms == pytest.approx(500, abs=5)
    assert second.timestamp_ms >= pending.node.due_ms - 5


async def test_the_wait_for_a_retry_survives_a_kill_and_the_attempts_are_counted_on(
    tmp_path: Path, marks: Marks
) -> None:
    process = ExecutorProcess(tmp_path)
    try:
        process.start()
        client = Client(process.address)
        flaky = node(
            "a", "test.flaky", marks=str(marks), failures=9, retry_after=3.0, policy={"retry": {"attempts": 2}}
        )
        async with client.watch(start_from=pb.WATCH_FROM_SNAPSHOT) as watch:
            await client.start(chain(flaky))
            pending = await watch.until(is_node("a", "pending"))
        process.kill9()
        await client.channel.close()
        process.start()
        client = Client(process.address)
        async with client.watch(start_from=pb.WATCH_FROM_SNAPSHOT) as watch:
            assert watch.responses[-1].created.seq
            if not (await client.snapshot()).HasField("ended_ms"):
                await watch.until(is_terminal)
        events = await client.history()
        await client.channel.close()
    finally:
        process.close()
    check_run(events)
    assert marks.attempts() == ["a 1", "a 2"]
    second = [event for event in events if is_node("a", "running")(event)][1]
    assert second.timestamp_ms >= pending.node.due_ms - 5


async def test_a_retry_is_not_waited_for_when_the_run_is_stopped(client: Client, marks: Marks) -> None:
    flaky = node("a", "test.flaky", marks=str(marks), failures=9, retry_after=600, policy={"retry": True})
    async with client.watch() as watch:
        await client.start(chain(flaky))
        await watch.until(is_node("a", "pending"))
        await client.stop()
        await watch.until(is_terminal)
    assert ends(await client.history()) == {"a": "skipped run_stopped"}


async def test_a_failing_node_can_take_its_error_branch(client: Client) -> None:
    nodes = [
        node("a", "test.fail_with_code", code="broken", policy={"onError": "fail_branch"}),
        node("usual"),
        node("rescue", "output", value="{{ nodes.a.output.code }}: {{ nodes.a.output.error }}"),
    ]
    events = await client.run(definition(nodes, "a>usual", "a:error>rescue"))
    check_run(events)
    assert ends(events) == {"a": "error broken", "usual": "skipped branch_not_taken", "rescue": "success"}
    assert failures(events, "a")[0].handled == "fail_branch"
    end = events[-1].complete
    assert (end.status, end.failed_nodes) == (events_pb.RUN_STATE_SUCCESS, 1)
    assert json.loads(end.outputs_json) == {"rescue": "broken: as agreed"}


async def test_the_error_branch_is_not_taken_when_all_is_well(client: Client) -> None:
    nodes = [node("a", policy={"onError": "fail_branch"}), node("usual"), node("rescue")]
    events = await client.run(definition(nodes, "a>usual", "a:error>rescue"))
    assert ends(events) == {"a": "success", "usual": "success", "rescue": "skipped branch_not_taken"}


async def test_a_default_value_takes_the_place_of_what_a_failing_node_would_have_given(client: Client) -> None:
    policy = {"onError": {"default_value": {"n": 7}}}
    nodes = [node("a", "test.raise", policy=policy), node("end", "output", value="{{ nodes.a.output.n }}")]
    events = await client.run(chain(*nodes))
    check_run(events)
    assert (failures(events, "a")[0].handled, failures(events, "a")[0].data_json) == ("default_value", '{"n":7}')
    assert json.loads(events[-1].complete.outputs_json) == {"end": 7}


async def test_a_failing_node_can_pause_its_run_and_is_tried_again_on_resume(client: Client, marks: Marks) -> None:
    flaky = node("a", "test.flaky", marks=str(marks), failures=1, policy={"onError": "pause"})
    async with client.watch() as watch:
        await client.start(chain(flaky, node("b")))
        paused = await watch.until(is_run("workflow_pause", "paused"))
        assert (paused.workflow_pause.by, paused.workflow_pause.reason) == ("weftline", "node_failed")
        await client.resume()
        await watch.until(is_terminal)
    events = await client.history()
    check_run(events)
    assert story(events)[:5] == ["a running", "a error", "a pending resumed", "a running", "a success"]
    assert ends(events) == {"a": "success", "b": "success"}


async def test_an_attempt_that_takes_too_long_fails_and_what_it_says_later_is_dropped(
    client: Client, gate: Gate
) -> None:
    slow = node("a", "test.deaf_thread", gate=str(gate), policy={"timeout": 0.2, "onError": "fail_branch"})
    async with client.watch() as watch:
        await client.start(definition([slow, node("b", "test.step", gate=str(gate))], "a:error>b"))
        failed = await watch.until(is_node("a", "error"))
        assert (failed.node.error_code, failed.node.error) == ("attempt_timeout", "the attempt took longer than 0.2 s")
        gate.open()
        await watch.until(is_terminal)
    events = await client.history()
    check_run(events)
    assert ends(events) == {"a": "error attempt_timeout", "b": "success"}
    assert not any(event.HasField("log") for event in events)


async def test_an_attempt_that_is_silent_for_too_long_fails_and_one_that_reports_does_not(client: Client) -> None:
    policy = {"timeout": {"idle": 0.4}}
    reports = [share / 10 for share in range(1, 8)]
    nodes = [
        node("busy", "test.progress", reports=reports, pause=0.12, policy=policy),
        node("silent", "test.nap", seconds=60, policy=policy),
    ]
    events = await client.run(definition(nodes, failurePolicy="continue"))
    assert ends(events) == {"busy": "success", "silent": "error idle_timeout"}


async def test_a_node_that_waits_too_long_for_a_slot_fails(client: Client, gate: Gate) -> None:
    nodes = [
        node("first", "test.step", gate=str(gate)),
        node("second", policy={"timeout": {"queue": 0.2}}),
    ]
    async with client.watch() as watch:
        await client.start(definition(nodes, concurrency=1, failurePolicy="continue"))
        failed = await watch.until(is_node("second", "error"))
        assert failed.node.error_code == "queue_timeout"
        gate.open()
        await watch.until(is_terminal)
    events = await client.history()
    check_run(events)
    assert ends(events) == {"first": "success", "second": "error queue_timeout"}


async def test_a_run_that_is_active_beyond_its_deadline_fails(client: Client) -> None:
    events = await client.run(chain(node("a", "test.nap", seconds=60), node("b"), deadline=0.3))
    check_run(events)
    assert (events[-1].error.code, events[-1].error.node_id) == ("deadline", "")
    assert ends(events) == {"a": "error cancelled", "b": "skipped upstream_failed"}


async def test_time_in_a_pause_does_not_count_towards_the_deadline(client: Client, gate: Gate) -> None:
    async with client.watch() as watch:
        await client.start(
            chain(node("a", "test.step", gate=str(gate)), node("b", "test.nap", seconds=0.6), deadline=1.0)
        )
        await watch.until(is_node("a", "running"))
        await client.pause()
        gate.open()
        paused = await watch.until(is_run("workflow_pause", "paused"))
        async with client.watch("clock") as clock:
            await client.start(chain(node("t", "test.nap", seconds=1.0)), "clock")
            await clock.until(is_terminal)
        resumed = await client.resume()
        assert resumed.seq > paused.seq
        await watch.until(is_terminal)
    assert (await client.history())[-1].HasField("complete")
