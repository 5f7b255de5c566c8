"""Starts runs on an executor and watches every event from a process of its own, as the bridge would.

Reads one JSON object (see `Request`) and prints one: a list of figures for each piece of work.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import uvloop
from grpc import aio

from bench.engine import shapes
from bench.processes import Cost
from weftline.v1 import events_pb2
from weftline.v1 import workflow_service_pb2 as pb
from weftline.v1.workflow_service_pb2_grpc import WorkflowServiceStub

MAX_MESSAGE_BYTES = 64 << 20
RUN_SECONDS = 120.0


class EventsLost(Exception):
    """A watch did not tell everything, or a run did not succeed; says what."""


@dataclass(frozen=True, slots=True)
class Request:
    """Each `work` is done `times` times on the executor at `address` with process id `pid`."""

    address: str
    pid: int
    times: int
    work: Sequence[Mapping[str, Any]]


@dataclass(slots=True)
class Seen:
    """What the watch told of one run, times as of time.monotonic and (of nodes) in ms as of the executor.

    `bodies` are the workflows that its nodes ran as their bodies.
    """

    seq: int = 0
    succeeded: int = 0
    first_at: float = 0.0
    ended_at: float = 0.0
    running_ms: dict[str, int] = field(default_factory=dict)
    success_ms: dict[str, int] = field(default_factory=dict)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    bodies: list[str] = field(default_factory=list)

    def take(self, event: events_pb2.Event, now: float) -> None:
        """Notes one durable event; raises EventsLost when one before it is missing, or the run failed."""
        if event.seq != self.seq + 1:
            raise EventsLost(f"{event.workflow_id}: event {event.seq} came after {self.seq}")
        self.seq = event.seq
        self.first_at = self.first_at or now
        kind = event.WhichOneof("payload")
        if kind == "node":
            node = event.node
            if node.status == events_pb2.NODE_STATUS_RUNNING:
                self.running_ms[node.node_id] = event.timestamp_ms
            elif node.status == events_pb2.NODE_STATUS_SUCCESS:
                self.succeeded += 1
                self.success_ms[node.node_id] = event.timestamp_ms
        elif kind == "complete":
            self.ended_at = now
            self.ended.set()
        elif kind == "error":
            raise EventsLost(f"{event.workflow_id} failed: {event.error.error}")


class Driver:
    """Starts runs and waits until the watch has told that they ended."""

    def __init__(self, stub: Any, cost: Cost) -> None:
        self._stub = stub
        self._cost = cost
        self._seen: dict[str, Seen] = {}
        self._begun = asyncio.Event()
        self._serial = 0
        self.watching = asyncio.get_running_loop().create_task(self._watch(), name="watch")

    async def begin(self) -> None:
        """Waits until the watch stands."""
        await self._or_watch_fails(self._begun.wait())

    async def do(self, work: shapes.Work) -> dict[str, Any]:
        """Does a piece of work once; times in seconds."""
        graph = work.graph()
        definition = shapes.definition(graph)
        self._serial += 1
        ids = [f"bench-{self._serial}-{number}" for number in range(work.runs)]
        runs = [self._seen.setdefault(each, Seen()) for each in ids]
        requests = [pb.StartWorkflowRequest(workflow_id=each, definition_json=definition) for each in ids]
        cpu, started = self._cost.cpu(), time.monotonic()
        await self._or_watch_fails(self._all_end(requests, runs))
        seconds = max(run.ended_at for run in runs) - started
        cpu = self._cost.cpu() - cpu
        nodes = len(graph.nodes) * (1 + graph.items) * work.runs
        all_runs = [*runs, *(self._seen[body] for run in runs for body in run.bodies)]
        if sum(run.succeeded for run in all_runs) != nodes:
            raise EventsLost(f"{sum(run.succeeded for run in all_runs)} of {nodes} nodes succeeded")
        figures = {
            "nodes": nodes,
            "events": sum(run.seq for run in all_runs),
            "seconds": seconds,
            "nodesPerSecond": nodes / seconds,
            "cpu": cpu,
            "firstEventMs": (runs[0].first_at - started) * 1000,
            "readyToStartP95Ms": _ready_to_start(graph, runs[0]),
            "rss": self._cost.rss(),
            "peakRss": self._cost.peak_rss(),
        }
        for each in ids:
            for body in self._seen.pop(each).bodies:
                del self._seen[body]
        return figures

    async def _all_end(self, requests: Sequence[pb.StartWorkflowRequest], runs: Sequence[Seen]) -> None:
        await asyncio.gather(*(self._stub.StartWorkflow(request, timeout=RUN_SECONDS) for request in requests))
        for run in runs:
            await run.ended.wait()

    async def _or_watch_fails(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        waiting: set[asyncio.Future[Any]] = {task, self.watching}
        done, _ = await asyncio.wait(waiting, timeout=RUN_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if task not in done:
            task.cancel()
            if self.watching in done:
                await self.watching
            raise EventsLost(f"nothing was heard for {RUN_SECONDS:.0f} s")
        await task

    async def _watch(self) -> None:
        call = self._stub.WatchEvents(pb.WatchEventsRequest(start_from=pb.WATCH_FROM_NOW, telemetry=True))
        async for response in call:
            now = time.monotonic()
            if response.HasField("created"):
                self._begun.set()
            for event in response.events:
                if event.seq:
                    self._run_of(event).take(event, now)
        raise EventsLost("the executor ended the watch")

    def _run_of(self, event: events_pb2.Event) -> Seen:
        """The run that an event is of; that of a body begins with its start, which names the run around it."""
        run = self._seen.get(event.workflow_id)
        if run is None:
            around = self._seen.get(event.workflow_start.parent.workflow_id)
            if around is None:
                raise EventsLost(f"{event.workflow_id}: nobody started it, or its start was not told")
            around.bodies.append(event.workflow_id)
            run = self._seen[event.workflow_id] = Seen()
        return run


def _ready_to_start(graph: shapes.Graph, run: Seen) -> float:
    """How long it took from a node's last parent's success to its start, 95 % of nodes, in ms."""
    waits = sorted(
        run.running_ms[node] - max(run.success_ms[parent] for parent in parents)
        for node, parents in graph.parents().items()
        if parents
    )
    return float(waits[len(waits) * 95 // 100]) if waits else 0.0


async def measure(request: Request) -> list[list[dict[str, Any]]]:
    """The figures of every piece of work, in order; a void one says why."""
    options = [("grpc.max_receive_message_length", MAX_MESSAGE_BYTES)]
    found: list[list[dict[str, Any]]] = []
    async with aio.insecure_channel(request.address, options=options) as channel:
        driver = Driver(WorkflowServiceStub(channel), Cost(request.pid))
        try:
            await driver.begin()
            for work in request.work:
                found.append([])
                for _ in range(request.times):
                    found[-1].append(await driver.do(shapes.Work(**work)))
        except (EventsLost, aio.AioRpcError) as error:
            found[-1].append({"void": str(error)})
        finally:
            driver.watching.cancel()
    return found


def as_request(address: str, pid: int, times: int, work: Sequence[shapes.Work]) -> dict[str, Any]:
    """What this program reads."""
    return asdict(Request(address, pid, times, [asdict(each) for each in work]))


def main() -> None:
    """Measures what standard input asks for."""
    request = Request(**json.loads(sys.stdin.read()))
    print(json.dumps({"figures": uvloop.run(measure(request))}), flush=True)


if __name__ == "__main__":
    main()
