"""Connects many clients to a server, and measures what they cost it while nothing happens.

Reads one JSON object (see `Request`) and prints one (see `measure`).
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import dataclass
from typing import Any

import uvloop

from bench.fanout import load
from bench.fanout.plans import Plan
from bench.fanout.websocket import StreamBroken
from bench.processes import Cost

SETTLE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Request:
    """`clients` of `dialect` on `port`, of which `pace` connect in a second; `pid` is the server's process."""

    dialect: str
    port: int
    pid: int
    clients: int
    pace: float


async def measure(request: Request) -> dict[str, Any]:
    """Connects all. Memory in bytes, time in seconds; `void` says why the figures are none."""
    cost = Cost(request.pid)
    before, began = cost.rss(), time.monotonic()
    nothing = Plan(1, 1, interval=1.0)
    crowd = load.Crowd(
        load.Request(request.dialect, request.port, 0, request.pid, request.clients, 0, nothing, seconds=0.0)
    )
    try:
        await crowd.connect(request.pace)
        connected = time.monotonic() - began
        await asyncio.wait({crowd.broken}, timeout=SETTLE_SECONDS)
        if crowd.broken.done():
            await crowd.broken
    except (StreamBroken, TimeoutError, OSError) as error:
        return {"void": str(error) or "not all were let in"}
    after = cost.rss()
    return {"rssPerClient": (after - before) / request.clients, "rss": after, "connectSeconds": connected}


def main() -> None:
    """Measures what standard input asks for."""
    request = Request(**json.loads(sys.stdin.read()))
    print(json.dumps(uvloop.run(measure(request))), flush=True)


if __name__ == "__main__":
    main()
