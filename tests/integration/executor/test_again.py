"""Running again: an ended run in its next generation, and what an immediate pause has cancelled."""

import json
from pathlib import Path

import grpc

from tests.support.executor_checks import check_run, ends, story
from tests.support.executor_client import Client, Event, is_node, is_run, is_terminal, refused
from tests.support.executor_gates import Gate, Marks
from tests.support.executor_graphs import chain, definition, node
from tests.support.executor_process import ExecutorProcess
from weftline.v1 import events_pb2 as events_pb
from weftline.v1 import workflow_service_pb2 as pb


async def retry(client: Client, **fields: str) -> pb.CommandResult:
    """Retries the newest run of "w"."""
    return (await client.stub.RetryWorkflow(pb.RetryWorkflowRequest(workflow_id="w", **fields), timeout=20)).result


async def retried(client: Client, after: int) -> list[Event]:
    """Waits for the end of the generation that began after a seq, and gives its events."""
    async with client.watch(start_from=pb.WATCH_FROM_SNAPSHOT) as watch:
        if not (await client.snapshot()).HasField("ended_ms"):
            await watch.until(is_terminal)
    return await client.history(after=after)


async def test_a_retry_runs_what_failed_and_what_it_cut_off_and_keeps_what_succeeded(
    client: Client, gate: Gate, marks: Marks
) -> None:
    nodes = [
        node("good", "test.step", marks=str(marks), value=1),
        node("bad", "test.flaky", marks=str(marks), failures=1),
        node("after", "output", value="{{ nodes.good.output }}{{ nodes.bad.output }}"),
    ]
    first = await client.run(definition(nodes, "good>after", "bad>after", failurePolicy="continue"))
    assert ends(first) == {"good": "success", "bad": "error flaky", "after": "skipped upstream_failed"}
    result = await retry(client, by="ada", command_id="again")
    assert (result.run_id, result.seq, result.state) == (
        *(first[0].run_id, first[-1].seq + 1),
        events_pb.RUN_STATE_RUNNING,
    )
    again = await retried(client, first[-1].seq)
    assert (again[0].workflow_resume.by, again[0].workflow_resume.mode) == ("ada", "retry")
    assert story(again) == [
        *("bad pending reset", "after pending reset", "bad running", "bad success", "after running", "after success"),
    ]
    assert marks.attempts() in (["good 1", "bad 1", "bad 2"], ["bad 1", "good 1", "bad 2"])
    assert [event.seq for event in [*first, *again]] == list(range(1, len(first) + len(again) + 1))
    end = again[-1].complete
    assert (end.completed_nodes, end.failed_nodes, end.skipped_nodes) == (3, 0, 0)
    assert json.loads(end.outputs_json) == {"after": "12"}
    snapshot = await client.snapshot()
    assert (snapshot.generation, snapshot.state) == (2, events_pb.RUN_STATE_SUCCESS)
    assert await retry(client, command_id="again", by="ada") == pb.CommandResult(
        workflow_id="w",
        run_id=result.run_id,
        state=events_pb.RUN_STATE_SUCCESS,
        seq=result.seq,
        epoch=result.epoch,
    )


async def test_branches_that_were_not_taken_stay_so_unless_what_decides_them_runs_again(
    client: Client, marks: Marks
) -> None:
    nodes = [
        node("yes", "condition", expression="true"),
        node("no", "noop"),
        node("flaky", "test.flaky", marks=str(marks), failures=1),
        node("choice", "condition", expression="{{ nodes.flaky.output > 1 }}"),
        node("then"),
        node("else"),
    ]
    edges = ("yes:false>no", "yes:true>flaky", "flaky>choice", "choice:true>then", "choice:false>else")
    first = await client.run(definition(nodes, *edges))
    assert ends(first)["no"] == "skipped branch_not_taken"
    await retry(client)
    again = await retried(client, first[-1].seq)
    assert ends(again) == {
        **{"flaky": "success", "choice": "success", "then": "success"},
        "else": "skipped branch_not_taken",
    }


