"""Thousands of `weftline.v1` clients in one process, which know their cursors and come back when they are told to."""

from __future__ import annotations

import asyncio
import base64
import os
import resource
from collections import Counter
from collections.abc import Iterable
from typing import Any, cast

import msgspec

from tests.support.raw_client import CLOSE, PING, PONG, TEXT, frame

SPARE_FILES = 256
TRY_LATER = 1013

Message = dict[str, Any]


class Truth:
    """What the clients were told together: the id of every event, which has to be the same for all of them.

    `told` counts what else came, by type, and closes by their code.
    """

    def __init__(self) -> None:
        self.ids: dict[tuple[str, int], str] = {}
        self.told: Counter[str] = Counter()
        self.wrong: list[str] = []

    def event(self, workflow_id: str, seq: int, id_: str) -> None:
        """An event came."""
        if self.ids.setdefault((workflow_id, seq), id_) != id_:
            self.wrong.append(f"{workflow_id} {seq} is {id_}, and was {self.ids[workflow_id, seq]}")


class StormClient:
    """One client of one workflow, with its cursor, over any number of connections."""

    def __init__(self, storm: Storm, workflow_id: str, epoch: str, seq: int) -> None:
        self.workflow_id = workflow_id
        self.seq = seq
        self.joined = False
        self._storm = storm
        self._epoch = epoch
        self._advice: float | None = None
        self._connection: _Connection | None = None

    async def connect(self) -> None:
        """Connect once; whether the bridge lets it in shows later."""
        await asyncio.get_running_loop().create_connection(self._connect, *self._storm.address)

    def subscription(self) -> bytes:
        """What it asks for."""
        payload = {"cursor": {"epoch": self._epoch, "seq": self.seq}, "telemetry": False}
        message = {"id": "s", "type": "workflow.subscribe", "workflowId": self.workflow_id, "payload": payload}
        return msgspec.json.encode(message)

    def take(self, message: Message) -> None:
        """Take one message and hold it against the rules."""
        truth, kind = self._storm.truth, message["type"]
        seq = message.get("seq")
        if seq is not None:
            if seq != self.seq + 1:
                truth.wrong.append(f"{self.workflow_id}: after {self.seq} came {seq}")
            truth.event(self.workflow_id, seq, message["id"])
            self.seq = seq
            self._storm.moved(self)
            return
        truth.told[kind] += 1
        if kind == "workflow.subscribed":
            truth.told[message["payload"]["outcome"]] += 1
            self.joined = True
            self._storm.moved(self)
        elif kind == "connection.draining":
            self._advice = message["payload"]["reconnectAfterMs"] / 1000
        elif kind == "command.rejected" and message["payload"]["code"] != "executor_unavailable":
            truth.wrong.append(f"{self.workflow_id}: {message}")
        elif kind == "command.rejected" and self._connection is not None:
            self._connection.send(self.subscription())

    def lost(self, code: int) -> None:
        """The connection is over: it comes back when it was told to, and else when the storm has it come."""
        self.joined, self._connection = False, None
        advice, self._advice = self._advice, None
        if self._storm.over:
            return
        self._storm.truth.told[f"close {code}"] += 1
        if code == TRY_LATER:
            if advice is None:
                self._storm.truth.wrong.append(f"{self.workflow_id}: {TRY_LATER} came without advice")
            else:
                self._storm.later(self, advice)
        elif not self._storm.waits:
            self._storm.later(self, 0.0)

    def close(self) -> None:
        """End the connection without a word."""
        if self._connection is not None:
            self._connection.abort()

    def _connect(self) -> _Connection:
        self._connection = _Connection(self)
        return self._connection


