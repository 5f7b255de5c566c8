"""Clients of the bridge that check what the protocol promises while they listen."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp

TERMINAL = ("execution.complete", "execution.error")
Message = dict[str, Any]


class ProtocolBroken(AssertionError):
    """The bridge sent what the protocol rules out."""


def is_terminal(message: Message) -> bool:
    """Whether a message ends a run."""
    return message["type"] in TERMINAL and "seq" in message


class PlainClient:
    """A client as the original design has it: no subprotocol, one JSON object a frame."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self.seen: list[Message] = []

    async def send(self, type_: str, workflow_id: str, payload: Message, id_: str = "m-1") -> None:
        """Sends one message."""
        message = {"id": id_, "type": type_, "timestamp": 0, "workflowId": workflow_id, "payload": payload}
        await self._socket.send_str(json.dumps(message))

    async def until(self, met: Callable[[Message], bool], seconds: float = 60) -> Message:
        """Listens until a message meets a condition."""
        async with asyncio.timeout(seconds):
            while True:
                frame = await self._socket.receive()
                if frame.type is not aiohttp.WSMsgType.TEXT:
                    raise ProtocolBroken(f"expected a text frame, got {frame}")
                message = json.loads(frame.data)
                if not isinstance(message, dict):
                    raise ProtocolBroken("a plain frame is one JSON object")
                self.seen.append(message)
                if met(message):
                    return message


@dataclass
class Followed:
    """What a resuming client has seen of a workflow: every durable message, and how often it had to begin anew."""

    durable: list[Message] = field(default_factory=list)
    connections: int = 0
    snapshots: int = 0


class ResumingClient:
    """A `weftline.v1` client that reconnects with its cursor whenever it is cut off, and checks the gap rule."""

    def __init__(self, http: str, workflow_id: str, epoch: str, seq: int) -> None:
        self._http = http
        self._workflow_id = workflow_id
        self._epoch = epoch
        self._seq = seq
        self._ids = itertools.count()
        self.followed = Followed()

    async def follow(self, until: Callable[[Message], bool], seconds: float = 120) -> Followed:
        """Listens, over as many connections as it takes, until a durable message meets a condition."""
        async with asyncio.timeout(seconds), aiohttp.ClientSession() as session:
            while True:
                try:
                    if await self._connection(session, until):
                        return self.followed
                except (aiohttp.ClientError, ConnectionError):
                    await asyncio.sleep(0.02)

    async def _connection(self, session: aiohttp.ClientSession, until: Callable[[Message], bool]) -> bool:
        async with session.ws_connect(self._http, protocols=("weftline.v1",), autoping=True) as socket:
            self.followed.connections += 1
            await self._subscribe(socket)
            async for message in _messages(socket):
                match message["type"]:
                    case "workflow.subscribed" if message["payload"]["outcome"] == "snapshot":
                        self.followed.snapshots += 1
                    case "workflow.snapshot":
                        raise ProtocolBroken("a covered cursor must be resumed, not replaced by a snapshot")
                    case "command.rejected":
                        if message["payload"]["code"] != "executor_unavailable":
                            raise ProtocolBroken(f"subscribing was refused: {message}")
                        await self._subscribe(socket)
                    case _ if "seq" in message:
                        self._take(message)
                        if until(message):
                            return True
        return False

    async def _subscribe(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        cursor = {"epoch": self._epoch, "seq": self._seq}
        message = {
            "id": f"subscribe-{next(self._ids)}",
            "type": "workflow.subscribe",
            "timestamp": 0,
            "workflowId": self._workflow_id,
            "payload": {"cursor": cursor},
        }
        await socket.send_str(json.dumps(message))

    def _take(self, message: Message) -> None:
        if message["seq"] != self._seq + 1:
            raise ProtocolBroken(f"after seq {self._seq} came {message['seq']}")
        self._seq = message["seq"]
        self.followed.durable.append(message)


async def _messages(socket: aiohttp.ClientWebSocketResponse) -> AsyncIterator[Message]:
    async for frame in socket:
        if frame.type is not aiohttp.WSMsgType.TEXT:
            raise ProtocolBroken(f"expected a text frame, got {frame}")
        batch = json.loads(frame.data)
        if not isinstance(batch, list):
            raise ProtocolBroken("a frame is a JSON array")
        for message in batch:
            yield message
