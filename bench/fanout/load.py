"""Connects many WebSocket clients to a server, has it send events, and checks and measures what arrives.

Reads one JSON object (see `Request`) and prints one (see `measure`).
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import uvloop

from bench.fanout.events import WORKFLOW_ID, templates
from bench.fanout.plans import Plan
from bench.fanout.websocket import (
    ArrayStream,
    CountedArrayStream,
    ObjectStream,
    SocketIoStream,
    Stream,
    StreamBroken,
    client_frame,
    handshake,
)
from bench.processes import Cost

CONNECT_AT_ONCE = 50
CONNECT_SECONDS = 60.0
SETTLE_SECONDS = 0.5
ACK_SECONDS = 0.001
BUFFER_BYTES = 1 << 20
_SUBSCRIBE = f'[{{"id":"join","type":"workflow.subscribe","timestamp":0,"workflowId":"{WORKFLOW_ID}","payload":{{}}}}]'


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a client speaks to a kind of server."""

    stream: Callable[[list[int] | None], Stream]
    path: str = "/"
    subprotocol: str = ""
    hello: bytes = b""


DIALECTS = {
    "weftline.v1": Dialect(ArrayStream, subprotocol="weftline.v1", hello=client_frame(_SUBSCRIBE.encode())),
    "weftline.v1 counted": Dialect(
        CountedArrayStream, subprotocol="weftline.v1", hello=client_frame(_SUBSCRIBE.encode())
    ),
    "websocket": Dialect(ObjectStream),
    "socket.io": Dialect(SocketIoStream, path="/socket.io/?EIO=4&transport=websocket"),
}


@dataclass(frozen=True, slots=True)
class Request:
    """What to measure: `clients` of `dialect` on `port`, the server's `pid`, its `control` port and a plan.

    Every `sample`-th client (with 0 none) looks at each event and its latency; `seconds` is the deadline.
    """

    dialect: str
    port: int
    control: int
    pid: int
    clients: int
    sample: int
    plan: Plan
    seconds: float

    @staticmethod
    def read(text: str) -> Request:
        """The request in a JSON object."""
        value: dict[str, Any] = json.loads(text)
        return Request(**(value | {"plan": Plan.from_json(value["plan"])}))


class Client(asyncio.BufferedProtocol):
    """One connection; all share a buffer, as each is done with it before the next one reads."""

    _shared = bytearray(BUFFER_BYTES)
    _view = memoryview(_shared)

    def __init__(self, dialect: Dialect, request: bytes, stream: Stream, on_move: Callable[[Client], None]) -> None:
        self.stream = stream
        self.broken: asyncio.Future[None] | None = None
        self._dialect = dialect
        self._request = request
        self._response: bytes | None = b""
        self._on_move = on_move
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not derive from asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._request)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._view

    def buffer_updated(self, nbytes: int) -> None:
        now_us = time.monotonic_ns() // 1000
        try:
            if self._response is not None:
                nbytes = self._shake_hands(nbytes)
            self.stream.feed(self._shared, nbytes, now_us)
        except StreamBroken as error:
            self.fail(str(error))
            return
        if self.stream.replies and self._transport is not None:
            self._transport.writelines(self.stream.replies)
            self.stream.replies.clear()
        self._on_move(self)

    def connection_lost(self, error: Exception | None) -> None:
        self.fail(f"connection lost: {error}")

    def fail(self, what: str) -> None:
        """Has the measurement end with this."""
        if self.broken is not None and not self.broken.done():
            self.broken.set_exception(StreamBroken(what))

    def _shake_hands(self, size: int) -> int:
        """Takes the answer to the handshake off the front of the buffer; how much is left in it."""
        assert self._response is not None
        assert self._transport is not None
        response = self._response + self._shared[:size]
        head, end, rest = response.partition(b"\r\n\r\n")
        if not end:
            self._response = response
            return 0
        if not head.startswith(b"HTTP/1.1 101"):
            raise StreamBroken(f"refused: {head[:200].decode()}")
        self._response = None
        self.stream.opened()
        if self._dialect.hello:
            self._transport.write(self._dialect.hello)
        self._shared[: len(rest)] = rest
        return len(rest)


