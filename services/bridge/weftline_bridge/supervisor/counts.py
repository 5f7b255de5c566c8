"""What all workers have counted: asked of them from time to time, and told as one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge, GCCollector, ProcessCollector

from weftline_bridge.metrics import GAUGES, OF_PROCESS
from weftline_bridge.supervisor.keeper import Keeper
from weftline_bridge.workers.exposition import collect, exposition
from weftline_bridge.workers.merging import Ledger, total
from weftline_bridge.workers.messages import SUPERVISOR, Family, Report

REPORT_SECONDS = 2.0
"""A worker is asked so often; of what it counted after that nothing is known if it dies."""

ANSWER_SECONDS = 2.0

_CONNECTIONS = "weftline_bridge_connections"
_families = msgspec.msgpack.Decoder(list[Family]).decode


class Counts:
    """The metrics of workers and supervisor."""

    def __init__(self, keepers: Sequence[Keeper]) -> None:
        self._keepers = keepers
        self._ledger = Ledger(GAUGES, OF_PROCESS)
        self._connections: dict[int, int] = {}
        registry = self._registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        GCCollector(registry=registry)
        self._workers = Gauge("weftline_bridge_workers", "Workers that serve clients.", registry=registry)
        self._deaths = Counter(
            "weftline_bridge_worker_deaths_total", "Workers that ended without being asked to.", registry=registry
        )

    def take(self, worker: int, families: list[Family]) -> None:
        """Take what a worker has counted so far."""
        self._ledger.report(str(worker), families)
        self._connections[worker] = int(total(families, _CONNECTIONS))

    def ended(self, worker: int) -> None:
        """Keep what a worker had counted that ended unasked."""
        self._deaths.inc()
        self._ledger.ended(str(worker))
        self._connections.pop(worker, None)

    async def gather(self) -> None:
        """Ask all workers for their counts; those that do not answer in time stay at what they said before."""
        await asyncio.gather(*(self._ask(keeper) for keeper in self._keepers))

    async def scrape(self) -> bytes:
        """All metrics as of now, as text."""
        await self.gather()
        self._workers.set(sum(keeper.serving.is_set() for keeper in self._keepers))
        self._ledger.report(SUPERVISOR, collect(self._registry))
        return exposition(self._ledger.merged())

    async def _ask(self, keeper: Keeper) -> None:
        elsewhere = sum(number for worker, number in self._connections.items() if worker != keeper.number)
        life = keeper.deaths
        said = await keeper.ask(Report(elsewhere), ANSWER_SECONDS)
        if said.state == "answered" and keeper.deaths == life:
            self.take(keeper.number, _families(said.answer))
