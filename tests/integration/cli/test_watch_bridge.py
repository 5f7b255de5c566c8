"""`weftline watch --bridge` shows what a bridge says, obeys it, and names what goes wrong."""

from __future__ import annotations

import asyncio
import json
import signal
import ssl
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.integration.cli.process import DEADLINE_S, Result, finish, read_until, start, weftline
from tests.support import events
from tests.support.bridge import RunningBridge, eventually, running_bridge
from tests.support.certificates import Authority
from tests.support.hostile_proxy import hostile_proxy
from tests.support.scripted_executor import ScriptedExecutor, running_executor
from tests.support.tokens import SECRET, permitting, token
from weftline.v1 import events_pb2 as ev
from weftline.v1 import workflow_service_pb2 as ws
from weftline_cli.bookmark import WatchPlan
from weftline_cli.bridge_watch.watch import Bridge
from weftline_cli.follow import ReconnectPolicy, follow
from weftline_cli.items import Arrived, Connected

CUTS = 60
LONG = "x" * 4000


async def watch(url: str, *arguments: str, **variables: str) -> Result:
    return await finish(await start("watch", *arguments, "--bridge", url, cwd=None, **variables))


def seqs(out: str) -> list[int]:
    return [row["seq"] for row in map(json.loads, out.splitlines()) if "seq" in row]


def reason(result: Result) -> tuple[int, str]:
    """The exit code, and the name of what was wrong."""
    error = json.loads(result.err.splitlines()[-1])["error"]
    return result.code, error.get("reason") or error["code"]


async def said(process: Process, words: str) -> str:
    """All of standard error up to the line that has these words."""
    assert process.stderr is not None
    seen = ""
    async with asyncio.timeout(DEADLINE_S):
        while line := (await process.stderr.readline()).decode():
            seen += line
            if words in line:
                return seen
    raise AssertionError(f"it ended without saying {words!r}: {seen}")


async def test_a_workflow_without_a_run_is_not_found_and_can_be_waited_for() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        assert (await watch(bridge.url, "nowhere")).code == 4
        assert (await watch(bridge.url, "nowhere", "--from", "start")).code == 4
        process = await start("watch", "wf", "--from", "now", "--until-end", "--bridge", bridge.url)
        await eventually(lambda: "wf" in bridge.bridge.hub.feeds and bridge.bridge.hub.feeds["wf"].caster.readers)
        executor.append("wf", events.start("a"), events.success("a"), events.complete())
        result = await finish(process)
    assert result.code == 0
    assert "success" in result.out


async def test_an_older_state_that_the_bridge_has_at_hand_does_not_end_the_watch_of_a_newer_run() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        executor.append("wf", events.start("a"), events.success("a"), events.complete())
        client = await bridge.connect()
        await client.subscribe("wf")
        await client.of_type("workflow.snapshot")
        executor.append("wf", events.start("a"), events.running("a"))
        await client.seqs("wf", 5)
        process = await start("watch", "wf", "--until-end", "--json", "--bridge", bridge.url)
        await read_until(process, "node.running")
        executor.append("wf", events.success("a"), events.complete())
        assert (await finish(process)).code == 0
        past = await watch(bridge.url, "wf", "--from", "start", "--until-end", "--json")
    assert seqs(past.out) == [1, 2, 3, 4, 5, 6, 7]


async def test_an_event_that_the_bridge_leaves_out_is_accounted_for() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        executor.append("wf", events.start("a"))
        process = await start("watch", "wf", "--json", "--until-end", "--bridge", bridge.url)
        await read_until(process, "workflow.snapshot")
        executor.append("wf", ev.NodeTransition(node_id="a", status=77))  # type: ignore[arg-type]
        words = await said(process, "left out")
        executor.append("wf", events.success("a"), events.complete())
        result = await finish(process)
    assert "Event 2 of wf was left out" in words
    assert "the bridge could not make sense of them" in words
    assert (result.code, seqs(result.out)) == (0, [3, 4])


