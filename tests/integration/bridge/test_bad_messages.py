"""Everything a client may get wrong, and the named error that it gets for it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.support.bridge import Client, Json, running_bridge
from tests.support.scripted_executor import running_executor

GOOD: Json = {"id": "1", "type": "workflow.stop", "timestamp": 1, "workflowId": "wf", "payload": {}}
START: Json = {**GOOD, "type": "workflow.start"}
SUBSCRIBE: Json = {**GOOD, "type": "workflow.subscribe"}


def without(message: Json, name: str) -> Json:
    return {key: value for key, value in message.items() if key != name}


CASES: list[tuple[str, Any, str, str, str]] = [
    ("not JSON", "{oops", "invalid_json", "", ""),
    ("half an object", '{"id": "1"', "invalid_json", "", ""),
    ("nothing at all", "", "invalid_json", "", ""),
    ("a number", "17", "bad_shape", "", "number 17"),
    ("a string", '"hello"', "bad_shape", "", 'string "hello"'),
    ("too deep", '{"a":' * 65 + "1" + "}" * 65, "too_deep", "", "more"),
    ("an array of too many", [GOOD] * 65, "bad_shape", "", "an array of 65"),
    ("an empty array", [], "bad_shape", "", "an array of 0"),
    ("an array in an array", [[GOOD], GOOD], "bad_shape", "[0]", "an array"),
    ("no type", without(GOOD, "type"), "bad_shape", "type", "nothing"),
    ("a type that is a number", {**GOOD, "type": 7}, "bad_shape", "type", "number 7"),
    ("an unknown type", {**GOOD, "type": "workflow.explode"}, "unknown_type", "type", 'string "workflow.explode"'),
    ("an outgoing type", {**GOOD, "type": "node.success"}, "unknown_type", "type", 'string "node.success"'),
    ("no id", without(GOOD, "id"), "bad_shape", "id", "nothing"),
    ("an empty id", {**GOOD, "id": ""}, "bad_shape", "id", "a string of 0 characters"),
    ("an id that is too long", {**GOOD, "id": "x" * 129}, "bad_shape", "id", "a string of 129 characters"),
    ("a timestamp in words", {**GOOD, "timestamp": "now"}, "bad_shape", "timestamp", 'string "now"'),
    ("no workflowId", without(START, "workflowId"), "bad_workflow_id", "workflowId", "nothing"),
    ("an empty workflowId", {**GOOD, "workflowId": ""}, "bad_workflow_id", "workflowId", 'string ""'),
    ("spaces in it", {**GOOD, "workflowId": "a b"}, "bad_workflow_id", "workflowId", 'string "a b"'),
    ("a command to all", {**GOOD, "workflowId": "*"}, "bad_workflow_id", "workflowId", 'string "*"'),
    ("a workflowId in a list", {**GOOD, "workflowId": ["wf"]}, "bad_workflow_id", "workflowId", "an array"),
    ("a payload that is a list", {**GOOD, "payload": []}, "bad_shape", "payload", "an array"),
    ("a start without nodes", {**START, "payload": {"edges": []}}, "bad_shape", "payload.nodes", "nothing"),
    ("nodes as an object", {**START, "payload": {"nodes": {}, "edges": []}}, "bad_shape", "payload.nodes", "an object"),
    ("no edges", {**START, "payload": {"nodes": []}}, "bad_shape", "payload.edges", "nothing"),
    ("an unknown mode", {**GOOD, "payload": {"mode": "gently"}}, "bad_shape", "payload.mode", 'string "gently"'),
    ("a negative grace", {**GOOD, "payload": {"grace": -1}}, "bad_shape", "payload.grace", "number -1"),
    ("a reason that is a flag", {**GOOD, "payload": {"reason": True}}, "bad_shape", "payload.reason", "boolean true"),
    ("a cursor in words", {**SUBSCRIBE, "payload": {"cursor": "5"}}, "bad_shape", "payload.cursor", 'string "5"'),
    ("no seq", {**SUBSCRIBE, "payload": {"cursor": {"epoch": "e"}}}, "bad_shape", "payload.cursor.seq", "nothing"),
    (
        "half a seq",
        {**SUBSCRIBE, "payload": {"cursor": {"epoch": "e", "seq": 1.5}}},
        "bad_shape",
        "payload.cursor.seq",
        "number 1.5",
    ),
    ("an unknown level", {**SUBSCRIBE, "payload": {"logs": "loud"}}, "bad_shape", "payload.logs", 'string "loud"'),
    (
        "a cursor for all",
        {**SUBSCRIBE, "workflowId": "*", "payload": {"cursor": {"epoch": "e", "seq": 1}}},
        "bad_shape",
        "payload.cursor",
        "an object",
    ),
    ("a bad one among good ones", [GOOD, {**GOOD, "id": 5}], "bad_shape", "[1].id", "number 5"),
]


def encoded(message: Any) -> str:
    return message if isinstance(message, str) else msgspec.json.encode(message).decode()


@pytest.mark.parametrize(("name", "message", "code", "path", "got"), CASES, ids=[case[0] for case in CASES])
async def test_a_bad_message_is_answered_with_what_was_expected_and_what_came(
    name: str, message: Any, code: str, path: str, got: str
) -> None:
    del name
    async with running_executor() as executor, running_bridge(executor) as bridge:
        client = await bridge.connect()
        await client.ws.send_str(encoded(message))
        rejected = await client.of_type("command.rejected")
        assert rejected["payload"]["code"] == code
        if code != "invalid_json":
            (detail,) = rejected["payload"]["details"]
            assert (detail["path"], detail["got"]) == (path, got)
            assert detail["expected"]


async def test_a_plain_client_gets_its_error_as_an_execution_error_without_a_run() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        client, other = await bridge.connect("plain"), await bridge.connect("plain")
        await client.ws.send_str(encoded({**GOOD, "workflowId": "a b"}))
        error = await client.of_type("execution.error")
        assert "runId" not in error
        assert error["payload"]["code"] == "bad_workflow_id"
        assert error["payload"]["details"][0]["path"] == "workflowId"
        executor.append("wf", *[])
        await client.ws.send_str(encoded({**GOOD, "id": "2"}))
        await other.of_type("workflow.stop", "system.status")
        assert "execution.error" not in other.types_seen()


@pytest.mark.parametrize("kind", ["workflow.subscribe", "workflow.unsubscribe", "workflow.retry"])
async def test_types_of_v1_are_unknown_in_the_plain_dialect(kind: str) -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        client = await bridge.connect("plain")
        await client.send(kind, "wf")
        assert (await client.of_type("execution.error"))["payload"]["code"] == "unknown_type"


async def test_an_array_is_no_message_in_the_plain_dialect() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        client = await bridge.connect("plain")
        await client.ws.send_str(encoded([GOOD]))
        assert (await client.of_type("execution.error"))["payload"]["code"] == "bad_shape"


async def test_a_token_that_nobody_asked_for_is_unsupported_and_no_strike() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        client = await bridge.connect()
        for _ in range(5):
            message_id = await client.send("auth.refresh", payload={"token": "t"})
            rejected = await client.of_type("command.rejected")
            assert (rejected["payload"]["code"], rejected["payload"]["commandId"]) == ("unsupported", message_id)
        assert (await client.subscribe("wf"))["type"] == "workflow.subscribed"


async def test_a_binary_frame_is_a_bad_message() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        client = await bridge.connect()
        await client.ws.send_bytes(encoded(GOOD).encode())
        assert (await client.of_type("command.rejected"))["payload"]["code"] == "binary_frame"


async def test_text_that_is_not_utf_8_is_answered_and_closed_with_1007() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        client = await bridge.connect()
        await send_text_bytes(client, b'{"id": "\xff\xfe"}')
        assert (await client.of_type("command.rejected"))["payload"]["code"] == "invalid_utf8"
        assert await client.close_code() == 1007


async def test_a_message_over_the_limit_is_closed_with_1009() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        client = await bridge.connect()
        await client.ws.send_str(encoded({**GOOD, "payload": {"reason": "x" * 10_000_000}}))
        assert (await client.of_type("command.rejected"))["payload"]["code"] == "message_too_large"
        assert await client.close_code() == 1009


async def test_three_bad_messages_in_a_row_are_closed_with_4400() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        client = await bridge.connect()
        for _ in range(3):
            await client.ws.send_str("{oops")
        assert await client.close_code() == 4400
        assert client.types_seen().count("command.rejected") == 3


async def test_a_good_message_between_bad_ones_makes_the_count_begin_anew() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        client = await bridge.connect()
        for _ in range(3):
            await client.ws.send_str("{oops")
            await client.ws.send_str("{oops")
            await client.send("heartbeat")
        assert (await client.subscribe("wf"))["type"] == "workflow.subscribed"


async def test_more_subscriptions_than_allowed_are_refused_by_name() -> None:
    async with running_executor() as executor, running_bridge(executor, max_subscriptions=2) as bridge:
        client = await bridge.connect()
        for name in ("one", "two", "one"):
            assert (await client.subscribe(name))["type"] == "workflow.subscribed"
        refused = await client.subscribe("three")
        assert (refused["type"], refused["payload"]["code"]) == ("command.rejected", "too_many_subscriptions")


async def send_text_bytes(client: Client, payload: bytes) -> None:
    """Send a masked text frame that the client library would refuse to make."""
    transport = client.ws.get_extra_info("socket")
    assert transport is not None
    mask = b"\0\0\0\0"
    writer = client.ws._writer
    writer.transport.write(bytes([0x81, 0x80 | len(payload)]) + mask + payload)
