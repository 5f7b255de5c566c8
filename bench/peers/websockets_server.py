"""Broadcasts events with `websockets` on uvloop; runs in the peers' own environment."""

from __future__ import annotations

import asyncio
import json
import signal
import time

import uvloop
from websockets.asyncio.server import ServerConnection, broadcast, serve

from bench.fanout.emitter import Emitter
from bench.fanout.plans import Plan


class Broadcaster:
    """Sends each event to every connection, encoded once."""

    def __init__(self) -> None:
        self._connections: set[ServerConnection] = set()
        self._templates: list[str] = []

    async def prepare(self, plan: Plan, templates: list[str]) -> None:
        """See Sender."""
        self._templates = templates

    async def send(self, first: int, last: int) -> None:
        """See Sender."""
        for seq in range(first, last + 1):
            template = self._templates[(seq - 1) % len(self._templates)]
            sent = str(time.monotonic_ns() // 1000)
            broadcast(self._connections, template.replace("@seq@", str(seq)).replace("@sent@", sent))

    async def accept(self, connection: ServerConnection) -> None:
        """Keeps a connection until it ends."""
        self._connections.add(connection)
        try:
            await connection.wait_closed()
        finally:
            self._connections.discard(connection)


async def _serve() -> None:
    sender = Broadcaster()
    async with serve(
        sender.accept, "127.0.0.1", 0, compression=None, ping_interval=None, backlog=4096, close_timeout=1
    ) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        print(json.dumps({"port": port, "control": await Emitter(sender).serve()}), flush=True)
        ended = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
        await ended.wait()


if __name__ == "__main__":
    uvloop.run(_serve())