class Crowd:
    """All clients of a measurement."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._dialect = DIALECTS[request.dialect]
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(lambda _, context: self._fail(context))
        self._reached: Callable[[Stream], bool] = lambda stream: stream.joined
        self._all_reached = asyncio.Event()
        self._pending: set[Client] = set()
        self.broken: asyncio.Future[None] = self._loop.create_future()
        self.samples: list[int] = []
        self.clients: list[Client] = []

    async def connect(self, pace: float = 0.0) -> None:
        """Connects all, at most `pace` in a second if it is not 0, and waits until the server has let every one in."""
        began = self._loop.time()
        turns = asyncio.Semaphore(CONNECT_AT_ONCE)
        hello = handshake(self._request.port, self._dialect.path, self._dialect.subprotocol)

        async def connect(number: int) -> None:
            samples = self.samples if self._request.sample and number % self._request.sample == 0 else None
            client = Client(self._dialect, hello, self._dialect.stream(samples), self._moved)
            client.broken = self.broken
            self._pending.add(client)
            if pace:
                await asyncio.sleep(began + number / pace - self._loop.time())
            async with turns:
                await self._loop.create_connection(lambda: client, "127.0.0.1", self._request.port)
            self.clients.append(client)

        await asyncio.gather(*(connect(number) for number in range(self._request.clients)))
        await self._wait(CONNECT_SECONDS)

    def expect(self, count: int) -> None:
        """From now on wait for `count` events at every client."""
        self._pending = set(self.clients)
        self._all_reached.clear()
        self._reached = lambda stream: stream.received >= count

    async def arrive(self, seconds: float) -> None:
        """Returns when every client has what is expected; raises StreamBroken or TimeoutError."""
        await self._wait(seconds)

    def slowest(self) -> int:
        """How many events every client has."""
        return min(client.stream.received for client in self.clients)

    def missing(self, count: int) -> int:
        """How many deliveries are missing to `count` events a client."""
        return sum(max(0, count - client.stream.received) for client in self.clients)

    def _fail(self, context: dict[str, Any]) -> None:
        if not self.broken.done():
            self.broken.set_exception(StreamBroken(f"{context['message']}: {context.get('exception')!r}"))

    def _moved(self, client: Client) -> None:
        if client in self._pending and self._reached(client.stream):
            self._pending.discard(client)
            if not self._pending:
                self._all_reached.set()

    async def _wait(self, seconds: float) -> None:
        for client in list(self._pending):
            self._moved(client)
        reached = self._loop.create_task(self._all_reached.wait(), name="reached")
        waiting: set[asyncio.Future[Any]] = {reached, self.broken}
        try:
            done, _ = await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if self.broken in done:
                await self.broken
            if not done:
                raise TimeoutError
        finally:
            reached.cancel()


async def measure(request: Request) -> dict[str, Any]:
    """Runs the plan once. `void` says why the figures are none; times in seconds, latency in ms, memory in bytes."""
    cost = Cost(request.pid)
    rss = cost.rss()
    crowd = Crowd(request)
    try:
        await crowd.connect()
        await asyncio.sleep(SETTLE_SECONDS)
        idle_rss = (cost.rss() - rss) / request.clients
        reader, writer = await asyncio.open_connection("127.0.0.1", request.control)
        await _ask(reader, writer, {"prepare": request.plan.as_json(), "templates": templates()}, request.seconds)
        crowd.expect(request.plan.count)
        figures = await _run(request, crowd, cost, reader, writer)
    except (StreamBroken, TimeoutError) as error:
        missing = crowd.missing(request.plan.count)
        return {"void": str(error) or f"not all arrived within {request.seconds:.0f} s", "missing": missing}
    # Without a pace the bridge's events are encoded before they are sent, and wait for their turn on purpose.
    latency = _latency(crowd.samples) if request.plan.interval else {}
    return figures | {"idleRssPerClient": idle_rss} | latency


async def _run(
    request: Request, crowd: Crowd, cost: Cost, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    acks = loop.create_task(_acknowledge(crowd, writer), name="acks") if not request.plan.interval else None
    own = time.process_time()
    cpu, started = cost.cpu(), time.monotonic()
    writer.write(b'{"run":true}\n')
    try:
        await crowd.arrive(request.seconds)
    finally:
        if acks is not None:
            acks.cancel()
    seconds = time.monotonic() - started
    cpu = cost.cpu() - cpu
    deliveries = request.plan.count * request.clients
    return {
        "events": request.plan.count,
        "deliveries": deliveries,
        "seconds": seconds,
        "deliveriesPerSecond": deliveries / seconds,
        "eventsPerSecond": request.plan.count / seconds,
        "cpu": cpu,
        "cpuPerMillionDeliveries": cpu / deliveries * 1e6,
        "cpuShare": cpu / seconds,
        "clientCpuShare": (time.process_time() - own) / seconds,
    }


async def _acknowledge(crowd: Crowd, writer: asyncio.StreamWriter) -> None:
    told = 0
    while True:
        await asyncio.sleep(ACK_SECONDS)
        slowest = crowd.slowest()
        if slowest > told:
            told = slowest
            writer.write(b'{"ack":%d}\n' % told)


async def _ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: dict[str, Any], seconds: float
) -> None:
    writer.write(json.dumps(request).encode() + b"\n")
    async with asyncio.timeout(seconds):
        if not await reader.readline():
            raise StreamBroken("the server's control connection ended")


def _latency(samples: list[int]) -> dict[str, Any]:
    if not samples:
        return {}
    ordered = sorted(samples)
    at = {f"p{percent}": ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] / 1000 for percent in (50, 99)}
    return {"latencyMs": at, "samples": len(ordered)}


def main() -> None:
    """Measures what standard input asks for."""
    request = Request.read(sys.stdin.read())
    print(json.dumps(uvloop.run(measure(request))), flush=True)


if __name__ == "__main__":
    main()
