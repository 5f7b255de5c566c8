"""Nodes that run when all others have ended, however they did."""

import json
from pathlib import Path

import pytest

from tests.support.executor_checks import check_run, ends, story
from tests.support.executor_client import Client, is_node, is_run, is_terminal
from tests.support.executor_gates import Gate, Marks
from tests.support.executor_graphs import chain, definition, node
from tests.support.executor_process import ExecutorProcess
from weftline.v1 import events_pb2 as events_pb
from weftline.v1 import workflow_service_pb2 as pb

FINALLY = {"finally": True}
STATUS = "{{ run.status }} {{ run.failedNode }}"


def last(node_id: str = "last", value: str = STATUS, **policy: object) -> dict[str, object]:
    """A `finally` node that gives how the run stands."""
    return node(node_id, "output", value=value, policy={**FINALLY, **policy})


def output_of(events: list[events_pb.Event], node_id: str = "last") -> object:
    """What a node gave."""
    return json.loads(next(event for event in events if is_node(node_id, "success")(event)).node.data_json)


async def test_a_finally_node_runs_after_everything_else(client: Client, gate: Gate) -> None:
    nodes = [last(), node("slow", "test.step", gate=str(gate)), node("a"), node("b")]
    async with client.watch() as watch:
        await client.start(definition(nodes, "a>b"))
        await watch.until(is_node("b", "success"))
        gate.open()
        await watch.until(is_terminal)
    events = await client.history()
    check_run(events)
    assert story(events)[-2:] == ["last running", "last success"]
    assert output_of(events) == "success "


@pytest.mark.parametrize("failure_policy", ["fail_fast", "continue"])
async def test_a_finally_node_runs_when_the_run_fails_and_knows_by_what(client: Client, failure_policy: str) -> None:
    nodes = [node("bad", "fail"), node("never"), last(value=f"{STATUS}: {{{{ run.error }}}}")]
    events = await client.run(definition(nodes, "bad>never", failurePolicy=failure_policy))
    check_run(events)
    assert ends(events)["never"].startswith("skipped")
    assert output_of(events) == "error bad: failed on purpose"
    assert (events[-1].error.node_id, events[-1].error.code) == ("bad", "node_failed")


async def test_finally_nodes_take_one_another_s_edges_and_read_what_others_gave(client: Client) -> None:
    nodes = [
        node("work", "set", values={"n": 7}),
        node("skipped", policy={"disabled": True}),
        node("first", "set", values={"n": "{{ inputs.input.n + 1 }}"}, policy=FINALLY),
        last("second", "{{ nodes.first.output.n }} {{ nodes.work.output.n }}"),
        last("orphan", "ran"),
    ]
    events = await client.run(definition(nodes, "work>first", "first>second", "skipped>orphan"))
    assert output_of(events, "second") == "8 7"
    assert output_of(events, "orphan") == "ran"


async def test_the_failure_of_a_finally_node_fails_a_run_and_keeps_no_other_from_running(client: Client) -> None:
    nodes = [node("a"), node("bad", "fail", policy=FINALLY), node("after", policy=FINALLY), last()]
    events = await client.run(definition(nodes, "bad>after"))
    assert ends(events) == {
        "a": "success",
        "bad": "error node_failed",
        "after": "skipped upstream_failed",
        **{"last": "success"},
    }
    assert events[-1].error.node_id == "bad"


async def test_a_graceful_stop_runs_the_finally_nodes_and_a_terminating_one_does_not(
    client: Client, gate: Gate
) -> None:
    nodes = [node("slow", "test.step", gate=str(gate)), node("never"), last()]
    for mode, ended in ((pb.STOP_MODE_GRACEFUL, "success"), (pb.STOP_MODE_TERMINATE, "skipped run_stopped")):
        async with client.watch(start_from=pb.WATCH_FROM_NOW) as watch:
            await client.start(definition(nodes, "slow>never"))
            await watch.until(is_node("slow", "running"))
            await client.stop(mode=mode)
            end = await watch.until(is_terminal)
        check_run(watch.durable)
        assert ends(watch.durable) == {"slow": "error cancelled", "never": "skipped upstream_failed", "last": ended}
        assert end.complete.status == events_pb.RUN_STATE_STOPPED
        if ended == "success":
            assert output_of(watch.durable) == "stopped "