class _Connection(asyncio.Protocol):
    """The wire of one connection."""

    def __init__(self, client: StormClient) -> None:
        self._client = client
        self._transport: asyncio.Transport | None = None
        self._data = bytearray()
        self._upgraded = False
        self._code = 1006

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        lines = [
            "GET / HTTP/1.1",
            "Host: 127.0.0.1",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
            "Sec-WebSocket-Protocol: weftline.v1",
        ]
        self._transport.write(("\r\n".join(lines) + "\r\n\r\n").encode())

    def data_received(self, data: bytes) -> None:
        self._data += data
        if not self._upgraded:
            head, end, rest = bytes(self._data).partition(b"\r\n\r\n")
            if not end:
                return
            if b" 101 " not in head.partition(b"\r\n")[0]:
                self._code = int(head.split()[1])
                self.abort()
                return
            self._upgraded, self._data = True, bytearray(rest)
            self.send(self._client.subscription())
        self._take_frames()

    def connection_lost(self, error: Exception | None) -> None:
        self._client.lost(self._code)

    def send(self, payload: bytes, opcode: int = TEXT) -> None:
        """Send one frame."""
        if self._transport is not None:
            self._transport.write(frame(payload, opcode))

    def abort(self) -> None:
        """Drop the connection."""
        if self._transport is not None:
            self._transport.abort()

    def _take_frames(self) -> None:
        data, at = self._data, 0
        while at + 2 <= len(data):
            size, start = data[at + 1], at + 2
            if size in (126, 127):
                start += 2 if size == 126 else 8
                size = int.from_bytes(data[at + 2 : start], "big")
            if start + size > len(data):
                break
            self._take(data[at] & 0xF, bytes(data[start : start + size]))
            at = start + size
        del data[:at]

    def _take(self, opcode: int, payload: bytes) -> None:
        if opcode == TEXT:
            for message in msgspec.json.decode(payload):
                self._client.take(message)
        elif opcode == PING:
            self.send(payload, PONG)
        elif opcode == CLOSE:
            self._code = int.from_bytes(payload[:2], "big")
            self.send(payload[:2], CLOSE)


class Storm:
    """All clients, at one address; `truth` is what they were told.

    Who is cut off comes back in the same instant, but not while the storm `waits` for all to come at once.
    """

    def __init__(self, address: tuple[str, int]) -> None:
        self.address = address
        self.truth = Truth()
        self.clients: list[StormClient] = []
        self.over = self.waits = False
        self._goal: dict[str, int] = {}
        self._behind: set[StormClient] = set()
        self._reached = asyncio.Event()
        self._coming: set[asyncio.Task[None]] = set()

    def add(self, workflow_id: str, epoch: str, seq: int) -> None:
        """One client more, which has seen the workflow up to `seq`."""
        self.clients.append(StormClient(self, workflow_id, epoch, seq))

    def all_connect(self, clients: Iterable[StormClient] | None = None) -> None:
        """Have all connect, in this instant."""
        self.waits = False
        for client in self.clients if clients is None else clients:
            self.later(client, 0.0)

    def later(self, client: StormClient, seconds: float) -> None:
        """Have a client connect then."""
        task = asyncio.create_task(self._come(client, seconds), name=f"storm-{client.workflow_id}")
        self._coming.add(task)
        task.add_done_callback(self._coming.discard)

    async def in_sync(self, heads: dict[str, int], seconds: float) -> None:
        """Return when every client is subscribed and has all events up to these heads, by workflow."""
        self._goal = heads
        self._behind = {client for client in self.clients if not self._is_in_sync(client)}
        self._reached.clear()
        if self._behind:
            try:
                async with asyncio.timeout(seconds):
                    await self._reached.wait()
            except TimeoutError:
                raise AssertionError(f"{len(self._behind)} are behind: {self.truth.told} {self.truth.wrong}") from None

    def moved(self, client: StormClient) -> None:
        """A client has got something."""
        if client in self._behind and self._is_in_sync(client):
            self._behind.discard(client)
            if not self._behind:
                self._reached.set()

    async def close(self) -> None:
        """End all connections."""
        self.over = True
        for task in self._coming:
            task.cancel()
        await asyncio.gather(*self._coming, return_exceptions=True)
        for client in self.clients:
            client.close()

    def _is_in_sync(self, client: StormClient) -> bool:
        return client.joined and client.seq >= self._goal[client.workflow_id]

    async def _come(self, client: StormClient, seconds: float) -> None:
        await asyncio.sleep(seconds)
        try:
            await client.connect()
        except OSError as error:
            self.truth.told[f"refused {error.errno}"] += 1
            self.later(client, 0.05)


def room_for_files(count: int) -> None:
    """Have this process, and those that it starts, open so many files at once; raises OSError where it must not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + SPARE_FILES
    if hard != resource.RLIM_INFINITY and wanted > hard:
        raise OSError(f"{wanted} files are needed, and no more than {hard} may be open here")
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
