"""Commands on a run: pausing, resuming, stopping, replacing, and commands that come twice."""

import asyncio

import grpc
import pytest

from tests.support.executor_checks import check_run, ends, story
from tests.support.executor_client import CALL_SECONDS, Client, is_node, is_run, is_terminal, refused
from tests.support.executor_gates import Gate, Marks
from tests.support.executor_graphs import chain, definition, node, noops
from weftline.v1 import events_pb2 as events_pb
from weftline.v1 import workflow_service_pb2 as pb

NOW = pb.WATCH_FROM_NOW


async def test_a_pause_names_what_is_in_flight_lets_it_finish_and_starts_nothing(client: Client, gate: Gate) -> None:
    async with client.watch(start_from=NOW) as watch:
        await client.start(chain(node("a", "test.step", gate=str(gate)), node("b")))
        await watch.until(is_node("a", "running"))
        result = await client.pause(by="ada", reason="lunch")
        assert result.state == events_pb.RUN_STATE_PAUSING
        pausing = await watch.until(is_run("workflow_pause", "pausing"))
        assert pausing.seq == result.seq
        assert list(pausing.workflow_pause.in_flight) == ["a"]
        assert (pausing.workflow_pause.by, pausing.workflow_pause.reason) == ("ada", "lunch")
        assert pausing.workflow_pause.mode == "drain"
        gate.open()
        paused = await watch.until(is_run("workflow_pause", "paused"))
        assert list(paused.workflow_pause.in_flight) == []
        assert (paused.workflow_pause.by, paused.workflow_pause.reason) == ("weftline", "lunch")
        assert (await client.snapshot()).state == events_pb.RUN_STATE_PAUSED
        assert (await client.snapshot()).reason == "lunch"
        assert (await client.resume(by="bob")).state == events_pb.RUN_STATE_RUNNING
        resumed = await watch.until(is_run("workflow_resume", "running"))
        assert resumed.workflow_resume.by == "bob"
        assert (await watch.until(is_terminal)).HasField("complete")
        check_run(watch.durable)
    assert story(watch.durable) == ["a running", "a success", "b running", "b success"]
    running = next(event.seq for event in watch.durable if is_node("b", "running")(event))
    assert paused.seq < resumed.seq < running


async def test_a_run_that_is_resumed_while_it_drains_goes_on_at_once(client: Client, gate: Gate) -> None:
    nodes = [node("a", "test.step", gate=str(gate)), node("b"), node("c")]
    async with client.watch(start_from=NOW) as watch:
        await client.start(definition(nodes, "b>c", concurrency=1))
        await watch.until(is_node("a", "running"))
        await client.pause()
        await client.resume()
        gate.open()
        await watch.until(is_terminal)
        check_run(watch.durable)
    assert not any(is_run("workflow_pause", "paused")(event) for event in watch.durable)
    assert set(ends(watch.durable).values()) == {"success"}


async def test_a_run_whose_last_node_finishes_while_it_drains_ends(client: Client, gate: Gate) -> None:
    async with client.watch(start_from=NOW) as watch:
        await client.start(chain(node("a", "test.step", gate=str(gate))))
        await watch.until(is_node("a", "running"))
        await client.pause()
        gate.open()
        assert (await watch.until(is_terminal)).complete.status == events_pb.RUN_STATE_SUCCESS


async def test_a_failure_while_a_run_drains_ends_it(client: Client, gate: Gate) -> None:
    nodes = [node("a", "test.fail_later", gate=str(gate)), node("b"), node("c")]
    async with client.watch(start_from=NOW) as watch:
        await client.start(definition(nodes, "b>c", "a>b"))
        await watch.until(is_node("a", "running"))
        await client.pause()
        gate.open()
        assert (await watch.until(is_terminal)).error.node_id == "a"
        check_run(watch.durable)


async def test_a_graceful_stop_cancels_an_async_node_and_waits_for_its_cleanup(
    client: Client, gate: Gate, marks: Marks
) -> None:
    nodes = [node("a", "test.cleanup", gate=str(gate), marks=str(marks)), node("b")]
    async with client.watch(start_from=NOW) as watch:
        await client.start(chain(*nodes))
        await marks.wait(1)
        result = await client.stop(by="ada", reason="enough")
        assert result.state == events_pb.RUN_STATE_STOPPING
        stopping = await watch.until(is_run("workflow_stop", "stopping"))
        assert (stopping.workflow_stop.mode, list(stopping.workflow_stop.in_flight)) == ("graceful", ["a"])
        assert (stopping.workflow_stop.by, stopping.workflow_stop.reason) == ("ada", "enough")
        assert marks.attempts() == ["a 1"]
        gate.open()
        end = await watch.until(is_terminal)
        check_run(watch.durable)
    assert marks.attempts() == ["a 1", "a 1"]
    assert end.complete.status == events_pb.RUN_STATE_STOPPED
    assert ends(watch.durable) == {"a": "error cancelled", "b": "skipped upstream_failed"}
    assert (await client.snapshot()).reason == "enough"


