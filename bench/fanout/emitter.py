"""Sends events by a plan and takes the clients' acknowledgements, in a server that is written in Python.

The server listens for one control connection, which carries JSON objects in lines: `{"prepare": plan}` and
`{"run": true}` are answered with `{"done": …}`, `{"ack": n}` says that every client has the first n events.
Needs nothing but the standard library.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, Protocol

from bench.fanout.plans import Plan


class Sender(Protocol):
    """What a server does with events."""

    async def prepare(self, plan: Plan, templates: list[str]) -> None:
        """Makes ready to send; what is done here is not measured."""

    async def send(self, first: int, last: int) -> None:
        """Sends the events with these numbers (from 1) to all clients."""


class Emitter:
    """Drives one sender by what comes over the control connection."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._plan: Plan | None = None
        self._acknowledged = 0
        self._moved = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    async def serve(self) -> int:
        """Listens for the control connection on a free port of loopback; returns the port."""
        server = await asyncio.start_server(self._control, "127.0.0.1", 0)
        return int(server.sockets[0].getsockname()[1])

    async def _control(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            request: Mapping[str, Any] = json.loads(line)
            if "ack" in request:
                self._acknowledged = request["ack"]
                self._moved.set()
            elif "prepare" in request:
                self._plan = Plan.from_json(request["prepare"])
                self._acknowledged = 0
                await self._sender.prepare(self._plan, request["templates"])
                writer.write(b'{"done":"prepare"}\n')
            elif "run" in request and self._plan is not None:
                self._running = asyncio.create_task(self._run(self._plan, writer), name="emit")
        writer.close()

    async def _run(self, plan: Plan, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        start = loop.time()
        for first in range(1, plan.count + 1, plan.batch):
            last = first + plan.batch - 1
            if plan.interval:
                await asyncio.sleep(start + (first - 1) // plan.batch * plan.interval - loop.time())
            else:
                await self._room(last - plan.window)
            await self._sender.send(first, last)
        writer.write(b'{"done":"run"}\n')

    async def _room(self, acknowledged: int) -> None:
        while self._acknowledged < acknowledged:
            self._moved.clear()
            await self._moved.wait()
        # What was sent has to get out before more is made.
        await asyncio.sleep(0)