async def test_a_stopped_run_goes_on_where_it_was_stopped(client: Client, gate: Gate, marks: Marks) -> None:
    nodes = [node("a"), node("b", "test.step", marks=str(marks), gate=str(gate)), node("c")]
    async with client.watch() as watch:
        await client.start(chain(*nodes))
        await watch.until(is_node("b", "running"))
        await client.stop(mode=pb.STOP_MODE_TERMINATE)
        stopped = await watch.until(is_terminal)
    gate.open()
    await retry(client)
    again = await retried(client, stopped.seq)
    assert story(again) == [
        *("b pending reset", "c pending reset", "b running", "b success", "c running", "c success"),
    ]


async def test_a_retry_outlives_a_kill(tmp_path: Path, gate: Gate, marks: Marks) -> None:
    process = ExecutorProcess(tmp_path)
    try:
        process.start()
        client = Client(process.address)
        bad = node("bad", "test.flaky", marks=str(marks), failures=1)
        first = await client.run(chain(bad, node("slow", "test.step", gate=str(gate))))
        async with client.watch() as watch:
            await retry(client)
            await watch.until(is_node("slow", "running"))
        process.kill9()
        await client.channel.close()
        gate.open()
        process.start()
        client = Client(process.address)
        again = await retried(client, first[-1].seq)
        await client.channel.close()
    finally:
        process.close()
    assert ends(again) == {"bad": "success", "slow": "success"}
    assert marks.attempts() == ["bad 1", "bad 2"]


async def test_only_an_ended_run_that_did_not_succeed_can_be_retried(client: Client, gate: Gate) -> None:
    with refused(grpc.StatusCode.NOT_FOUND, "workflow_not_found"):
        await retry(client)
    async with client.watch() as watch:
        await client.start(chain(node("a", "test.step", gate=str(gate))))
        await watch.until(is_node("a", "running"))
        with refused(grpc.StatusCode.FAILED_PRECONDITION, "illegal_state"):
            await retry(client)
        gate.open()
        await watch.until(is_terminal)
    with refused(grpc.StatusCode.FAILED_PRECONDITION, "illegal_state") as refusal:
        await retry(client)
    assert refusal.message == "cannot retry workflow 'w': its run is success"


async def test_an_immediate_pause_cancels_what_runs_and_begins_it_again_on_resume(
    client: Client, gate: Gate, marks: Marks
) -> None:
    slow = node("a", "test.step", marks=str(marks), gate=str(gate), policy={"retry": {"attempts": 1}})
    async with client.watch() as watch:
        await client.start(chain(slow, node("b")))
        await watch.until(is_node("a", "running"))
        await marks.wait(1)
        await client.pause(mode=pb.PAUSE_MODE_IMMEDIATE)
        await watch.until(is_run("workflow_pause", "paused"))
        snapshot = await client.snapshot()
        assert (snapshot.nodes[0].status, snapshot.nodes[0].reason) == (events_pb.NODE_STATUS_PENDING, "paused")
        gate.open()
        await client.resume()
        await watch.until(is_terminal)
    events = await client.history()
    check_run(events)
    assert story(events)[:4] == ["a running", "a pending paused", "a running", "a success"]
    assert marks.attempts() == ["a 1", "a 2"]


async def test_an_immediate_pause_waits_for_a_node_that_must_not_run_twice(
    client: Client, gate: Gate, marks: Marks
) -> None:
    async with client.watch() as watch:
        await client.start(chain(node("a", "test.unsafe", marks=str(marks), gate=str(gate)), node("b")))
        await watch.until(is_node("a", "running"))
        result = await client.pause(mode=pb.PAUSE_MODE_IMMEDIATE)
        assert result.state == events_pb.RUN_STATE_PAUSING
        gate.open()
        await watch.until(is_run("workflow_pause", "paused"))
        await client.resume()
        await watch.until(is_terminal)
    assert marks.attempts() == ["a 1"]
