"""Nodes that wait are answered and runs repeated over the real services, from a browser's side and from a shell."""

from __future__ import annotations

import asyncio
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
    async with asyncio.timeout(30):
        while missing:
            message = await client.next()
            missing = [each for each in missing if not fits(message, each)]


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
