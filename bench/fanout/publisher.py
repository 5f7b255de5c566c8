"""Publishes events to nchan at a given pace, over one WebSocket, as the source streams them to the bridge.

Reads the port of nchan from its arguments and prints one JSON object when it is connected: `control` for the plan (see
`emitter`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
import time

import uvloop

from bench.fanout.emitter import Emitter
from bench.fanout.plans import Plan
from bench.fanout.websocket import client_frame, handshake

PATH = "/publish"
CONNECT_SECONDS = 10.0


class Publisher:
    """Writes each event as a message of its own, all of a batch at once."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._templates: list[str] = []
        self._ready: dict[int, bytes] = {}

    async def prepare(self, plan: Plan, templates: list[str]) -> None:
        """See Sender: with no pace to keep, all messages are made before."""
        self._templates = templates
        self._ready.clear()
        if plan.interval:
            return
        for first in range(1, plan.count + 1, plan.batch):
            self._ready[first] = self._encode(first, first + plan.batch - 1)

    async def send(self, first: int, last: int) -> None:
        """See Sender."""
        messages = self._ready.pop(first, None) or self._encode(first, last)
        self._writer.write(messages)
        await self._writer.drain()

    def _encode(self, first: int, last: int) -> bytes:
        sent = str(time.monotonic_ns() // 1000)
        texts = (
            self._templates[(seq - 1) % len(self._templates)].replace("@seq@", str(seq)).replace("@sent@", sent)
            for seq in range(first, last + 1)
        )
        return b"".join(client_frame(text.encode()) for text in texts)


async def _connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    async with asyncio.timeout(CONNECT_SECONDS):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(handshake(port, PATH, ""))
        answer = await reader.readuntil(b"\r\n\r\n")
    if not answer.startswith(b"HTTP/1.1 101"):
        raise SystemExit(f"refused: {answer[:200].decode()}")
    return reader, writer


async def _serve(port: int) -> None:
    reader, writer = await _connect(port)
    print(json.dumps({"control": await Emitter(Publisher(writer)).serve()}), flush=True)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, writer.close)
    # nchan says nothing while all is well: what comes is the end.
    if what := await reader.read():
        raise SystemExit(f"nchan said {what[:200]!r}")


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(_serve(int(sys.argv[1])))