async def test_a_watch_that_is_too_slow_is_told_how_it_is_served_and_what_it_missed() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        executor.append("wf", events.start("a"))
        process = await start("watch", "wf", "--json", "--until-end", "--bridge", bridge.url)
        await read_until(process, "workflow.snapshot")
        process.send_signal(signal.SIGSTOP)
        (session,) = bridge.bridge.registry
        while session.mode != "shedding":
            executor.append("wf", *(events.log(LONG, ev.LOG_LEVEL_DEBUG) for _ in range(20)))
            await asyncio.sleep(0.001)
        head = executor.append("wf", events.success("a"), events.complete()).events[-1].seq
        process.send_signal(signal.SIGCONT)
        result = await finish(process)
    assert result.code == 0
    assert "This watch is far behind" in result.err
    assert "execution.log): this watch was too slow" in result.err or "the state comes in place" in result.err
    shown = seqs(result.out)
    assert shown == sorted(set(shown))
    assert shown[-1] == head
    assert len(shown) < head


async def test_a_bridge_that_is_full_is_tried_again() -> None:
    async with running_executor() as executor, running_bridge(executor, max_connections=1) as bridge:
        executor.append("wf", events.start("a"), events.complete())
        client = await bridge.connect()
        await client.of_type("connection.ready")
        process = await start("watch", "wf", "--until-end", "--json", "--bridge", bridge.url)
        assert "1013 (overloaded): too many connections" in await said(process, "broke")
        await client.ws.close()
        result = await finish(process)
    assert (result.code, result.err) == (0, "Connected again.\n")


async def test_who_gives_up_says_so() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        executor.append("wf", events.start("a"))
        process = await start("watch", "wf", "--json", "--reconnect-for", "0.5", "--bridge", bridge.url)
        await read_until(process, "workflow.snapshot")
    result = await finish(process)
    assert reason(result) == (6, "unavailable")
    assert "gave up after 0.5 s" in result.err


class TestTokens:
    async def test_it_comes_by_option_file_or_environment(self, tmp_path: Path) -> None:
        file = tmp_path / "token"
        file.write_text(token() + "\n")
        async with running_executor() as executor, running_bridge(executor, auth_secret=SECRET) as bridge:
            executor.append("wf", events.start("a"), events.complete())
            ways: list[tuple[tuple[str, ...], dict[str, str]]] = [
                (("--token", token()), {}),
                (("--token-file", str(file)), {}),
                ((), {"WEFTLINE_TOKEN": token()}),
                ((), {"WEFTLINE_TOKEN_FILE": str(file)}),
            ]
            for arguments, variables in ways:
                assert (await watch(bridge.url, "wf", "--until-end", *arguments, **variables)).code == 0

    @pytest.mark.parametrize(
        ("given", "name"),
        [
            ("", "unauthenticated"),
            (token(secret="another secret of tests, long enough too"), "unauthenticated"),
            (permitting(view=["others-*"]), "forbidden"),
            (permitting(), "forbidden"),
        ],
        ids=["none", "of-another-secret", "of-another-workflow", "of-nothing"],
    )
    async def test_who_may_not_watch_is_told_why_by_name(self, given: str, name: str) -> None:
        async with running_executor() as executor, running_bridge(executor, auth_secret=SECRET) as bridge:
            executor.append("wf", events.start("a"))
            result = await watch(bridge.url, "wf", "--json", WEFTLINE_TOKEN=given)
        assert reason(result) == (5, name)
        assert not given or given not in result.err

    async def test_one_that_expires_ends_the_watch_by_name(self) -> None:
        settings = {"auth_secret": SECRET, "auth_leeway": 0, "auth_grace": 0.1}
        async with running_executor() as executor, running_bridge(executor, **settings) as bridge:
            executor.append("wf", events.start("a"))
            brief = token(exp=time.time() + 4)
            result = await watch(bridge.url, "wf", "--json", WEFTLINE_TOKEN=brief)
        assert reason(result) == (5, "unauthenticated")
        assert "4401 (unauthenticated)" in result.err
        assert '"type":"workflow.snapshot"' in result.out

    async def test_one_whose_file_was_replaced_in_time_keeps_the_watch_going(self, tmp_path: Path) -> None:
        file = tmp_path / "token"
        file.write_text(token(exp=time.time() + 4))
        settings = {"auth_secret": SECRET, "auth_leeway": 0, "auth_grace": 0.1}
        async with running_executor() as executor, running_bridge(executor, **settings) as bridge:
            executor.append("wf", events.start("a"))
            arguments = ("wf", "--json", "--until-end", "--token-file", str(file))
            process = await start("watch", *arguments, "--bridge", bridge.url)
            await read_until(process, "workflow.snapshot")
            file.write_text(token())
            await said(process, "Connected again")
            executor.append("wf", events.success("a"), events.complete())
            result = await finish(process)
        assert (result.code, seqs(result.out)) == (0, [2, 3])

    async def test_what_makes_no_sense_is_bad_usage(self) -> None:
        assert (await weftline("watch", "wf", "--token", "a")).code == 2
        assert (await weftline("watch", "wf", "--bridge", "")).code == 2
        assert (await weftline("watch", "wf", "--bridge", "ws://127.0.0.1:1/?token=secret")).code == 2
        assert (await weftline("watch", "wf", "--bridge", "ws://127.0.0.1:1", "--token-file", "/nowhere")).code == 2