async def test_a_graceful_stop_tells_a_thread_to_end_and_what_it_gives_then_counts(
    client: Client, marks: Marks
) -> None:
    async with client.watch(start_from=NOW) as watch:
        await client.start(chain(node("a", "test.polite_thread", marks=str(marks))))
        await watch.until(is_node("a", "running"))
        await client.stop()
        await watch.until(is_terminal)
    assert marks.attempts() == ["a 1"]
    assert ends(watch.durable) == {"a": "success"}


async def test_a_node_that_does_not_end_within_its_grace_is_abandoned_and_what_it_says_later_is_dropped(
    client: Client, gate: Gate, marks: Marks
) -> None:
    async with client.watch(start_from=NOW, telemetry=True) as watch:
        await client.start(chain(node("a", "test.deaf_thread", gate=str(gate), marks=str(marks))))
        await watch.until(is_node("a", "running"))
        await client.stop(grace_ms=50)
        end = await watch.until(is_terminal)
        assert ends(watch.durable) == {"a": "error cancelled"}
        gate.open()
        await marks.wait(1)
        await client.run(noops(1), "other")
        history = await client.history()
    assert history[-1] == end
    assert not any(event.HasField("log") for event in history)


async def test_a_terminating_stop_waits_for_nobody(client: Client, gate: Gate) -> None:
    nodes = [node("a", "test.cleanup", gate=str(gate)), node("b", "test.deaf_thread", gate=str(gate))]
    async with client.watch(start_from=NOW) as watch:
        await client.start(definition(nodes))
        await watch.until(is_node("b", "running"))
        result = await client.stop(mode=pb.STOP_MODE_TERMINATE)
        end = await watch.until(is_terminal)
        check_run(watch.durable)
        gate.open()
    assert end.complete.status == events_pb.RUN_STATE_STOPPED
    assert ends(watch.durable) == {"a": "error cancelled", "b": "error cancelled"}
    assert [event.workflow_stop.mode for event in watch.durable if event.seq == result.seq] == ["terminate"]


async def test_a_stop_that_takes_too_long_can_be_made_a_terminating_one(client: Client, gate: Gate) -> None:
    async with client.watch(start_from=NOW) as watch:
        await client.start(chain(node("a", "test.deaf_thread", gate=str(gate))))
        await watch.until(is_node("a", "running"))
        await client.stop(grace_ms=3_600_000)
        await client.stop(mode=pb.STOP_MODE_TERMINATE)
        assert (await watch.until(is_terminal)).complete.status == events_pb.RUN_STATE_STOPPED
        gate.open()
        check_run(watch.durable)


async def test_a_second_graceful_stop_does_not_disturb_the_cleanup(client: Client, gate: Gate, marks: Marks) -> None:
    async with client.watch(start_from=NOW) as watch:
        await client.start(chain(node("a", "test.cleanup", gate=str(gate), marks=str(marks))))
        await marks.wait(1)
        await client.stop()
        await client.stop()
        gate.open()
        await watch.until(is_terminal)
    assert marks.attempts() == ["a 1", "a 1"]


@pytest.mark.parametrize("state", ["pausing", "paused"])
async def test_a_run_can_be_stopped_while_it_is(client: Client, gate: Gate, state: str) -> None:
    async with client.watch(start_from=NOW) as watch:
        await client.start(chain(node("a", "test.step", gate=str(gate)), node("b")))
        await watch.until(is_node("a", "running"))
        await client.pause()
        if state == "paused":
            gate.open()
        await watch.until(is_run("workflow_pause", state))
        await client.stop()
        assert (await watch.until(is_terminal)).complete.status == events_pb.RUN_STATE_STOPPED
        check_run(watch.durable)


async def test_a_start_while_a_run_is_active_is_refused_by_default(client: Client, gate: Gate) -> None:
    first = await client.start(chain(node("a", "test.step", gate=str(gate))))
    with refused(grpc.StatusCode.ALREADY_EXISTS, "run_active") as refusal:
        await client.start(noops(1))
    assert refusal.info.metadata["run_id"] == first.run_id
    await client.stop(mode=pb.STOP_MODE_TERMINATE)


