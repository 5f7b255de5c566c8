"""The protocol's three forms say the same: the code, docs/protocol.md with its examples, and docs/asyncapi.yaml."""

from __future__ import annotations

import asyncio
import json
import re

import pytest
from google.rpc import code_pb2
from jsonschema import Draft202012Validator

from tests.support import asyncapi, events
from tests.support.bridge import Client, Json, RunningBridge, eventually, running_bridge
from tests.support.scripted_executor import ScriptedExecutor, running_executor
from weftline.v1 import events_pb2 as ev
from weftline_bridge.protocol import names
from weftline_bridge.protocol.names import CloseCode

GUIDE = (asyncapi.ROOT / "docs" / "protocol.md").read_text()


def examples() -> list[Json]:
    """The messages that the guide shows; what it shows of answers over HTTP is none."""
    found: list[Json] = []
    for block in re.findall(r"```json\n(.*?)```", GUIDE.partition("\n## HTTP\n")[0], re.DOTALL):
        decoded = json.loads(block)
        found += decoded if isinstance(decoded, list) else [decoded]
    return found


def matches(example: Json) -> set[str]:
    """The messages of the document that an example is one of."""
    named = {name for action in ("receive", "send") for name in asyncapi.message_names("v1", action)}
    messages = asyncapi.document()["components"]["messages"]
    candidates = {name for name in named if messages[name]["name"] == example["type"]}
    return {name for name in candidates if asyncapi.validator(name).is_valid(example)}


@pytest.mark.parametrize(
    ("channel", "action", "expected"),
    [
        ("plain", "receive", names.PLAIN_IN),
        ("plain", "send", names.PLAIN_OUT),
        ("v1", "receive", names.V1_IN),
        ("v1", "send", names.V1_OUT),
    ],
)
def test_the_types_of_the_document_are_those_of_the_code(channel: str, action: str, expected: frozenset[str]) -> None:
    assert set(asyncapi.types(channel, action)) == expected


def test_the_headings_of_the_guide_are_the_types_of_the_code() -> None:
    headings = re.findall(r"^### ([a-z]+\.[a-z., ]+|heartbeat)$", GUIDE, re.MULTILINE)
    assert {each for heading in headings for each in heading.split(", ")} == names.V1_IN | names.V1_OUT


def test_the_plain_dialect_has_the_types_of_the_original_design_and_no_other() -> None:
    original = """workflow.start workflow.pause workflow.resume workflow.stop node.pending node.running node.success
        node.error node.skipped execution.progress execution.log execution.complete execution.error system.status
        heartbeat"""
    assert set(original.split()) == names.PLAIN_IN | names.PLAIN_OUT