async def test_a_bridge_behind_tls_is_known_by_its_authority_and_no_other(tmp_path: Path) -> None:
    authority, other = Authority(tmp_path), Authority(tmp_path, "other")
    pair = authority.pair("bridge")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pair.cert, pair.key)
    async with running_executor() as executor, running_bridge(executor) as bridge:
        executor.append("wf", events.start("a"), events.complete())
        async with terminating(bridge, context) as port:
            url = f"https://127.0.0.1:{port}"
            known = await watch(url, "wf", "--until-end", WEFTLINE_TLS_CA=str(authority.ca))
            foreign = await watch(url, "wf", "--json", WEFTLINE_TLS_CA=str(other.ca))
            missing = await watch(url, "wf", "--json", WEFTLINE_TLS_CA=str(tmp_path / "nowhere"))
    assert known.code == 0
    assert reason(foreign) == (6, "unavailable")
    assert "certificate" in foreign.err
    assert reason(missing) == (2, "usage")


@asynccontextmanager
async def terminating(bridge: RunningBridge, context: ssl.SSLContext) -> AsyncIterator[int]:
    """The port of a server that takes TLS off on the way to the bridge."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(*bridge.bridge.address)
        pumps = [asyncio.create_task(pump(reader, back)), asyncio.create_task(pump(there, writer))]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in pumps:
                task.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            for end in (back, writer):
                end.transport.abort()

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        ("302 Found\r\nLocation: http://127.0.0.1:9/", 6, "answered 302"),
        ("404 Not Found", 6, "answered 404"),
        ("200 OK", 6, "answered 200"),
        ("403 Forbidden", 5, "403 Forbidden"),
    ],
)
async def test_what_is_no_bridge_is_named_and_gets_no_second_request(answer: str, code: int, words: str) -> None:
    requests = 0

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        requests += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        result = await watch(url, "wf", WEFTLINE_TOKEN="secret-token")
    assert (result.code, words in result.err, requests) == (code, True, 1)
    assert "secret-token" not in result.err


async def test_a_network_that_cuts_stalls_and_drips_costs_no_event_and_repeats_none() -> None:
    async with (
        running_executor() as executor,
        running_bridge(executor) as bridge,
        hostile_proxy(bridge.bridge.address, seed=11, life=0.4) as network,
    ):
        executor.append("wf", events.start("a"))
        there = Bridge("ws://{}:{}/".format(*network.address))
        plan = WatchPlan("wf", ws.WATCH_FROM_CURSOR, executor.log.epoch, 0)
        policy = ReconnectPolicy(120.0, 0.01, 0.05)
        seen: list[tuple[int, str]] = []
        appending = asyncio.create_task(append_until_cut(executor, network.cut_often, network.calm), name="appending")
        connections = 0
        async with asyncio.timeout(DEADLINE_S * 2), AsyncExitStack() as stack:
            items = follow(there.watch(plan), policy, reached=True)
            stack.push_async_callback(items.aclose)
            async for item in items:
                connections += isinstance(item, Connected)
                if isinstance(item, Arrived):
                    seen += [(event.seq, event.id) for event in item.events if event.seq]
                if seen and seen[-1][0] == len(executor.log.workflows["wf"].events) and appending.done():
                    break
        await appending
    assert seen == [(each.seq, each.id) for each in executor.log.workflows["wf"].events]
    assert connections > 3


async def append_until_cut(
    executor: ScriptedExecutor,
    cut_often: Callable[[int], Coroutine[Any, Any, None]],
    calm: Callable[[], Coroutine[Any, Any, None]],
) -> None:
    """Append events until connections were cut often enough; then one more, in peace."""
    enough = asyncio.create_task(cut_often(CUTS), name="enough-cuts")
    while not enough.done():
        executor.append("wf", *(events.log(LONG) for _ in range(3)))
        await asyncio.wait({enough}, timeout=0.02)
    await calm()
    executor.append("wf", events.complete())
