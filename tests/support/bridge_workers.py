"""A bridge of several workers in processes of its own, and what a test wants to know of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import psutil
from prometheus_client.parser import text_string_to_metric_families

from tests.integration.bridge.test_process import Process, serving
from tests.support.bridge import PATIENCE, V1, Client
from tests.support.scripted_executor import ScriptedExecutor

POLL_SECONDS = 0.02

Json = dict[str, Any]
Samples = dict[tuple[str, ...], float]


class Workers:
    """A supervisor with its workers; every request comes over a connection of its own, so that any of them answers."""

    def __init__(self, process: Process, http: aiohttp.ClientSession) -> None:
        self.process = process
        self.http = http
        self.url = f"http://{process.url}"
        self.metrics_url = process.lines[-1].split("metrics on ")[1].split(",")[0]
        self._stack = contextlib.AsyncExitStack()

    @property
    def supervisor(self) -> psutil.Process:
        """The process that holds the others."""
        return psutil.Process(self.process.process.pid)

    def running(self) -> dict[int, psutil.Process]:
        """The workers that run, by number; one that ended and was not taken note of yet is not among them."""
        found = {}
        for child in self.supervisor.children():
            with contextlib.suppress(psutil.Error):
                told = child.cmdline()
                if "--as-worker" in told:
                    found[int(json.loads(told[told.index("--as-worker") + 1])["worker"])] = child
        return found

    async def get(self, path: str, token: str = "") -> tuple[int, str]:
        """Status and text of an answer."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with self.http.get(self.url + path, headers=headers) as response:
            return response.status, await response.text()

    async def json(self, path: str, token: str = "") -> Json:
        """An answer that has to be good."""
        status, text = await self.get(path, token)
        assert status == 200, text
        found: Json = json.loads(text)
        return found

    async def ready(self) -> None:
        """Wait until all workers serve."""
        async with asyncio.timeout(PATIENCE):
            while (await self.get("/readyz"))[0] != 200:
                await asyncio.sleep(POLL_SECONDS)

    async def connect(self, dialect: str = V1, token: str = "") -> Client:
        """A new connection."""
        protocols = () if dialect == "plain" else (dialect,)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        ws = await self.http.ws_connect(self.url + "/", protocols=protocols, headers=headers, max_msg_size=0)
        self._stack.push_async_callback(ws.close)
        return Client(ws, dialect)

    async def connect_to(self, worker: int, token: str = "") -> Client:
        """A new connection that came to this worker, in `weftline.v1`."""
        for _ in range(200):
            client = await self.connect(token=token)
            if await self.worker_of(client, token) == worker:
                return client
            await client.ws.close()
        raise AssertionError(f"no connection comes to worker {worker}")

    async def worker_of(self, client: Client, token: str = "") -> int:
        """Which worker has a connection."""
        return int((await self.json(f"/api/recorder/connections/{await connection_id(client)}", token))["worker"])

    async def samples(self) -> Samples:
        """The metrics, by name without `weftline_bridge_` and by the values of their labels."""
        async with self.http.get(self.metrics_url) as response:
            assert response.status == 200
            families = text_string_to_metric_families(await response.text())
        return {
            (sample.name.removeprefix("weftline_bridge_"), *sorted(sample.labels.values())): sample.value
            for family in families
            for sample in family.samples
        }

    async def close(self) -> None:
        """Close all connections of the test."""
        await self._stack.aclose()


async def connection_id(client: Client) -> str:
    """What the bridge calls a connection in `weftline.v1`."""
    if not client.seen:
        await client.until(lambda message: message["type"] == "connection.ready")
    return str(client.seen[0]["payload"]["connectionId"])


@contextlib.asynccontextmanager
async def running_workers(executor: ScriptedExecutor, count: int = 2, **environment: str) -> AsyncIterator[Workers]:
    """A bridge of so many workers, which are all ready."""
    settings = {"WORKERS": str(count), "DRAIN_SECONDS": "2", **environment}
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with serving(executor, **settings) as process, aiohttp.ClientSession(connector=connector) as http:
        workers = Workers(process, http)
        await workers.ready()
        try:
            yield workers
        finally:
            await workers.close()
