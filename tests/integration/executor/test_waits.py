"""Nodes that wait for a word from outside: approvals and events."""

import asyncio
import json
from pathlib import Path

import grpc
import pytest

from tests.support.executor_checks import check_run, ends, story
from tests.support.executor_client import CALL_SECONDS, Client, Event, is_node, is_run, is_terminal, refused
from tests.support.executor_engine import running_executor
from tests.support.executor_gates import Gate, Marks
from tests.support.executor_graphs import chain, definition, node
from tests.support.executor_process import ExecutorProcess
from weftline.v1 import events_pb2 as events_pb
from weftline.v1 import workflow_service_pb2 as pb

PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION


def is_pending(event: Event) -> bool:
    """Whether a node has come to where it waits."""
    return event.node.reason in ("approval", "event")


async def complete(client: Client, node_id: str = "", data: object = None, **fields: str) -> pb.CommandResult:
    """Completes a node of "w"; with `event` sends that instead."""
    data_json = "" if data is None else json.dumps(data)
    request = pb.CompleteNodeRequest(workflow_id="w", node_id=node_id, data_json=data_json, **fields)
    return (await client.stub.CompleteNode(request, timeout=CALL_SECONDS)).result


async def test_an_approval_waits_says_for_what_and_gives_what_it_is_completed_with(client: Client) -> None:
    nodes = [
        node("ask", "approval", message="Ship {{ params.what }}?", deadline=3600),
        node("after", "output", value="{{ nodes.ask.output.note }}"),
    ]
    async with client.watch() as watch:
        await client.start(chain(*nodes, params={"what": "it"}))
        pending = await watch.until(is_node("ask", "pending"))
        assert (pending.node.reason, json.loads(pending.node.data_json)) == ("approval", {"message": "Ship it?"})
        assert pending.node.due_ms - pending.timestamp_ms == pytest.approx(3_600_000, abs=1000)
        asked = next(each for each in (await client.snapshot()).nodes if each.node_id == "ask")
        assert (asked.reason, asked.data_json) == ("approval", pending.node.data_json)
        result = await complete(client, "ask", {"approved": True, "note": "go"}, by="ada", command_id="c")
        end = await watch.until(is_terminal)
    events = await client.history()
    check_run(events)
    assert story(events)[:3] == ["ask running", "ask pending approval", "ask success completed"]
    assert json.loads(end.complete.outputs_json) == {"after": "go"}
    success = events[result.seq - 1].node
    assert (success.node_id, success.by, success.reason) == ("ask", "ada", "completed")
    assert await complete(client, "ask", by="ada", command_id="c") == pb.CommandResult(
        workflow_id="w", run_id=result.run_id, state=events_pb.RUN_STATE_SUCCESS, seq=result.seq, epoch=result.epoch
    )


async def test_a_rejected_approval_fails_and_can_go_its_error_branch(client: Client) -> None:
    nodes = [
        node("ask", "approval", policy={"onError": "fail_branch"}),
        node("yes"),
        node("no", "output", value="{{ inputs.input }}"),
    ]
    async with client.watch() as watch:
        await client.start(definition(nodes, "ask>yes", "ask:error>no"))
        await watch.until(is_node("ask", "pending"))
        await complete(client, "ask", {"approved": False, "comment": "too dear"}, by="ada")
        end = await watch.until(is_terminal)
    assert ends(await client.history()) == {
        "ask": "error rejected",
        "yes": "skipped branch_not_taken",
        "no": "success",
    }
    assert json.loads(end.complete.outputs_json)["no"] == {
        "error": "rejected by ada: too dear",
        "code": "rejected",
        "details": {"approved": False, "comment": "too dear"},
    }


async def test_an_unanswered_approval_fails_at_its_deadline_and_is_not_tried_again(client: Client) -> None:
    events = await client.run(chain(node("ask", "approval", deadline=0.05, policy={"retry": True})))
    assert ends(events) == {"ask": "error approval_timeout"}
    assert story(events).count("ask running") == 1


