"""A new run that takes over the results of the one before, from a node on."""

import json
from pathlib import Path

import grpc

from tests.support.executor_checks import check_run, ends, story
from tests.support.executor_client import CALL_SECONDS, Client, is_node, is_terminal, refused
from tests.support.executor_engine import RunningExecutor
from tests.support.executor_gates import Gate, Marks
from tests.support.executor_graphs import chain, definition, node
from tests.support.executor_process import ExecutorProcess
from weftline.v1 import workflow_service_pb2 as pb


async def rerun(client: Client, from_node_id: str, **fields: str) -> pb.CommandResult:
    """Runs "w" again from a node on."""
    request = pb.RerunWorkflowRequest(workflow_id="w", from_node_id=from_node_id, **fields)
    return (await client.stub.RerunWorkflow(request, timeout=CALL_SECONDS)).result


async def test_a_rerun_takes_over_what_came_before_a_node_and_runs_the_rest(client: Client, marks: Marks) -> None:
    nodes = [
        node("a", "test.step", marks=str(marks), value=1),
        node("b", "test.step", marks=str(marks), value=2),
        node("beside", "test.step", marks=str(marks), value=3),
        node("end", "output", value="{{ nodes.a.output }}{{ nodes.b.output }}{{ nodes.beside.output }}"),
    ]
    text = definition(nodes, "a>b", "b>end", "beside>end")
    first = await client.run(text)
    async with client.watch(start_from=pb.WATCH_FROM_NOW) as watch:
        result = await rerun(client, "b", by="ada", command_id="again")
        end = await watch.until(is_terminal)
    events = watch.durable
    check_run(events)
    assert story(events) == [
        *("a success reused", "beside success reused", "b running", "b success", "end running", "end success")
    ]
    assert json.loads(end.complete.outputs_json) == {"end": "123"}
    assert sorted(marks.attempts()) == ["a 1", "b 1", "b 1", "beside 1"]
    start = events[0]
    assert (start.seq, start.run_id) == (result.seq, result.run_id) == (first[-1].seq + 1, events[-1].run_id)
    assert (start.workflow_start.rerun_of, start.workflow_start.by) == (first[0].run_id, "ada")
    assert json.loads(start.workflow_start.definition_json) == json.loads(text)
    snapshot = await client.snapshot()
    assert (snapshot.rerun_of, snapshot.progress.completed_nodes) == (first[0].run_id, 4)
    assert (await rerun(client, "b", by="ada", command_id="again")).seq == result.seq


async def test_a_large_result_that_is_taken_over_is_the_new_runs_own(executor: RunningExecutor) -> None:
    client = executor.client
    first = await client.run(chain(node("big", "test.rows", count=5000), node("row", "output")))
    async with client.watch(start_from=pb.WATCH_FROM_NOW) as watch:
        await rerun(client, "row")
        end = await watch.until(is_terminal)
    check_run(watch.durable)
    await executor.engine.artifacts.delete_run(first[0].run_id)
    assert len(json.loads(await client.artifact(end.complete.artifact.uri))["row"]["rows"]) == 5000
    (big, _) = (await client.snapshot()).nodes
    assert big.artifact.uri.startswith(f"weftline:{end.run_id}/")
    assert len(json.loads(await client.artifact(big.artifact.uri))["rows"]) == 5000


async def test_what_failed_or_never_ran_elsewhere_runs_too_and_what_follows_it(client: Client, marks: Marks) -> None:
    nodes = [
        node("a", "condition", expression="true"),
        node("yes", "test.step", marks=str(marks)),
        node("no", "test.step", marks=str(marks)),
        node("flaky", "test.flaky", marks=str(marks), failures=1, policy={"onError": "fail_branch"}),
        node("sorry", "test.step", marks=str(marks)),
        node("happy", "test.step", marks=str(marks)),
        node("last", "test.step", marks=str(marks), policy={"finally": True}),
    ]
    edges = ("a:true>yes", "a:false>no", "flaky:error>sorry", "flaky>happy")
    first = await client.run(definition(nodes, *edges))
    assert ends(first)["happy"] == "skipped branch_not_taken"
    async with client.watch(start_from=pb.WATCH_FROM_NOW) as watch:
        await rerun(client, "yes")
        await watch.until(is_terminal)
    assert ends(watch.durable) == {
        **{"a": "success reused", "yes": "success", "no": "skipped branch_not_taken", "flaky": "error flaky"},
        **{"sorry": "success", "happy": "skipped branch_not_taken", "last": "success"},
    }


async def test_what_cannot_run_again_says_why(client: Client, gate: Gate) -> None:
    with refused(grpc.StatusCode.NOT_FOUND, "workflow_not_found"):
        await rerun(client, "a")
    async with client.watch() as watch:
        await client.start(chain(node("a", "test.step", gate=str(gate))))
        await watch.until(is_node("a", "running"))
        with refused(grpc.StatusCode.FAILED_PRECONDITION, "illegal_state"):
            await rerun(client, "a")
        gate.open()
        await watch.until(is_terminal)
    with refused(grpc.StatusCode.NOT_FOUND, "node_not_found"):
        await rerun(client, "z")


async def test_a_rerun_outlives_a_kill_and_can_be_rerun(tmp_path: Path, gate: Gate, marks: Marks) -> None:
    nodes = [
        node("a", "test.step", marks=str(marks), value=5),
        node("b", "test.step", marks=str(marks), gate=str(gate)),
    ]
    nodes += [node("end", "output", value="{{ nodes.a.output }}")]
    process = ExecutorProcess(tmp_path)
    try:
        process.start()
        client = Client(process.address)
        gate.open()
        await client.run(chain(*nodes))
        gate.path.unlink()
        async with client.watch(start_from=pb.WATCH_FROM_NOW) as watch:
            await rerun(client, "b")
            await watch.until(is_node("b", "running"))
        process.kill9()
        await client.channel.close()
        gate.open()
        process.start()
        client = Client(process.address)
        async with client.watch(start_from=pb.WATCH_FROM_SNAPSHOT) as watch:
            if not (await client.snapshot()).HasField("ended_ms"):
                await watch.until(is_terminal)
        async with client.watch(start_from=pb.WATCH_FROM_NOW) as watch:
            await rerun(client, "end")
            end = await watch.until(is_terminal)
        await client.channel.close()
    finally:
        process.close()
    assert json.loads(end.complete.outputs_json) == {"end": 5}
    assert [mark for mark in marks.attempts() if mark.startswith("a")] == ["a 1"]