def test_every_schema_is_a_valid_one() -> None:
    for schema in asyncapi.document()["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("example", examples(), ids=lambda example: f"{example['type']} {example['id']}")
def test_every_example_of_the_guide_is_a_message_of_the_document(example: Json) -> None:
    assert matches(example)


def test_every_message_of_the_document_has_an_example_in_the_guide() -> None:
    shown = set().union(*(matches(example) for example in examples()))
    assert shown == set(asyncapi.document()["components"]["messages"])


def test_every_close_code_of_the_bridge_is_in_the_guide() -> None:
    codes = {int(code) for row in re.findall(r"^\| ([0-9, ]+) \|", GUIDE, re.MULTILINE) for code in row.split(", ")}
    assert codes == {int(code) for code in CloseCode if code is not CloseCode.INTERNAL_ERROR}


def test_a_field_that_the_document_does_not_name_is_a_fault() -> None:
    good = next(example for example in examples() if example["type"] == "node.skipped")
    assert asyncapi.faults(good, "v1", "send") == []
    assert asyncapi.faults({**good, "extra": 1}, "v1", "send")
    assert asyncapi.faults({**good, "payload": {**good["payload"], "extra": 1}}, "v1", "send")
    assert asyncapi.faults({**good, "seq": "8"}, "v1", "send")
    assert asyncapi.faults({**good, "type": "command.accepted"}, "plain", "send")


async def test_all_that_is_really_sent_is_as_the_document_says() -> None:
    settings = {"heartbeat_interval": 0.05, "heartbeat_timeout": 60.0}
    async with running_executor() as executor, running_bridge(executor, **settings) as bridge:
        client, plain = await bridge.connect(), await bridge.connect("plain")
        await client.subscribe("wf", logs="info")
        await everything_happens(executor, client, plain)
        late, star = await bridge.connect("plain"), await bridge.connect()
        await late.of_type("workflow.pause")
        await star.subscribe("*")
        await star.of_type("workflow.snapshot")
        ended = await bridge.connect()
        await ended.subscribe("failed", cursor={"epoch": "other", "seq": 9})
        await ended.of_type("workflow.snapshot")
        await client.of_type("heartbeat")
        await plain.of_type("heartbeat")
        await drain(bridge, [client, plain, late, star, ended])
        for each in (client, plain, late, star, ended):
            channel = "plain" if each.dialect == "plain" else "v1"
            assert [fault for message in each.seen for fault in asyncapi.faults(message, channel, "send")] == []
        assert set(client.types_seen()) | set(star.types_seen()) == names.V1_OUT - {names.DELIVERY_STATE}
        assert set(plain.types_seen()) == names.PLAIN_OUT


async def everything_happens(executor: ScriptedExecutor, client: Client, plain: Client) -> None:
    """Cause each kind of event and answer at least once; leaves the workflow `wf` paused."""
    definition = {"nodes": [{"id": "a", "type": "noop"}], "edges": [], "config": {}}
    await client.send("workflow.start", "wf", definition)
    await client.of_type("command.accepted")
    fault = ("nodes[0]", "cycle", "a to a")
    for asking in (client, plain):
        executor.refuse("StopWorkflow", code_pb2.FAILED_PRECONDITION, "not_running", "no run", fault)
        await asking.send("workflow.stop", "other")
        await asking.of_type("command.rejected", "execution.error")
        await asking.ws.send_str('{"type": 5}')
        await asking.of_type("command.rejected", "execution.error")
    skipped = ev.NodeTransition(node_id="b", status=ev.NODE_STATUS_SKIPPED, attempt=1, reason="disabled")
    failed = ev.NodeTransition(
        node_id="a", status=ev.NODE_STATUS_ERROR, attempt=1, error="no", error_code="node_failed", duration_ms=1
    )
    pending = ev.NodeTransition(node_id="a", status=ev.NODE_STATUS_PENDING, attempt=2, reason="concurrency")
    executor.append("wf", pending, events.running("a"), events.success("a", "[1]"), failed, skipped)
    executor.append("wf", events.log("hidden", ev.LOG_LEVEL_DEBUG), events.log("shown"))
    executor.tell("wf", events.tick("a", 0.5), ev.Progress(total_nodes=2, progress=0.5, estimated_remaining_ms=9))
    executor.append("wf", ev.RunStateChange(state=ev.RUN_STATE_STOPPING), events.complete())
    executor.append("wf", events.start("a"), ev.RunError(error="no", code="c", details_json="{}"))
    executor.append("failed", events.start("a"), ev.RunError(error="no", code="c", node_id="a"))
    executor.append("wf", events.start("a"), events.paused(), ev.RunStateChange(state=ev.RUN_STATE_RUNNING))
    executor.append("wf", events.log("still here"), events.paused())
    last = executor.log.workflows["wf"].head
    await client.seqs("wf", last)
    await plain.seqs("wf", last)


async def drain(bridge: RunningBridge, clients: list[Client]) -> None:
    """Have the bridge close all connections, and read what it says before."""
    draining = bridge.bridge.hub.tasks.start(bridge.bridge.registry.drain(2.0), "drain")
    assert set(await asyncio.gather(*(client.close_code() for client in clients))) == {1012}
    await draining
    await eventually(lambda: len(bridge.bridge.registry) == 0)