async def test_a_wait_with_a_default_takes_it_at_its_deadline(client: Client) -> None:
    nodes = [
        node("ask", "approval", deadline=0.05, default={"approved": True}),
        node("event", "wait_for_event", event="paid", deadline=0.05, default=None),
        node("no", "approval", deadline=0.05, default={"approved": False}),
    ]
    events = await client.run(definition(nodes, failurePolicy="continue"))
    assert ends(events) == {"ask": "success timed_out", "event": "success timed_out", "no": "error rejected"}


async def test_an_event_ends_the_wait_of_every_node_that_waits_for_its_name(client: Client) -> None:
    nodes = [
        node("a", "wait_for_event", event="{{ params.name }}"),
        node("b", "wait_for_event", event="paid"),
        node("c", "wait_for_event", event="shipped"),
    ]
    async with client.watch() as watch:
        await client.start(definition(nodes, params={"name": "paid"}))
        for node_id in "abc":
            await watch.until(is_node(node_id, "pending"))
        await complete(client, event="paid", data={"sum": 3})
        with refused(PRECONDITION, "nothing_waits") as refusal:
            await complete(client, event="paid")
        assert refusal.info.metadata["event"] == "paid"
        await complete(client, "c", [1])
        await watch.until(is_terminal)
    assert ends(await client.history()) == dict.fromkeys("abc", "success completed")


async def test_what_cannot_be_completed_says_why(client: Client, gate: Gate) -> None:
    with refused(grpc.StatusCode.NOT_FOUND, "workflow_not_found"):
        await complete(client, "a")
    async with client.watch() as watch:
        await client.start(chain(node("a", "test.step", gate=str(gate)), node("ask", "approval")))
        await watch.until(is_node("a", "running"))
        for call in (complete(client, "a"), complete(client, "ask")):
            with refused(PRECONDITION, "nothing_waits"):
                await call
        with refused(grpc.StatusCode.NOT_FOUND, "node_not_found") as refusal:
            await complete(client, "z")
        assert refusal.info.metadata["node_id"] == "z"
        gate.open()
        await watch.until(is_node("ask", "pending"))
        bad = {"data_json": "{", "node_id": "ask"}, {"data_json": f'"{"x" * 32_768}"', "node_id": "ask"}
        for fields in (*bad, {"node_id": "ask", "event": "e"}, {}):
            with refused(grpc.StatusCode.INVALID_ARGUMENT, "invalid_argument"):
                await client.stub.CompleteNode(pb.CompleteNodeRequest(workflow_id="w", **fields), timeout=CALL_SECONDS)
        await client.stop()
        await watch.until(is_terminal)
    with refused(PRECONDITION, "illegal_state"):
        await complete(client, "ask")


async def test_nobody_is_told_a_time_left_while_somebody_has_to_answer(client: Client) -> None:
    async with client.watch() as watch:
        await client.start(chain(node("ask", "approval"), node("b"), node("c")))
        await watch.until(is_node("ask", "pending"))
        assert not (await client.snapshot()).progress.HasField("estimated_remaining_ms")
        await complete(client, "ask")
        await watch.until(is_terminal)


async def test_a_waiting_node_takes_no_slot_and_holds_up_no_pause(client: Client) -> None:
    nodes = [node("ask", "approval"), node("b", "wait_for_event", event="e"), node("c")]
    async with client.watch() as watch:
        await client.start(definition(nodes, "b>c", concurrency=1))
        await watch.until(is_node("b", "pending"))
        assert (await client.pause()).state == events_pb.RUN_STATE_PAUSED
        assert (await complete(client, "b")).state == events_pb.RUN_STATE_PAUSED
        await watch.until(is_node("b", "success"))
        await client.resume()
        await watch.until(is_node("c", "success"))
        await complete(client, "ask")
        await watch.until(is_terminal)
    events = await client.history()
    words = [event.WhichOneof("payload") for event in events]
    running = next(at for at, each in enumerate(events) if each.node.node_id == "c")
    assert running > words.index("workflow_resume")


