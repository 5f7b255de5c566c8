"""Nodes that run the nodes inside them: sub-workflows, and bodies that run for each item."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.executor_checks import check_run, ends, most_at_once, story
from tests.support.executor_client import CALL_SECONDS, Client, Event, is_node, is_run, is_terminal
from tests.support.executor_gates import Gate, Marks
from tests.support.executor_graphs import definition, node
from tests.support.executor_process import ExecutorProcess
from weftline.v1 import events_pb2 as events_pb
from weftline.v1 import workflow_service_pb2 as pb


def inside(parent: str, *nodes: dict[str, Any]) -> list[dict[str, Any]]:
    """The nodes, drawn inside another."""
    return [{**each, "parentId": parent} for each in nodes]


async def bodies(client: Client, state: str = "") -> list[pb.RunSummary]:
    """The newest runs of all bodies, in some state if one is given."""
    states = [events_pb.RunState.Value(f"RUN_STATE_{state.upper()}")] if state else []
    request = pb.ListWorkflowsRequest(include_bodies=True, states=states, page_size=1000)
    found = (await client.stub.ListWorkflows(request, timeout=CALL_SECONDS)).workflows
    return [each for each in found if each.parent_workflow_id]


def outputs(events: list[Event]) -> Any:
    """What the run gave."""
    assert events[-1].WhichOneof("payload") == "complete", events[-1]
    return json.loads(events[-1].complete.outputs_json)


async def test_a_sub_workflow_runs_the_nodes_inside_it_and_gives_their_output(client: Client) -> None:
    nodes = [
        node("first", "set", values={"n": 4}),
        node("sub", "workflow", values={"n": "{{ nodes.first.output.n }}"}),
        *inside("sub", node("double", "set", values={"n": "{{ params.n * params.factor }}"})),
        *inside("sub", node("result", "output", value="{{ nodes.double.output.n }}")),
        node("end", "output", value="{{ nodes.sub.output }}"),
    ]
    events = await client.run(definition(nodes, "first>sub", "double>result", "sub>end", params={"factor": 2}))
    check_run(events)
    assert (outputs(events), events[0].workflow_start.total_nodes) == ({"end": 8}, 3)
    snapshot = await client.snapshot()
    assert [each.node_id for each in snapshot.nodes] == ["first", "sub", "end"]
    (body,) = await bodies(client)
    inner = await client.history(body.workflow_id)
    check_run(inner)
    parent = inner[0].workflow_start.parent
    assert (parent.workflow_id, parent.run_id, parent.node_id, parent.depth) == ("w", events[0].run_id, "sub", 1)
    assert (await client.snapshot(body.workflow_id)).parent == parent
    listed = (await client.stub.ListWorkflows(pb.ListWorkflowsRequest(), timeout=CALL_SECONDS)).workflows
    assert [each.workflow_id for each in listed] == ["w"]


async def test_a_body_can_be_written_into_the_data_and_bodies_be_inside_one_another(client: Client) -> None:
    inner = {"nodes": [node("x", "set", values={"v": "{{ params.v }}"})], "edges": []}
    nodes = [
        node("outer", "workflow", values={"v": 1}),
        *inside("outer", node("middle", "map", items=[1, 2], values={"v": "{{ params.v + 1 }}"})),
        *inside("middle", node("inner", "workflow", workflow=inner, values={"v": "{{ params.v + params.item }}"})),
        node("end", "output", value="{{ nodes.outer.output }}"),
    ]
    assert outputs(await client.run(definition(nodes, "outer>end"))) == {"end": [{"v": 3}, {"v": 4}]}
    assert sorted(each.workflow_id.count(":") for each in await bodies(client)) == [2, *[4] * 2, *[6] * 2]


async def test_a_map_runs_its_body_for_each_item_in_order_and_as_many_at_once_as_it_may(client: Client) -> None:
    nodes = [
        node("each", "map", items="{{ params.items }}", concurrency=3),
        *inside("each", node("square", "output", value="{{ params.item * params.item + params.index }}")),
        *inside("each", node("wait", "delay", seconds=0.01)),
        node("end", "output", value="{{ nodes.each.output }}"),
    ]
    items = list(range(20))
    async with client.watch("", start_from=pb.WATCH_FROM_NOW) as watch:
        events = await client.run(definition(nodes, "each>end", "wait>square", params={"items": items}), telemetry=True)
        await watch.until(lambda event: event.workflow_id == "w" and is_terminal(event))
    assert outputs(events) == {"end": [item * item + item for item in items]}
    assert max(event.node.progress for event in events if event.node.node_id == "each") == 1.0
    assert most_at_once([event for event in watch.events if event.workflow_id != "w"]) <= 3
    assert [
        each.workflow_start.parent.item for each in watch.durable if each.workflow_start.HasField("parent")
    ] == items


@pytest.mark.parametrize(("mode", "given"), [("null", [10, None, 5]), ("drop", [10, 5])])
async def test_a_map_can_do_without_the_items_that_fail(client: Client, mode: str, given: list[object]) -> None:
    nodes = [
        node("each", "map", items=[1, 0, 2], onItemError=mode),
        *inside("each", node("divide", "output", value="{{ 10 // params.item }}")),
        node("end", "output", value="{{ nodes.each.output }}"),
    ]
    events = await client.run(definition(nodes, "each>end"))
    assert outputs(events) == {"end": given}
    (line,) = [event.log for event in events if event.WhichOneof("payload") == "log"]
    assert (line.node_id, json.loads(line.context_json)["index"]) == ("each", 1)


async def test_an_item_that_fails_fails_the_map_which_says_which_and_begins_no_other(client: Client) -> None:
    nodes = [
        node("each", "map", items=[1, 0, 2, 3], concurrency=1),
        *inside("each", node("divide", "output", value="{{ 10 // params.item }}")),
    ]
    events = await client.run(definition(nodes))
    failed = next(event.node for event in events if is_node("each", "error")(event))
    details = json.loads(failed.data_json)
    assert (failed.error_code, details["index"], details["nodeId"]) == ("item_failed", 1, "divide")
    assert len(await bodies(client)) == 2
    assert (await client.snapshot(details["workflowId"])).state == events_pb.RUN_STATE_ERROR


async def test_a_map_of_nothing_gives_nothing_or_is_skipped_and_says_so(client: Client) -> None:
    nodes = [
        node("some", "map", items=[]),
        node("none", "map", items=[], onEmpty="skip"),
        *inside("some", node("a")),
        *inside("none", node("b")),
        node("after"),
        node("end", "output", value="{{ nodes.some.output }}"),
    ]
    events = await client.run(definition(nodes, "none>after", "some>end"))
    check_run(events)
    assert outputs(events) == {"end": []}
    assert ends(events)["none"] == "skipped empty_map"
    assert ends(events)["after"] == "skipped upstream_skipped"
    assert events[-1].complete.skipped_nodes == 2


async def test_a_body_that_failed_goes_on_where_it_failed_when_its_node_is_tried_again(
    client: Client, marks: Marks
) -> None:
    nodes = [
        node("sub", "workflow", policy={"retry": {"attempts": 2, "delay": 0.01}}),
        *inside("sub", node("good", "test.step", marks=str(marks))),
        *inside("sub", node("bad", "test.flaky", marks=str(marks), failures=1)),
    ]
    events = await client.run(definition(nodes, "good>bad"))
    assert story(events) == ["sub running", "sub error", "sub pending retry", "sub running", "sub success"]
    assert marks.attempts() == ["good 1", "bad 1", "bad 2"]
    (body,) = await bodies(client)
    assert (await client.snapshot(body.workflow_id)).generation == 2


async def test_a_pause_a_resume_and_a_stop_reach_the_body(client: Client, gate: Gate, marks: Marks) -> None:
    nodes = [
        node("each", "map", items=[1, 2, 3], concurrency=2),
        *inside("each", node("a", "test.step", gate=str(gate)), node("b", "test.step", marks=str(marks))),
        *inside("each", node("c", "test.step", gate=str(gate) + "2")),
    ]
    async with client.watch() as watch, client.watch("", start_from=pb.WATCH_FROM_NOW) as everything:
        await client.start(definition(nodes, "a>b", "b>c"))
        for _ in range(2):
            await everything.until(is_node("a", "running"))
        assert (await client.pause()).state == events_pb.RUN_STATE_PAUSING
        gate.open()
        paused = await watch.until(is_run("workflow_pause", "paused"))
        assert paused.workflow_pause.by == "weftline"
        assert {body.state for body in await bodies(client)} == {events_pb.RUN_STATE_PAUSED}
        assert marks.attempts() == []
        await client.resume()
        await marks.wait(2)
        for _ in range(2):
            await everything.until(is_node("c", "running"))
        await client.stop()
        await watch.until(is_terminal)
    assert {body.state for body in await bodies(client)} == {events_pb.RUN_STATE_STOPPED}
    assert len(await bodies(client)) == 2
    assert ends(await client.history()) == {"each": "error cancelled"}


async def test_a_terminating_stop_and_a_deadline_end_the_body_too(client: Client, gate: Gate) -> None:
    nodes = [node("sub", "workflow"), *inside("sub", node("a", "test.cleanup", gate=str(gate)))]
    for config in ({}, {"deadline": 0.2}):
        async with client.watch("", start_from=pb.WATCH_FROM_NOW) as watch:
            await client.start(definition(nodes, **config))
            await watch.until(is_node("a", "running"))
            if not config:
                await client.stop(mode=pb.STOP_MODE_TERMINATE)
            ended = {(await watch.until(is_terminal)).workflow_id for _ in range(2)}
        assert "w" in ended
        assert len(ended) == 2
    gate.open()


async def test_a_finally_node_may_have_a_body_after_a_stop_too(client: Client, gate: Gate) -> None:
    nodes = [
        node("slow", "test.step", gate=str(gate)),
        node("clean", "workflow", policy={"finally": True}),
        *inside("clean", node("a", "output", value="clean")),
    ]
    async with client.watch() as watch:
        await client.start(definition(nodes))
        await watch.until(is_node("slow", "running"))
        await client.stop()
        await watch.until(is_terminal)
    assert ends(await client.history()) == {"slow": "error cancelled", "clean": "success"}


async def test_a_body_that_is_paused_by_itself_is_told_by_the_run_that_waits_for_it(client: Client) -> None:
    nodes = [node("sub", "workflow"), *inside("sub", node("bad", "fail", policy={"onError": "pause"}))]
    async with client.watch() as watch:
        await client.start(definition(nodes))
        told = await watch.until(lambda event: event.WhichOneof("payload") == "log")
        context = json.loads(told.log.context_json)
        assert (told.log.node_id, context["reason"]) == ("sub", "node_failed")
        assert (await client.snapshot(context["workflowId"])).state == events_pb.RUN_STATE_PAUSED
        await client.stop()
        await watch.until(is_terminal)


async def test_a_body_takes_no_slot_from_its_own_nodes(tmp_path: Path) -> None:
    process = ExecutorProcess(tmp_path, {"CONCURRENCY": "1"})
    try:
        process.start()
        client = Client(process.address)
        nodes = [
            node("each", "map", items=[1, 2, 3]),
            *inside("each", node("a", "output", value=1)),
            node("sub", "workflow"),
            *inside("sub", node("b")),
        ]
        events = await client.run(definition(nodes))
        await client.channel.close()
    finally:
        process.close()
    assert ends(events) == {"each": "success", "sub": "success"}


async def test_bodies_outlive_a_kill_and_no_item_runs_twice(tmp_path: Path, gate: Gate, marks: Marks) -> None:
    nodes = [
        node("each", "map", items=[1, 2, 3, 4], concurrency=2),
        *inside("each", node("mark", "test.step", marks=str(marks), value="{{ params.item }}")),
        *inside("each", node("held", "test.step", gate=f"{{{{ '{gate}' if params.item > 1 else '' }}}}")),
        *inside("each", node("give", "output", value="{{ nodes.mark.output }}")),
        node("end", "output", value="{{ nodes.each.output }}"),
    ]
    process = ExecutorProcess(tmp_path)
    try:
        process.start()
        client = Client(process.address)
        await client.start(definition(nodes, "mark>held", "held>give", "each>end"))
        await marks.wait(3)
        async with client.watch("", start_from=pb.WATCH_FROM_SNAPSHOT) as watch:
            while len([each for each in await bodies(client) if each.state == events_pb.RUN_STATE_SUCCESS]) < 1:
                await watch.next()
        process.kill9()
        await client.channel.close()
        gate.open()
        process.start()
        client = Client(process.address)
        async with client.watch(start_from=pb.WATCH_FROM_SNAPSHOT) as watch:
            if not (await client.snapshot()).HasField("ended_ms"):
                await watch.until(is_terminal)
        events = await client.history()
        runs = await bodies(client)
        await client.channel.close()
    finally:
        process.close()
    check_run(events)
    assert outputs(events) == {"end": [1, 2, 3, 4]}
    assert len(runs) == 4
    assert len([mark for mark in marks.attempts() if mark == "mark 1"]) == 4


async def test_a_body_whose_run_has_ended_does_not_go_on_after_a_kill(tmp_path: Path, gate: Gate) -> None:
    nodes = [node("sub", "workflow"), *inside("sub", node("a", "test.step", gate=str(gate)))]
    process = ExecutorProcess(tmp_path)
    try:
        process.start()
        client = Client(process.address)
        async with client.watch("", start_from=pb.WATCH_FROM_NOW) as watch:
            await client.start(definition(nodes))
            await watch.until(is_node("a", "running"))
            await client.pause(mode=pb.PAUSE_MODE_IMMEDIATE)
        process.kill9()
        await client.channel.close()
        process.start()
        client = Client(process.address)
        await client.stop(mode=pb.STOP_MODE_TERMINATE)
        async with client.watch("", start_from=pb.WATCH_FROM_SNAPSHOT) as watch:
            while await bodies(client, "paused") or await bodies(client, "stopping"):
                await watch.next()
        await client.channel.close()
    finally:
        process.close()


FAULTS = {
    "none": ([node("m", "map", items=[])], (), ("nodes[0]", "missing_body")),
    "inner_type": (
        [node("m", "map", items=[]), *inside("m", node("a"), node("b", "nope"))],
        (),
        ("nodes[2].type", "unknown_node_type"),
    ),
    "inner_cycle": (
        [node("m", "workflow"), *inside("m", node("a"), node("b"))],
        ("a>b", "b>a"),
        ("nodes[2]", "cycle"),
    ),
    "crossing": ([node("m", "workflow"), *inside("m", node("a")), node("b")], ("a>b",), ("edges[0]", "crosses_body")),
    "into": ([node("m", "workflow"), *inside("m", node("a"))], ("m>a",), ("edges[0]", "crosses_body")),
    "outer_reference": (
        [node("x"), node("m", "workflow"), *inside("m", node("a", "log", message="{{ nodes.x.output }}"))],
        ("x>m",),
        ("nodes[2].data.message", "unknown_reference"),
    ),
    "written": (
        [node("m", "workflow", workflow={"nodes": [node("a", "delay", seconds="x")]})],
        (),
        ("nodes[0].data.workflow.nodes[0].data.seconds", "wrong_type"),
    ),
    "two": (
        [node("m", "workflow", workflow={"nodes": [node("b")]}), *inside("m", node("a"))],
        (),
        ("nodes[0].data.workflow", "two_bodies"),
    ),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_what_is_wrong_in_a_body_is_said_where_it_is(client: Client, name: str) -> None:
    nodes, edges, (path, code) = FAULTS[name]
    response = await client.validate(definition(nodes, *edges))
    assert [(fault.path, fault.code) for fault in response.faults] == [(path, code)]


async def test_bodies_that_are_too_deep_are_refused(client: Client) -> None:
    body: dict[str, Any] = {"nodes": [node("a")]}
    for _ in range(9):
        body = {"nodes": [node("m", "workflow", workflow=body)]}
    response = await client.validate(json.dumps(body))
    assert [fault.code for fault in response.faults] == ["too_deep"]


async def test_a_body_gives_a_large_output_whole(client: Client) -> None:
    nodes = [
        node("each", "map", items=[1, 2]),
        *inside("each", node("text", "output", value="{{ params.text }}{{ params.item }}")),
        node("sizes", "output", value="{{ nodes.each.output | map('length') | list }}"),
    ]
    events = await client.run(definition(nodes, "each>sizes", params={"text": "x" * 40_000}))
    each = next(event.node for event in events if is_node("each", "success")(event))
    assert each.artifact.size_bytes > 80_000
    assert outputs(events) == {"sizes": [40_001, 40_001]}
