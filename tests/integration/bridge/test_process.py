"""The `weftline_bridge` process: how it starts, refuses to start, and ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import resource
import signal
import socket
import sys
from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.support import events
from tests.support.bridge import PATIENCE, V1, Client, eventually
from tests.support.scripted_executor import ScriptedExecutor, running_executor


class Process:
    """A bridge in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []
        self.url = ""

    async def line(self, pattern: str) -> re.Match[str]:
        """Read its log up to a line that matches."""
        assert self.process.stderr is not None
        async with asyncio.timeout(PATIENCE):
            while raw := await self.process.stderr.readline():
                self.lines.append(raw.decode())
                if found := re.search(pattern, self.lines[-1]):
                    return found
        raise AssertionError(f"no line matched {pattern}: {self.lines}")

    async def ended(self) -> int:
        """Wait for it to end; the exit status."""
        assert self.process.stderr is not None
        async with asyncio.timeout(PATIENCE):
            self.lines += (await self.process.stderr.read()).decode().splitlines()
            return await self.process.wait()


async def launch(*arguments: str, before: str = ":", **environment: str) -> Process:
    """Start a process with settings from `environment`, in a shell that does something before."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("WEFTLINE_")}
    env |= {f"WEFTLINE_BRIDGE_{name}": value for name, value in environment.items()}
    process = await asyncio.create_subprocess_exec(
        *("/bin/sh", "-c", f'{before} && exec "$@"', "sh", sys.executable, "-m", "weftline_bridge", *arguments),
        env=env,
        stderr=asyncio.subprocess.PIPE,
    )
    return Process(process)


@contextlib.asynccontextmanager
async def serving(executor: ScriptedExecutor, **environment: str) -> AsyncIterator[Process]:
    """A process that serves on free ports."""
    defaults = {"LISTEN": "127.0.0.1:0", "METRICS_LISTEN": "127.0.0.1:0", "EXECUTOR": executor.address}
    process = await launch(**{**defaults, **environment})
    try:
        process.url = (await process.line(r"listening on ws://(\S+),")).group(1)
        yield process
    finally:
        if process.process.returncode is None:
            process.process.kill()
            await process.ended()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_drains_all_clients_and_ends_the_process_with_status_0(number: signal.Signals) -> None:
    async with running_executor() as executor, serving(executor) as process, aiohttp.ClientSession() as http:
        v1 = Client(await http.ws_connect(f"http://{process.url}/", protocols=[V1]), V1)
        plain = Client(await http.ws_connect(f"http://{process.url}/"), "plain")
        await v1.subscribe("wf")
        executor.append("wf", events.start("a"))
        await v1.seqs("wf", 1)
        await plain.of_type("workflow.start", "system.status")
        process.process.send_signal(number)
        draining = await v1.of_type("connection.draining")
        assert 0 <= draining["payload"]["reconnectAfterMs"] <= 5000
        assert await v1.close_code() == 1012
        assert await plain.close_code() == 1012
        assert "connection.draining" not in plain.types_seen()
        assert await process.ended() == 0


async def test_a_client_that_does_not_answer_the_close_does_not_keep_the_process() -> None:
    async with running_executor() as executor, serving(executor, DRAIN_SECONDS="0.3") as process:
        reader, writer = await asyncio.open_connection(*process.url.split(":"))
        writer.write(
            b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        await reader.readuntil(b"\r\n\r\n")
        process.process.send_signal(signal.SIGTERM)
        assert await process.ended() == 0
        writer.close()


async def test_it_ends_while_the_executor_is_away() -> None:
    async with running_executor() as executor, serving(executor) as process:
        await executor.stop()
        process.process.send_signal(signal.SIGTERM)
        assert await process.ended() == 0


@pytest.mark.parametrize("setting", ["LISTEN", "METRICS_LISTEN"])
async def test_a_busy_port_is_one_clear_sentence_and_status_1(setting: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        process = await launch(**{"LISTEN": "127.0.0.1:0", "METRICS_LISTEN": "127.0.0.1:0", setting: address})
        assert await process.ended() == 1
    (line,) = process.lines
    assert line.startswith(f"weftline-bridge: cannot listen on {address} (WEFTLINE_BRIDGE_{setting}): ")
    assert "address already in use" in line.lower()


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("LISTEN", "here"),
        ("EXECUTOR", "127.0.0.1:99999"),
        ("MAX_CONNECTIONS", "many"),
        ("HEARTBEAT_INTERVAL", "-1"),
        ("LOG_FORMAT", "xml"),
        ("ALLOWED_ORIGINS", "example.org"),
    ],
)
async def test_a_wrong_setting_is_one_sentence_that_names_it_and_status_2(setting: str, value: str) -> None:
    process = await launch(**{"LISTEN": "127.0.0.1:0", "METRICS_LISTEN": "127.0.0.1:0", setting: value})
    assert await process.ended() == 2
    (line,) = process.lines
    assert line.startswith(f"weftline-bridge: WEFTLINE_BRIDGE_{setting}: ")
    assert value in line


async def test_the_command_line_wins_over_the_environment() -> None:
    process = await launch("--listen", "nowhere", LISTEN="127.0.0.1:0", METRICS_LISTEN="127.0.0.1:0")
    assert await process.ended() == 2
    assert "nowhere" in process.lines[0]


async def test_logs_are_json_when_asked_for_even_when_the_executor_goes() -> None:
    async with running_executor() as executor:
        async with serving(executor, LOG_FORMAT="json") as process:
            await eventually(lambda: executor.calls["pulse"] == 1)
            await executor.stop()
            await process.line("stream was lost")
            process.process.send_signal(signal.SIGTERM)
            assert await process.ended() == 0
        assert [line for line in process.lines if not line.startswith('{"time": ')] == []


async def test_listening_for_all_the_world_without_tokens_is_refused_unless_it_is_meant() -> None:
    process = await launch(LISTEN="0.0.0.0:0", METRICS_LISTEN="127.0.0.1:0")
    assert await process.ended() == 2
    (line,) = process.lines
    assert line.startswith("weftline-bridge: WEFTLINE_BRIDGE_LISTEN: ")
    assert "WEFTLINE_BRIDGE_ALLOW_ANONYMOUS=true" in line
    async with running_executor() as executor:
        async with serving(executor, LISTEN="0.0.0.0:0", ALLOW_ANONYMOUS="true") as process:
            assert any("WARNING" in line and "anyone who can reach it" in line for line in process.lines)
        async with serving(executor, LISTEN="0.0.0.0:0", AUTH_SECRET="x" * 32) as process:
            assert not any("WARNING" in line for line in process.lines)


async def test_tokens_and_letting_anyone_in_contradict_each_other() -> None:
    process = await launch(LISTEN="127.0.0.1:0", AUTH_SECRET="x" * 32, ALLOW_ANONYMOUS="true")
    assert await process.ended() == 2
    assert "WEFTLINE_BRIDGE_ALLOW_ANONYMOUS: " in process.lines[0]
    assert "x" * 32 not in process.lines[0]


@pytest.mark.parametrize(
    ("before", "limit", "warned"),
    [("ulimit -S -n 300", 1256, False), ("ulimit -n 400", 400, True), ("ulimit -S -n 2000", 2000, False)],
)
async def test_it_may_open_as_many_files_as_its_connections_take_or_says_that_it_may_not(
    before: str, limit: int, warned: bool
) -> None:
    settings = {"LISTEN": "127.0.0.1:0", "METRICS_LISTEN": "127.0.0.1:0", "MAX_CONNECTIONS": "1000"}
    process = await launch(before=before, **settings)
    try:
        await process.line("listening on")
        assert resource.prlimit(process.process.pid, resource.RLIMIT_NOFILE)[0] == limit
        assert any(f"only {limit} files may be open" in line for line in process.lines) == warned
    finally:
        process.process.terminate()
        assert await process.ended() == 0