async def test_a_stop_lets_finally_nodes_go_on_until_its_grace_is_over(client: Client, gate: Gate) -> None:
    nodes = [node("a"), node("cleaning", "test.step", gate=str(gate), policy=FINALLY)]
    async with client.watch() as watch:
        await client.start(definition(nodes))
        await watch.until(is_node("cleaning", "running"))
        await client.stop(grace_ms=100)
        end = await watch.until(is_terminal)
    assert ends(await client.history()) == {"a": "success", "cleaning": "error cancelled"}
    assert end.complete.status == events_pb.RUN_STATE_STOPPED


async def test_a_pause_holds_finally_nodes_too(client: Client, gate: Gate) -> None:
    async with client.watch() as watch:
        await client.start(definition([node("a", "test.step", gate=str(gate)), last()]))
        await watch.until(is_node("a", "running"))
        await client.pause()
        gate.open()
        await watch.until(is_run("workflow_pause", "paused"))
        assert not [event for event in watch.durable if event.node.node_id == "last"]
        await client.resume()
        await watch.until(is_terminal)


async def test_a_run_over_its_deadline_still_runs_its_finally_nodes(client: Client, gate: Gate) -> None:
    events = await client.run(definition([node("slow", "test.step", gate=str(gate)), last()], deadline=0.1))
    assert (ends(events)["last"], events[-1].error.code) == ("success", "deadline")
    assert output_of(events) == "error "


async def test_a_retry_runs_the_finally_nodes_again_at_its_end(client: Client, marks: Marks) -> None:
    nodes = [node("good"), node("bad", "test.flaky", marks=str(marks), failures=1), last()]
    first = await client.run(definition(nodes, "good>bad"))
    async with client.watch(start_from=pb.WATCH_FROM_NOW) as watch:
        await client.stub.RetryWorkflow(pb.RetryWorkflowRequest(workflow_id="w"), timeout=20)
        await watch.until(is_terminal)
    again = [event for event in watch.durable if event.seq > first[-1].seq]
    assert story(again) == [
        *("bad pending reset", "last pending reset", "bad running", "bad success", "last running", "last success")
    ]
    assert (output_of(first), output_of(again)) == ("error bad", "success ")
    assert again[-1].complete.completed_nodes == 3


@pytest.mark.parametrize("stopped", [False, True])
async def test_finally_nodes_outlive_a_kill(tmp_path: Path, gate: Gate, marks: Marks, stopped: bool) -> None:
    slow = node("slow", "test.step", gate=str(tmp_path / "never") if stopped else "")
    once = node("once", "test.step", marks=str(marks), policy=FINALLY)
    held = node("held", "test.step", marks=str(marks), gate=str(gate), policy=FINALLY)
    process = ExecutorProcess(tmp_path)
    try:
        process.start()
        client = Client(process.address)
        async with client.watch() as watch:
            await client.start(definition([slow, node("b"), once, held, last()], "slow>b", "once>held", "held>last"))
            if stopped:
                await watch.until(is_node("slow", "running"))
                await client.stop()
            await watch.until(is_node("held", "running"))
            await marks.wait(2)
        process.kill9()
        await client.channel.close()
        gate.open()
        process.start()
        client = Client(process.address)
        async with client.watch(start_from=pb.WATCH_FROM_SNAPSHOT) as watch:
            if not (await client.snapshot()).HasField("ended_ms"):
                await watch.until(is_terminal)
        events = await client.history()
        await client.channel.close()
    finally:
        process.close()
    check_run(events)
    assert marks.attempts() == ["once 1", "held 1", "held 2"]
    assert output_of(events) == ("stopped " if stopped else "success ")
    assert ends(events)["b"] == ("skipped upstream_failed" if stopped else "success")


async def test_a_run_without_other_nodes_runs_its_finally_nodes(client: Client) -> None:
    events = await client.run(chain(last()))
    assert output_of(events) == "success "