async def test_a_start_can_attach_to_the_active_run(client: Client, gate: Gate) -> None:
    text = chain(node("a", "test.step", gate=str(gate)), onConflict="attach")
    request = pb.StartWorkflowRequest(workflow_id="w", definition_json=text)
    first = await client.stub.StartWorkflow(request, timeout=CALL_SECONDS)
    second = await client.stub.StartWorkflow(request, timeout=CALL_SECONDS)
    assert (first.attached, second.attached) == (False, True)
    assert (second.result.run_id, second.result.seq) == (first.result.run_id, first.result.seq)
    await client.stop(mode=pb.STOP_MODE_TERMINATE)


async def test_a_start_can_replace_the_active_run_which_ends_first(client: Client, gate: Gate) -> None:
    async with client.watch(start_from=NOW) as watch:
        first = await client.start(chain(node("a", "test.deaf_thread", gate=str(gate))))
        await watch.until(is_node("a", "running"))
        second = await client.start(definition([node("a")], onConflict="replace"))
        assert second.run_id != first.run_id
        ended = await watch.until(is_terminal)
        assert (ended.run_id, ended.complete.status) == (first.run_id, events_pb.RUN_STATE_STOPPED)
        assert second.seq == ended.seq + 1
        assert (await watch.until(is_terminal)).run_id == second.run_id
        stop = next(event.workflow_stop for event in watch.durable if event.HasField("workflow_stop"))
        assert stop.reason == "replaced"
        gate.open()


async def test_a_start_without_a_workflow_id_is_given_one(client: Client) -> None:
    first, second = await client.start(noops(1), ""), await client.start(noops(1), "")
    assert first.workflow_id
    assert first.workflow_id != second.workflow_id
    assert (await client.snapshot(first.workflow_id)).run_id == first.run_id


async def test_a_command_that_comes_twice_acts_once_and_is_answered_alike(client: Client, gate: Gate) -> None:
    text = chain(node("a", "test.step", gate=str(gate)))
    for command, arguments in (("start", (text,)), ("pause", ()), ("resume", ()), ("stop", ())):
        call = getattr(client, command)
        first = await call(*arguments, command_id=f"id-of-{command}")
        again = await call(*arguments, command_id=f"id-of-{command}")
        assert (again.run_id, again.seq, again.epoch) == (first.run_id, first.seq, first.epoch)
    async with client.watch(start_from=pb.WATCH_FROM_SNAPSHOT) as watch:
        if watch.responses[0].created.seq and not (await client.snapshot()).HasField("ended_ms"):
            await watch.until(is_terminal)
    check_run(await client.history())


async def test_commands_that_come_twice_at_once_act_once(client: Client) -> None:
    answers = await asyncio.gather(*(client.start(noops(1), command_id="once") for _ in range(10)))
    assert len({(answer.run_id, answer.seq) for answer in answers}) == 1
    runs = await client.stub.ListRuns(pb.ListRunsRequest(workflow_id="w"), timeout=CALL_SECONDS)
    assert len(runs.runs) == 1


async def test_a_start_that_comes_twice_without_a_workflow_id_starts_one_run(client: Client) -> None:
    first = await client.start(noops(1), "", command_id="once")
    again = await client.start(noops(1), "", command_id="once")
    assert (again.workflow_id, again.run_id) == (first.workflow_id, first.run_id)


async def test_a_command_is_known_by_its_id_after_its_run_has_ended(client: Client) -> None:
    first = await client.start(noops(1), command_id="once")
    async with client.watch(start_from=pb.WATCH_FROM_SNAPSHOT) as watch:
        snapshot = (await watch.until_response("snapshot")).snapshot
        if not snapshot.HasField("ended_ms"):
            await watch.until(is_terminal)
    again = await client.start(noops(1), command_id="once")
    assert (again.run_id, again.seq) == (first.run_id, first.seq)
    assert again.state == events_pb.RUN_STATE_SUCCESS


async def test_a_command_id_that_comes_with_another_command_is_refused(client: Client, gate: Gate) -> None:
    await client.start(chain(node("a", "test.step", gate=str(gate))), command_id="mine")
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "command_id_reused"):
        await client.pause(command_id="mine")
    await client.stop(mode=pb.STOP_MODE_TERMINATE)


async def test_a_refused_command_can_be_sent_again_with_its_id(client: Client) -> None:
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "invalid_workflow"):
        await client.start("{}", command_id="mine")
    assert (await client.start(noops(1), command_id="mine")).seq == 1


async def test_a_client_that_goes_away_does_not_touch_its_run(client: Client, gate: Gate) -> None:
    async with client.watch(start_from=NOW) as watch:
        await client.start(chain(node("a", "test.step", gate=str(gate))))
        await watch.until(is_node("a", "running"))
    other = Client(client.address)
    async with other.watch(start_from=pb.WATCH_FROM_SNAPSHOT) as watch:
        gate.open()
        assert (await watch.until(is_terminal)).HasField("complete")
    await other.channel.close()
