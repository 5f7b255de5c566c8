"""A whole bridge in the test's own process, and a client that speaks to it over a real socket."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any
from uuid import uuid4

import aiohttp
import msgspec

from tests.support.scripted_executor import ScriptedExecutor
from weftline_bridge.app.lifecycle import Bridge
from weftline_bridge.settings import load_settings

PATIENCE = 30.0
V1 = "weftline.v1"

Json = dict[str, Any]


class Client:
    """One WebSocket connection; `messages` are those that came and were not taken yet, `seen` all of them."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse, dialect: str) -> None:
        self.ws = ws
        self.dialect = dialect
        self.messages: list[Json] = []
        self.seen: list[Json] = []
        self.frames: list[str] = []

    async def send(self, kind: str, workflow_id: str = "", payload: Json | None = None, **fields: Any) -> str:
        """Send one message; its id."""
        message_id = str(fields.pop("id", uuid4().hex))
        message: Json = {"id": message_id, "type": kind, "timestamp": 1, "workflowId": workflow_id, **fields}
        if payload is not None:
            message["payload"] = payload
        await self.ws.send_str(msgspec.json.encode(message).decode())
        return message_id

    async def subscribe(self, workflow_id: str, **payload: Any) -> Json:
        """Subscribe; the answer."""
        message_id = await self.send("workflow.subscribe", workflow_id, payload)
        return await self.until(lambda message: message["payload"].get("commandId") == message_id)

    async def next(self) -> Json:
        """The next message that was not taken yet."""
        while not self.messages:
            await self._receive()
        return self.messages.pop(0)

    async def until(self, wanted: Callable[[Json], bool]) -> Json:
        """Take messages up to the first that is wanted; that one."""
        async with asyncio.timeout(PATIENCE):
            while True:
                message = await self.next()
                if wanted(message):
                    return message

    async def of_type(self, *kinds: str) -> Json:
        """Take messages up to the first of these types; that one."""
        return await self.until(lambda message: message["type"] in kinds)

    async def seqs(self, workflow_id: str, last: int) -> list[int]:
        """Take messages up to the workflow's event `last`; the seqs of its events since the beginning."""
        await self.until(lambda message: message["workflowId"] == workflow_id and message.get("seq", 0) >= last)
        return self.seqs_seen(workflow_id)

    def seqs_seen(self, workflow_id: str) -> list[int]:
        """The seqs of all events of a workflow so far."""
        return [each["seq"] for each in self.seen if each["workflowId"] == workflow_id and "seq" in each]

    def types_seen(self) -> list[str]:
        """The types of all messages so far."""
        return [message["type"] for message in self.seen]

    async def close_code(self) -> int:
        """Read until the server closes; its close code."""
        async with asyncio.timeout(PATIENCE):
            while not self.ws.closed:
                with contextlib.suppress(ConnectionError):
                    await self._receive()
        return self.ws.close_code or 0

    async def _receive(self) -> None:
        received = await self.ws.receive(timeout=PATIENCE)
        if received.type is not aiohttp.WSMsgType.TEXT:
            if self.ws.closed:
                raise ConnectionError(f"closed with {self.ws.close_code}")
            return
        self.frames.append(received.data)
        found = msgspec.json.decode(received.data)
        batch = found if isinstance(found, list) else [found]
        self.messages += batch
        self.seen += batch


class RunningBridge:
    """A bridge that listens, and the means to connect to it."""

    def __init__(self, bridge: Bridge, http: aiohttp.ClientSession) -> None:
        self.bridge = bridge
        self.http = http
        self.url = "http://{}:{}".format(*bridge.address)
        self.metrics_url = "http://{}:{}/metrics".format(*bridge.metrics_address)
        self._stack = contextlib.AsyncExitStack()

    async def connect(self, dialect: str = V1, headers: Mapping[str, str] | None = None, **options: Any) -> Client:
        """Open a connection in `dialect` (`plain`, or a subprotocol)."""
        protocols = () if dialect == "plain" else (dialect,)
        options = {"max_msg_size": 0, "autoping": True, **options}
        ws = await self.http.ws_connect(self.url + "/", protocols=protocols, headers=headers, **options)
        self._stack.push_async_callback(ws.close)
        return Client(ws, dialect)

    async def metric(self, name: str, **labels: str) -> float:
        """The value of one sample, 0 when it is not there."""
        return self.bridge.metrics.registry.get_sample_value(name, labels) or 0.0

    async def eventually(self, condition: Callable[[], object]) -> None:
        """Return when `condition` holds; fails after a deadline."""
        await eventually(condition)

    async def close(self) -> None:
        """Close all connections of the test."""
        await self._stack.aclose()


async def eventually(condition: Callable[[], object]) -> None:
    """Return when `condition` holds; fails after a deadline."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def running_bridge(executor: ScriptedExecutor | str, **settings: Any) -> AsyncIterator[RunningBridge]:
    """A bridge on free ports, connected to `executor` (or to be connected to that address)."""
    address = executor if isinstance(executor, str) else executor.address
    defaults: dict[str, Any] = {"listen": "127.0.0.1:0", "metrics_listen": "127.0.0.1:0", "drain_seconds": 2.0}
    bridge = Bridge(load_settings(**{**defaults, "executor": address, **settings}))
    await bridge.start()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        running = RunningBridge(bridge, http)
        try:
            if isinstance(executor, ScriptedExecutor):
                await eventually(lambda: bridge.hub.connected)
            yield running
        finally:
            await asyncio.gather(running.close(), bridge.stop())
