"""`weftline debug` against a bridge: connections, records, and why a client did not see an event."""

import json

from tests.integration.cli.process import Result, weftline
from tests.support import events
from tests.support.bridge import RunningBridge, running_bridge
from tests.support.scripted_executor import running_executor
from tests.support.tokens import SECRET, token


async def debug(bridge: RunningBridge, *arguments: str, token_: str = "") -> Result:
    return await weftline("debug", *arguments, WEFTLINE_BRIDGE=bridge.url, WEFTLINE_TOKEN=token_)


async def test_it_lists_connections_and_shows_what_happened_to_one_and_to_a_workflow() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        executor.append("wf", events.start("a"))
        client = await bridge.connect()
        connection_id = (await client.of_type("connection.ready"))["payload"]["connectionId"]
        await client.subscribe("wf")
        executor.append("wf", events.running("a"), events.success("a"))
        await client.seqs("wf", 3)
        listed = await debug(bridge, "connections")
        assert (listed.code, connection_id in listed.out, "wf" in listed.out) == (0, True, True)
        assert [row["id"] for row in (await debug(bridge, "connections", "--json")).rows] == [connection_id]
        shown = await debug(bridge, "connection", connection_id)
        assert shown.code == 0
        assert all(word in shown.out for word in ("opened", "subscribed", "snapshot", "events"))
        rows = (await debug(bridge, "workflow", "wf", "--json")).rows
        assert rows[0]["workflowId"] == "wf"
        assert {row["kind"] for row in rows[1:]} >= {"received"}


async def test_it_says_why_a_client_did_not_see_an_event() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        executor.append("wf", events.start("a"), events.running("a"))
        client, other = await bridge.connect(), await bridge.connect()
        ready = [(await each.of_type("connection.ready"))["payload"]["connectionId"] for each in (client, other)]
        await client.send("workflow.subscribe", "wf", {"logs": "error"})
        await client.of_type("workflow.snapshot")
        executor.append("wf", events.log("quiet"), events.success("a"))
        await client.seqs("wf", 4)

        async def code(connection_id: str, seq: int) -> str:
            (answer,) = (await debug(bridge, "why", connection_id, "wf", str(seq), "--json")).rows
            return str(answer["code"])

        assert await code(ready[0], 2) == "in_snapshot"
        assert await code(ready[0], 3) == "withheld"
        assert await code(ready[0], 4) == "written"
        assert await code(ready[0], 5) == "never_came"
        assert await code(ready[1], 4) == "not_subscribed"
        said = await debug(bridge, "why", ready[0], "wf", "3")
        assert said.out.startswith("withheld  It was left out on purpose")


async def test_what_goes_wrong_has_a_sentence_and_a_code() -> None:
    async with running_executor() as executor, running_bridge(executor, auth_secret=SECRET) as bridge:
        refused = await debug(bridge, "connections", "--json")
        assert (refused.code, json.loads(refused.err)["error"]["reason"]) == (5, "unauthenticated")
        permitted = await debug(bridge, "connections", token_=token())
        assert (permitted.code, permitted.out) == (0, "Nobody is connected.\n")
        unknown = await debug(bridge, "connection", "nobody", token_=token())
        assert (unknown.code, "no record of this connection" in unknown.err) == (4, True)
        url = bridge.url
    gone = await weftline("debug", "connections", "--bridge", url)
    assert (gone.code, f"The bridge at {url} is not available" in gone.err) == (6, True)
    bad = await weftline("debug", "connections", "--bridge", "ftp://example")
    assert (bad.code, "--bridge" in bad.err) == (2, True)
