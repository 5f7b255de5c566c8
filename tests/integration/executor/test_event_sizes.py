"""No event is larger than 64 KiB, whatever nodes and clients do, but for the one that holds the definition."""

import json
from typing import Any

import msgspec
import pytest

from tests.support.executor_checks import check_run, ends
from tests.support.executor_client import Client, Event, is_node, is_terminal
from tests.support.executor_engine import RunningExecutor
from tests.support.executor_gates import Gate
from tests.support.executor_graphs import definition, node
from weftline.v1 import events_pb2
from weftline.v1 import workflow_service_pb2 as pb
from weftline_executor.model.events import RunStarted

LIMIT = 64 << 10

# What JSON writes with six characters, and UTF-8 with four bytes.
WORST = ["\x01", "\U0001f600", '"']


async def largest(executor: RunningExecutor, events: list[Event]) -> int:
    """The size of the largest event, in the log or on its way to clients."""
    kept = [event for batch in await executor.store.read("w", 0, 10_000) for event in batch.events]
    assert len(kept) == len(events)
    in_log = [len(msgspec.json.encode(event)) for event in kept if not isinstance(event, RunStarted)]
    return max(*in_log, *(event.ByteSize() for event in events if not event.HasField("workflow_start")))


def long_id(letter: str, number: int) -> str:
    """An id of the greatest length."""
    return f"{letter * 250}{number:06}"


@pytest.mark.parametrize("letter", WORST)
async def test_outputs_errors_and_logs_stay_small(executor: RunningExecutor, letter: str) -> None:
    many = letter * 40_000
    default: dict[str, Any] = {"onError": {"default_value": "x" * 32_000}}
    made: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
        ("test.echo", {"value": "x" * (32 * 1024 - 2)}, {}),
        ("test.echo", {"value": many}, {}),
        ("test.echo", {"value": {many[:9000]: {letter: [many] * 3}}}, {}),
        ("test.complain", {"message": many, "code": many, "details": {letter: "x" * 16_000}}, {}),
        ("test.complain", {"message": many, "code": many, "details": {many: many}}, {}),
        ("test.complain", {"message": many, "code": many, "details": {}}, default),
        ("test.say", {"message": many, "context": {"x": "x" * 8000}}, {}),
        ("test.say", {"message": many, "context": {many: many}}, {}),
        ("test.branch", {"handle": many}, {}),
        ("test.raise", {"message": many}, {}),
        ("wait_for_event", {"event": "x", "default": "x" * 60_000}, {}),
        ("wait_for_event", {"event": "x", "default": "x" * 30_000, "message": many, "deadline": 0.01}, {}),
    ]
    nodes = [
        node(long_id(letter, number), kind, **data, policy=policy) for number, (kind, data, policy) in enumerate(made)
    ]
    events = await executor.client.run(definition(nodes, failurePolicy="continue"))
    check_run(events)
    assert {event.node.error_code for event in events} >= {"bad_handle", "node_raised"}
    assert await largest(executor, events) <= LIMIT


async def test_the_end_of_a_run_stays_small(executor: RunningExecutor) -> None:
    nodes = [node(long_id("\x01", number), "output", value="x" * 100) for number in range(300)]
    events = await executor.client.run(definition(nodes))
    check_run(events)
    assert await largest(executor, events) <= LIMIT
    outputs = json.loads(await executor.client.artifact(events[-1].complete.artifact.uri))
    assert outputs == {each["id"]: "x" * 100 for each in nodes}


async def test_an_event_names_as_many_nodes_in_flight_as_fit(executor: RunningExecutor, gate: Gate) -> None:
    nodes = [node(long_id("\x01", number), "test.step", gate=str(gate)) for number in range(100)]
    async with executor.client.watch(start_from=pb.WATCH_FROM_NOW) as watch:
        await executor.client.start(definition(nodes))
        for each in nodes:
            await watch.until(is_node(each["id"], "running"))
        await executor.client.pause(reason="\x01" * 1024, by="\x01" * 256)
        await executor.client.resume()
        gate.open()
        await watch.until(is_terminal)
        events = watch.durable
    check_run(events)
    assert await largest(executor, events) <= LIMIT
    paused = next(event.workflow_pause for event in events if event.HasField("workflow_pause"))
    assert 10 < len(paused.in_flight) < 100
    assert set(ends(events).values()) == {"success"}
    assert events[-1].complete.status == events_pb2.RUN_STATE_SUCCESS


async def test_a_default_value_and_a_handle_that_are_too_large_are_faults(client: Client) -> None:
    nodes = [
        node("a", policy={"onError": {"default_value": "x" * (32 << 10)}}),
        node("b", "switch", expression="1", cases=[{"value": 1, "handle": "h" * 300}]),
    ]
    faults = (await client.validate(definition(nodes))).faults
    assert [(fault.path, fault.code) for fault in faults] == [
        ("nodes[0].data.policy.onError.default_value", "too_large"),
        ("nodes[1].data.cases[0].handle", "invalid_value"),
    ]
