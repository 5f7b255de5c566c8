"""The flight recorder over HTTP: what a bridge tells of its connections and of what came from the executor."""

from __future__ import annotations

from typing import Any

import msgspec

from tests.support import events
from tests.support.bridge import RunningBridge, eventually, running_bridge
from tests.support.scripted_executor import running_executor
from tests.support.tokens import SECRET, bearer, permitting, token


async def recorded(bridge: RunningBridge, path: str) -> dict[str, Any]:
    async with bridge.http.get(f"{bridge.url}/api/recorder/{path}") as response:
        assert response.status == 200
        found: dict[str, Any] = await response.json()
        return found


def of(found: dict[str, Any], *kinds: str) -> list[tuple[Any, ...]]:
    return [
        (each["kind"], each.get("from", 0), each.get("to", 0), each.get("word", ""))
        for each in found["records"]
        if each["kind"] in kinds
    ]


async def test_a_connection_is_told_from_its_beginning_to_its_end() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        executor.append("wf", events.start("a"), events.running("a"))
        client = await bridge.connect()
        connection_id = (await client.of_type("connection.ready"))["payload"]["connectionId"]
        await client.subscribe("wf")
        executor.append("wf", events.log("one"), events.success("a"))
        await client.seqs("wf", 4)
        found = await recorded(bridge, f"connections/{connection_id}")
        assert (found["dialect"], found["mode"], found["subscriptions"], found["closedAt"]) == (
            "v1",
            "normal",
            ["wf"],
            None,
        )
        assert of(found, "opened", "subscribed", "snapshot", "command") == [
            ("opened", 0, 0, "v1"),
            ("command", 0, 0, "workflow.subscribe accepted"),
            ("subscribed", 2, 2, "snapshot"),
            ("snapshot", 2, 2, ""),
        ]
        written = [each for each in found["records"] if each["kind"] == "events"]
        assert (written[0]["from"], written[-1]["to"]) == (3, 4)
        assert sum(each["bytes"] for each in written) > 100
        assert found["openedAt"] <= written[0]["at"]
        await client.send("workflow.unsubscribe", "wf")
        await client.of_type("command.accepted")
        await client.ws.close()
        await eventually(lambda: not len(bridge.bridge.registry))
        ended = await recorded(bridge, f"connections/{connection_id}")
        assert of(ended, "unsubscribed", "closed") == [("unsubscribed", 0, 0, ""), ("closed", 0, 0, "1000")]
        assert (ended["mode"], ended["closeCode"]) == ("closed", 1000)


async def test_what_was_withheld_is_told_as_a_gap() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        client = await bridge.connect()
        connection_id = (await client.of_type("connection.ready"))["payload"]["connectionId"]
        await client.send("workflow.subscribe", "wf", {"logs": "error"})
        await client.of_type("workflow.subscribed")
        executor.append("wf", events.start("a"), events.log("quiet"), events.success("a"))
        await client.seqs("wf", 3)
        found = await recorded(bridge, f"connections/{connection_id}")
        assert of(found, "events", "gap", "subscribed") == [
            ("subscribed", 0, 0, "gone"),
            ("events", 1, 1, ""),
            ("gap", 2, 2, "filtered"),
            ("events", 3, 3, ""),
        ]


async def test_a_workflow_tells_what_came_of_it() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        client = await bridge.connect()
        await client.subscribe("wf")
        executor.append("wf", events.start("a"), events.running("a"), events.success("a"))
        await client.seqs("wf", 3)
        found = await recorded(bridge, "workflows/wf")
        received = [seq for _, first, last, _ in of(found, "received") for seq in range(first, last + 1)]
        assert received == [1, 2, 3]
        assert found["workflowId"] == "wf"


async def test_a_record_is_downloaded_as_lines() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        client = await bridge.connect()
        connection_id = (await client.of_type("connection.ready"))["payload"]["connectionId"]
        url = f"{bridge.url}/api/recorder/connections/{connection_id}"
        for query, headers in (("?format=ndjson", {}), ("", {"Accept": "application/x-ndjson"})):
            async with bridge.http.get(url + query, headers=headers) as response:
                assert response.content_type == "application/x-ndjson"
                assert f"connection-{connection_id}.ndjson" in response.headers["Content-Disposition"]
                lines = [msgspec.json.decode(line) for line in (await response.text()).splitlines()]
            assert lines[0]["connectionId"] == connection_id
            assert lines[1]["kind"] == "opened"
        async with bridge.http.get(url + "?format=xml") as response:
            assert (response.status, (await response.json())["code"]) == (400, "bad_query")


async def test_what_is_not_known_is_not_found_and_says_whether_anything_is_recorded() -> None:
    async with running_executor() as executor:
        for settings, code in (({}, "not_recorded"), ({"recorder": False}, "recorder_off")):
            async with running_bridge(executor, **settings) as bridge:
                client = await bridge.connect()
                await client.subscribe("wf")
                for path in ("connections/nobody", "workflows/none"):
                    async with bridge.http.get(f"{bridge.url}/api/recorder/{path}") as response:
                        assert (response.status, (await response.json())["code"]) == (404, code)


async def test_a_record_is_told_to_those_who_may_see_what_is_in_it() -> None:
    ada, bob = bearer(permitting("ada", view=["orders-*"])), bearer(permitting("bob", view=["orders-*"]))
    async with running_executor() as executor, running_bridge(executor, auth_secret=SECRET) as bridge:
        executor.append("secret-1", events.start("a"))
        executor.append("orders-1", events.start("a"))
        client = await bridge.connect("plain", headers=bearer(token()))
        told: set[str] = set()
        while told < {"secret-1", "orders-1"}:
            told.add((await client.until(lambda message: message["workflowId"] not in {"", *told}))["workflowId"])
        own = await bridge.connect(headers=ada)
        connection_id = (await own.of_type("connection.ready"))["payload"]["connectionId"]
        url = f"{bridge.url}/api/recorder/"
        for path, headers, status in (
            (f"connections/{connection_id}", ada, 200),
            (f"connections/{connection_id}", bob, 404),
            (f"connections/{connection_id}", bearer(token()), 200),
            (f"connections/{connection_id}", {}, 401),
            ("workflows/orders-1", bob, 200),
            ("workflows/secret-1", bob, 404),
            ("workflows/secret-1", bearer(token()), 200),
        ):
            async with bridge.http.get(url + path, headers=headers) as response:
                assert (path, response.status) == (path, status)
                assert SECRET not in await response.text()