async def test_a_stop_ends_every_wait(client: Client) -> None:
    async with client.watch() as watch:
        await client.start(chain(node("ask", "approval"), node("after")))
        await watch.until(is_node("ask", "pending"))
        await client.stop()
        await watch.until(is_terminal)
    events = await client.history()
    check_run(events)
    assert ends(events) == {"ask": "skipped run_stopped", "after": "skipped run_stopped"}


async def test_a_wait_outlives_a_kill_and_keeps_its_deadline(tmp_path: Path) -> None:
    nodes = [
        node("ask", "approval", message="?"),
        node("soon", "wait_for_event", event="never", deadline=3, default="late"),
        node("later", "wait_for_event", event="e", deadline=3600),
        node("end", "output", value="{{ nodes.soon.output }}"),
    ]
    process = ExecutorProcess(tmp_path)
    try:
        process.start()
        client = Client(process.address)
        async with client.watch() as watch:
            await client.start(definition(nodes, "soon>end"))
            pending = [await watch.until(is_pending) for _ in nodes[:3]]
            # The deadline may have passed before the second watch begins.
            cursor = pb.Cursor(epoch=watch.responses[0].created.epoch, seq=pending[-1].seq)
        process.kill9()
        await client.channel.close()
        process.start()
        client = Client(process.address)
        async with client.watch(start_from=pb.WATCH_FROM_CURSOR, cursor=cursor) as watch:
            late = await watch.until(is_node("soon", "success"))
            waiting = {each.node_id: each for each in (await client.snapshot()).nodes}
            assert waiting["later"].due_ms == next(each.node.due_ms for each in pending if each.node.node_id == "later")
            await complete(client, event="e")
            await complete(client, "ask")
            await watch.until(is_terminal)
        events = await client.history()
        await client.channel.close()
    finally:
        process.close()
    check_run(events)
    assert story(events).count("ask running") == 1
    due = next(each.node.due_ms for each in pending if each.node.node_id == "soon")
    begun = next(event for event in events if is_node("soon", "running")(event))
    assert due - begun.timestamp_ms == pytest.approx(3000, abs=1500)
    # A timer may ring a moment early by another clock; one that began anew at the restart would say another time.
    assert late.timestamp_ms >= due - 50


async def test_a_person_can_say_how_a_node_ended_of_which_nobody_knows(
    tmp_path: Path, gate: Gate, marks: Marks
) -> None:
    process = ExecutorProcess(tmp_path)
    nodes = [node("once", "test.unsafe", marks=str(marks), gate=str(gate)), node("end", "output")]
    try:
        process.start()
        client = Client(process.address)
        await client.start(chain(*nodes))
        await marks.wait(1)
        process.kill9()
        await client.channel.close()
        process.start()
        client = Client(process.address)
        async with client.watch(start_from=pb.WATCH_FROM_SNAPSHOT) as watch:
            if (await client.snapshot()).state != events_pb.RUN_STATE_PAUSED:
                await watch.until(is_run("workflow_pause", "paused"))
            await complete(client, "once", "it was done", by="ada")
            await client.resume()
            end = await watch.until(is_terminal)
        await client.channel.close()
    finally:
        process.close()
    assert json.loads(end.complete.outputs_json) == {"end": "it was done"}
    assert marks.attempts() == ["once 1"]


async def test_a_disabled_node_is_skipped_and_says_so(client: Client) -> None:
    nodes = [node("a", policy={"disabled": True}), node("b"), node("c", policy={"disabled": True}), node("d")]
    events = await client.run(definition(nodes, "a>b", "d>c"))
    assert ends(events) == {
        **{"a": "skipped disabled", "b": "skipped upstream_skipped"},
        **{"c": "skipped disabled", "d": "success"},
    }


async def test_a_secret_that_a_wait_shows_is_taken_out() -> None:
    async with running_executor() as running:
        client = running.client
        async with client.watch() as watch:
            await client.start(chain(node("ask", "test.ask_with_secret")))
            pending = await watch.until(is_node("ask", "pending"))
            assert "s3cr3t-token" not in pending.node.data_json
            assert json.loads(pending.node.data_json)["message"].startswith("use ")
            await asyncio.wait_for(complete(client, "ask"), CALL_SECONDS)
            await watch.until(is_terminal)
