"""Nodes that wait are answered, runs repeated and large outputs fetched over the real services, as people do it."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from tests.integration.cli.process import Result, finish, read_until, start, weftline
from tests.support import asyncapi
from tests.support.bridge import Client, Json
from tests.support.executor_graphs import definition, node
from tests.support.stack import Stack, running_stack

ASK = node("ask", "approval", message="Send it?", deadline=3600)
BOTH = definition([ASK, node("paid", "wait_for_event", event="order.paid"), node("send")], "ask>send", "paid>send")


@asynccontextmanager
async def connected(stack: Stack, *dialects: str) -> AsyncIterator[list[Client]]:
    async with aiohttp.ClientSession() as http:
        clients = []
        for dialect in dialects:
            protocols = () if dialect == "plain" else (dialect,)
            clients.append(Client(await http.ws_connect(stack.http, protocols=protocols, max_msg_size=0), dialect))
        yield clients
        for client in clients:
            await client.ws.close()


async def shell(stack: Stack, *arguments: str) -> Result:
    return await weftline(*arguments, executor=stack.executor_address)


def about(kind: str, node_id: str, **payload: object) -> Json:
    return {"type": kind, "payload": {"nodeId": node_id, **payload}}


def fits(message: Json, wanted: Json) -> bool:
    payload = message["payload"]
    return bool(message["type"] == wanted["type"] and wanted["payload"].items() <= payload.items())


async def all_of(client: Client, *wanted: Json) -> None:
    """Take messages until each of these has come, in whatever order."""
    missing = list(wanted)
    try:
        async with asyncio.timeout(30):
            while missing:
                message = await client.next()
                missing = [each for each in missing if not fits(message, each)]
    except TimeoutError:
        raise AssertionError(f"{missing} did not come; seen: {client.seen}") from None


def check_document(*clients: Client) -> None:
    for client in clients:
        channel = "plain" if client.dialect == "plain" else "v1"
        assert [fault for message in client.seen for fault in asyncapi.faults(message, channel, "send")] == []


async def test_a_browser_and_a_shell_answer_the_nodes_of_a_run_and_repeat_it(tmp_path: Path) -> None:
    async with running_stack(tmp_path) as stack, connected(stack, "weftline.v1", "plain") as (browser, plain):
        await browser.subscribe("flow")
        await browser.send("workflow.start", "flow", json.loads(BOTH))
        asked = about("node.pending", "ask", reason="approval", data={"message": "Send it?"})
        await all_of(browser, asked, about("node.pending", "paid", reason="event"))
        async with connected(stack, "plain", "weftline.v1") as (late, star):
            await all_of(late, asked)
            await star.subscribe("*")
            (told,) = [
                each
                for each in (await star.of_type("workflow.snapshot"))["payload"]["nodes"]
                if each["nodeId"] == "ask"
            ]
            assert (told["reason"], told["data"]["message"]) == ("approval", "Send it?")
            check_document(late, star)
        shown = await shell(stack, "get", "flow")
        assert "weftline complete flow ask approves it" in shown.out
        assert "weftline complete flow --event order.paid" in shown.out
        await browser.send("node.complete", "flow", {"nodeId": "ask", "data": {"approved": True}}, id="yes")
        await all_of(plain, about("node.success", "ask", reason="completed", by="anonymous", data={"approved": True}))
        sent = await shell(stack, "complete", "flow", "--event", "order.paid", "--data", '{"amount": 12}')
        assert (sent.code, sent.err) == (0, "")
        assert (await shell(stack, "complete", "flow", "--event", "order.paid")).code == 5
        assert (await shell(stack, "complete", "flow", "nowhere")).code in (4, 5)
        first = (await plain.of_type("execution.complete"))["runId"]

        await browser.send("workflow.rerun", "flow", {"fromNodeId": "paid"})
        again = await plain.of_type("workflow.start")
        assert again["payload"]["rerunOf"] == first
        await all_of(plain, about("node.success", "ask", reason="reused", data={"approved": True}))
        await all_of(plain, about("node.pending", "paid", reason="event"))
        assert (await shell(stack, "complete", "flow", "paid", "--data", "null")).code == 0
        await plain.of_type("execution.complete")
        shown = await shell(stack, "get", "flow")
        assert f"takes over results of run {first}" in shown.out
        assert "reused" in shown.out
        check_document(browser, plain)


async def test_a_rejection_fails_the_run_and_a_retry_asks_again(tmp_path: Path) -> None:
    flow = tmp_path / "letter.json"
    flow.write_text(definition([ASK, node("send")], "ask>send"))
    async with running_stack(tmp_path) as stack:
        watching = await start("run", str(flow), executor=stack.executor_address)
        await read_until(watching, "weftline complete letter ask approves it; with --reject it is rejected.")
        rejected = await shell(stack, "complete", "letter", "ask", "--reject", "not now")
        assert rejected.code == 0
        ended = await finish(watching)
        assert ended.code == 1
        assert "not now" in ended.out
        assert (await shell(stack, "retry", "letter")).code == 0
        rest = await start("watch", "letter", "--until-end", executor=stack.executor_address)
        await read_until(rest, "weftline complete letter ask approves it")
        assert (await shell(stack, "complete", "letter", "ask")).code == 0
        assert (await finish(rest)).code == 0
        again = await shell(stack, "rerun", "letter", "--from", "send")
        assert again.code == 0
        assert "reused" in again.out


async def test_an_output_too_large_for_an_event_is_had_whole_over_http_and_in_a_shell(tmp_path: Path) -> None:
    value = {"rows": ["x" * 1000] * 200, "html": "<script>alert(1)</script>"}
    body = definition(
        [node("large", "set", values=value), node("all", "output", value="{{ nodes.large.output }}")], "large>all"
    )
    saved = tmp_path / "rows.json"
    async with running_stack(tmp_path) as stack, connected(stack, "weftline.v1") as (browser,):
        await browser.subscribe("large")
        await browser.send("workflow.start", "large", json.loads(body))
        given = await browser.until(lambda message: fits(message, about("node.success", "large")))
        artifact = given["payload"]["artifact"]
        assert given["payload"]["data"] != value
        ended = (await browser.of_type("execution.complete"))["payload"]
        async with aiohttp.ClientSession() as http:
            async with http.get(f"{stack.http}/api/artifacts/{artifact['uri']}") as answer:
                assert answer.content_type == "application/octet-stream"
                whole = await answer.read()
            async with http.get(
                f"{stack.http}/api/artifacts/{ended['artifact']['uri']}", headers={"Accept": "application/json"}
            ) as answer:
                assert await answer.json() == {"all": value}
            missing = artifact["uri"][:-1] + ("0" if artifact["uri"][-1] != "0" else "1")
            for uri, status in ((missing, 404), ("weftline:..%2F..%2Fpasswd", 404)):
                async with http.get(f"{stack.http}/api/artifacts/{uri}") as answer:
                    assert (answer.status, bool((await answer.json())["code"])) == (status, True)
        assert (len(whole), hashlib.sha256(whole).hexdigest()) == (artifact["size"], artifact["sha256"])
        assert json.loads(whole) == value
        fetched = await shell(stack, "artifact", artifact["uri"], "--out", str(saved))
        assert (fetched.code, saved.read_bytes()) == (0, whole)
        assert (await shell(stack, "artifact", missing)).code == 4
        assert (await shell(stack, "artifact", "weftline:../x")).code == 2
        assert f"weftline artifact {ended['artifact']['uri']}" in (await shell(stack, "get", "large")).out
        check_document(browser)
