"""Commands: passed on in order, answered with what they did, or refused with the executor's own words."""

from __future__ import annotations

import asyncio

import grpc
from google.rpc import code_pb2

from tests.support import events
from tests.support.bridge import eventually, running_bridge
from tests.support.scripted_executor import running_executor

DEFINITION = {"nodes": [{"id": "a", "type": "noop", "data": {"label": "é"}}], "edges": [], "config": {"params": {}}}


async def test_a_start_reaches_the_executor_verbatim_and_is_answered_with_its_first_event() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        client = await bridge.connect()
        text = '{"nodes" : [ {"id":"a","data":{"big":12345678901234567890, "é":"\\u00e9"}} ],"edges":[]}'
        await client.ws.send_str(f'{{"id":"cmd-1","type":"workflow.start","workflowId":"wf","payload":{text}}}')
        accepted = await client.of_type("command.accepted")
        assert accepted["workflowId"] == "wf"
        assert accepted["payload"] == {
            "commandId": "cmd-1",
            "seq": 1,
            "runId": executor.log.workflows["wf"].run_id,
            "state": "running",
        }
        (request,) = executor.commands
        assert (request.definition_json, request.command_id, request.by) == (text, "cmd-1", "anonymous")


async def test_starting_does_not_subscribe() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        client, other = await bridge.connect(), await bridge.connect("plain")
        await client.send("workflow.start", "wf", DEFINITION)
        await client.of_type("command.accepted")
        assert (await other.of_type("workflow.start"))["payload"]["by"] == "anonymous"
        await client.subscribe("another")
        assert "workflow.start" not in client.types_seen()


async def test_a_command_sent_twice_acts_once_and_is_answered_twice() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        client = await bridge.connect()
        answers = []
        for _ in range(2):
            await client.send("workflow.start", "wf", DEFINITION, id="same")
            answers.append((await client.of_type("command.accepted"))["payload"])
        assert answers[0] == answers[1]
        assert executor.log.workflows["wf"].head == 1


async def test_pause_resume_and_stop_carry_their_options() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        client = await bridge.connect()
        await client.subscribe("wf")
        await client.send("workflow.start", "wf", DEFINITION)
        await client.send("workflow.pause", "wf", {"mode": "drain", "reason": "lunch"})
        await client.send("workflow.resume", "wf", {"reason": "back"})
        await client.send("workflow.stop", "wf", {"mode": "terminate", "grace": 1500, "reason": "enough"})
        told = [await client.of_type(kind) for kind in ("workflow.pause", "workflow.resume", "workflow.stop")]
        assert [message["payload"]["state"] for message in told] == ["paused", "running", "stopping"]
        assert [message["payload"]["by"] for message in told] == ["anonymous"] * 3
        start, pause, resume, stop = executor.commands
        assert (pause.mode, pause.reason, resume.reason) == (1, "lunch", "back")
        assert (stop.mode, stop.grace_ms, stop.reason) == (2, 1500, "enough")
        assert start.command_id != stop.command_id


async def test_retry_and_rerun_begin_again_on_behalf_of_who_asked() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        client, watcher = await bridge.connect(), await bridge.connect("plain")
        await client.send("workflow.start", "wf", DEFINITION)
        first = (await client.of_type("command.accepted"))["payload"]["runId"]
        await client.send("workflow.retry", "wf", {"reason": "mended"})
        await client.of_type("command.accepted")
        resumed = (await watcher.of_type("workflow.resume"))["payload"]
        assert (resumed["mode"], resumed["reason"], resumed["by"]) == ("retry", "mended", "anonymous")
        await client.send("workflow.rerun", "wf", {"fromNodeId": "a"}, id="again")
        accepted = (await client.of_type("command.accepted"))["payload"]
        assert (accepted["commandId"], accepted["seq"], accepted["state"]) == ("again", 3, "running")
        assert accepted["runId"] != first
        started = await watcher.of_type("workflow.start")
        assert (started["seq"], started["payload"]["rerunOf"]) == (3, first)
        rerun = executor.commands[-1]
        assert (rerun.from_node_id, rerun.command_id, rerun.by) == ("a", "again", "anonymous")


async def test_a_node_that_waits_is_completed_once_however_often_it_is_asked_for() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        executor.append("wf", events.start("ask"), events.waiting("ask", "really?"))
        client, watcher = await bridge.connect(), await bridge.connect("plain")
        await client.subscribe("wf")
        waiting = (await watcher.of_type("node.pending"))["payload"]
        assert (waiting["reason"], waiting["data"], waiting["until"]) == ("approval", {"message": "really?"}, 2000)
        for _ in range(2):
            await client.send("node.complete", "wf", {"nodeId": "ask", "data": {"approved": True}}, id="yes")
            accepted = (await client.of_type("command.accepted"))["payload"]
            assert (accepted["commandId"], accepted["seq"]) == ("yes", 3)
        done = (await watcher.of_type("node.success"))["payload"]
        assert (done["reason"], done["by"], done["data"]) == ("completed", "anonymous", {"approved": True})
        await client.send("node.complete", "wf", {"event": "paid"})
        await client.of_type("command.accepted")
        assert [(each.node_id, each.event, each.data_json) for each in executor.commands] == [
            ("ask", "", '{"approved":true}'),
            ("ask", "", '{"approved":true}'),
            ("", "paid", ""),
        ]
        assert executor.log.workflows["wf"].head == 4


async def test_a_node_that_does_not_wait_can_not_be_completed() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        client = await bridge.connect()
        executor.refuse("CompleteNode", code_pb2.FAILED_PRECONDITION, "not_waiting", "node a does not wait")
        await client.send("node.complete", "wf", {"nodeId": "a"})
        rejected = (await client.of_type("command.rejected"))["payload"]
        assert (rejected["code"], rejected["message"]) == ("not_waiting", "node a does not wait")


async def test_the_executors_faults_are_told_with_their_paths() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        faults = [("nodes[0].type", "unknown_node_type", "there is no type x"), ("edges[1]", "cycle", "a to b to a")]
        executor.refuse("StartWorkflow", code_pb2.INVALID_ARGUMENT, "invalid_workflow", "two faults", *faults)
        client = await bridge.connect()
        await client.send("workflow.start", "wf", DEFINITION, id="bad")
        rejected = (await client.of_type("command.rejected"))["payload"]
        assert rejected == {
            "commandId": "bad",
            "code": "invalid_workflow",
            "message": "two faults",
            "details": [
                {"path": "nodes[0].type", "code": "unknown_node_type", "message": "there is no type x"},
                {"path": "edges[1]", "code": "cycle", "message": "a to b to a"},
            ],
        }


async def test_a_refusal_is_told_to_the_plain_client_that_asked_and_to_no_other() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        executor.refuse("StopWorkflow", code_pb2.FAILED_PRECONDITION, "not_running", "no run is active")
        client, other = await bridge.connect("plain"), await bridge.connect("plain")
        await client.send("workflow.stop", "wf")
        error = await client.of_type("execution.error")
        assert "runId" not in error
        assert (error["payload"]["error"], error["payload"]["code"]) == ("no run is active", "not_running")
        executor.append("wf", events.start("a"))
        await other.of_type("workflow.start")
        assert "execution.error" not in other.types_seen()


async def test_a_plain_client_gets_no_accept_but_sees_the_events() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        client = await bridge.connect("plain")
        await client.send("workflow.start", "wf", DEFINITION)
        assert (await client.of_type("workflow.start"))["seq"] == 1
        await client.send("workflow.pause", "wf")
        assert (await client.of_type("workflow.pause"))["seq"] == 2
        assert not [kind for kind in client.types_seen() if kind.startswith("command.")]


async def test_a_plain_client_sees_even_the_shortest_run_that_it_starts() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        executor.watch_all_gate.clear()
        plain, other = await bridge.connect("plain"), await bridge.connect()
        await plain.send("workflow.start", "wf", DEFINITION)
        await eventually(lambda: executor.calls["watch:*"] == 1)
        await other.send("workflow.start", "another", DEFINITION)
        await other.of_type("command.accepted")
        assert [request.workflow_id for request in executor.commands] == ["another"]
        executor.watch_all_gate.set()
        await eventually(lambda: len(executor.commands) == 2)
        executor.append("wf", events.complete())
        assert await plain.seqs("wf", 2) == [1, 2]


async def test_commands_while_the_executor_is_away_are_refused_as_unavailable() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        client = await bridge.connect()
        await executor.stop()
        await eventually(lambda: not bridge.bridge.hub.connected)
        await client.send("workflow.start", "wf", DEFINITION)
        assert (await client.of_type("command.rejected"))["payload"]["code"] == "executor_unavailable"


async def test_a_command_that_is_not_answered_in_time_is_refused_with_the_deadline() -> None:
    async with running_executor() as executor, running_bridge(executor, command_timeout=0.2) as bridge:
        executor.hold_commands.clear()
        client = await bridge.connect()
        await client.send("workflow.start", "wf", DEFINITION)
        rejected = (await client.of_type("command.rejected"))["payload"]
        assert rejected["code"] == grpc.StatusCode.DEADLINE_EXCEEDED.name.lower()
        executor.hold_commands.set()


async def test_commands_of_one_connection_run_in_order_and_one_too_many_is_refused() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        executor.hold_commands.clear()
        client = await bridge.connect()
        await client.send("workflow.start", "wf", DEFINITION, id="first")
        await eventually(lambda: executor.commands)
        for number in range(65):
            await client.send("workflow.pause", "wf", id=f"n{number}")
        rejected = (await client.of_type("command.rejected"))["payload"]
        assert (rejected["commandId"], rejected["code"]) == ("n64", "rate_limited")
        executor.hold_commands.set()
        answered = [(await client.of_type("command.accepted"))["payload"]["commandId"] for _ in range(65)]
        assert answered == ["first", *(f"n{number}" for number in range(64))]


async def test_a_command_takes_effect_though_its_client_has_gone() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        executor.hold_commands.clear()
        client = await bridge.connect()
        await client.send("workflow.start", "wf", DEFINITION)
        await eventually(lambda: executor.commands)
        await client.ws.close()
        await eventually(lambda: len(bridge.bridge.registry) == 0)
        executor.hold_commands.set()
        await eventually(lambda: "wf" in executor.log.workflows)
        await asyncio.sleep(0)
        assert executor.log.workflows["wf"].head == 1
