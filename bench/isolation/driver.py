"""Keeps quiet runs going on an executor, lets nodes misbehave beside them, and tells how late events came.

Reads one JSON object (see `Request`) and prints one: the figures of each phase.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import uvloop
from grpc import aio

from weftline.v1 import events_pb2
from weftline.v1 import workflow_service_pb2 as pb
from weftline.v1.workflow_service_pb2_grpc import WorkflowServiceStub

CALL_SECONDS = 60.0
QUIET = "quiet"
_DELAY = 0.25
_PAUSE = 0.5


@dataclass(frozen=True, slots=True)
class Request:
    """The executor at `address` has `runs` quiet runs; each phase of `seconds` has nodes of one bad kind beside."""

    address: str
    runs: int
    seconds: float
    phases: Sequence[str]


@dataclass(slots=True)
class Lateness:
    """How late a watch told of things, in ms: `ends` of waits as of when they were due, `travels` since any event."""

    ends: list[float] = field(default_factory=list)
    travels: list[float] = field(default_factory=list)

    def figures(self) -> dict[str, Any]:
        """Medians and the 99th of a hundred."""
        found: dict[str, Any] = {"events": len(self.travels)}
        for name, values in (("end", sorted(self.ends)), ("travel", sorted(self.travels))):
            for percent in (50, 99) if values else ():
                found[f"{name}P{percent}Ms"] = values[min(len(values) - 1, len(values) * percent // 100)]
        return found


class Driver:
    """Watches all workflows of an executor; quiet runs are chains of waits of a quarter of a second."""

    def __init__(self, stub: Any) -> None:
        self._stub = stub
        self._late = Lateness()
        self._begun: dict[tuple[str, str], int] = {}
        self._ended: dict[str, asyncio.Event] = {}

    async def measure(self, request: Request) -> dict[str, dict[str, Any]]:
        """The figures of each phase."""
        found: dict[str, dict[str, Any]] = {}
        length = request.seconds * len(request.phases) + CALL_SECONDS
        async with asyncio.TaskGroup() as tasks:
            watch = tasks.create_task(self._watch(), name="watch")
            await asyncio.sleep(_PAUSE)
            for number in range(request.runs):
                await self._start(f"quiet-{number}", [("delay", {"seconds": _DELAY})] * round(length / _DELAY))
            for phase in request.phases:
                async with self._bad(phase, request.seconds):
                    await asyncio.sleep(_PAUSE)
                    self._late = late = Lateness()
                    await asyncio.sleep(request.seconds)
                    self._late = Lateness()
                    late.ends += self._overdue()
                found[phase] = late.figures()
            for number in range(request.runs):
                await self._stop(f"quiet-{number}")
            watch.cancel()
        return found

    def _overdue(self) -> list[float]:
        """How late the waits are by now of which nothing was heard."""
        now = time.time() * 1000
        late = [now - begun - _DELAY * 1000 for begun in self._begun.values()]
        return [each for each in late if each > 0]

    @asynccontextmanager
    async def _bad(self, kind: str, seconds: float) -> AsyncIterator[None]:
        """Nodes of a kind run one after the other in this block."""
        if kind == QUIET:
            yield
            return
        task = asyncio.create_task(self._misbehave(kind, seconds), name="misbehave")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await self._stop(kind)

    async def _misbehave(self, kind: str, seconds: float) -> None:
        while True:
            self._ended[kind] = asyncio.Event()
            await self._start(kind, [(kind, {"seconds": seconds + 2 * _PAUSE})])
            await self._ended[kind].wait()

    async def _start(self, workflow_id: str, nodes: Sequence[tuple[str, dict[str, object]]]) -> None:
        definition = {
            "nodes": [{"id": str(at), "type": kind, "data": data} for at, (kind, data) in enumerate(nodes)],
            "edges": [{"source": str(at), "target": str(at + 1)} for at in range(len(nodes) - 1)],
        }
        request = pb.StartWorkflowRequest(workflow_id=workflow_id, definition_json=json.dumps(definition))
        await self._stub.StartWorkflow(request, timeout=CALL_SECONDS)

    async def _stop(self, workflow_id: str) -> None:
        request = pb.StopWorkflowRequest(workflow_id=workflow_id, mode=pb.STOP_MODE_TERMINATE)
        try:
            await self._stub.StopWorkflow(request, timeout=CALL_SECONDS)
        except aio.AioRpcError:
            return  # it has ended by itself

    async def _watch(self) -> None:
        call = self._stub.WatchEvents(pb.WatchEventsRequest(start_from=pb.WATCH_FROM_NOW))
        async for response in call:
            now = time.time() * 1000
            for event in response.events:
                if event.workflow_id.startswith("quiet"):
                    self._take(event, now)
                elif event.WhichOneof("payload") in ("complete", "error") and event.workflow_id in self._ended:
                    self._ended[event.workflow_id].set()

    def _take(self, event: events_pb2.Event, now: float) -> None:
        self._late.travels.append(now - event.timestamp_ms)
        if event.WhichOneof("payload") != "node":
            return
        key = event.workflow_id, event.node.node_id
        if event.node.status == events_pb2.NODE_STATUS_RUNNING:
            # A wait that is moved to another event loop begins where it began.
            self._begun.setdefault(key, event.timestamp_ms)
        elif event.node.status == events_pb2.NODE_STATUS_SUCCESS:
            self._late.ends.append(now - self._begun.pop(key) - _DELAY * 1000)


async def measure(request: Request) -> dict[str, dict[str, Any]]:
    """The figures of each phase."""
    async with aio.insecure_channel(request.address) as channel:
        return await Driver(WorkflowServiceStub(channel)).measure(request)


def main() -> None:
    """Measures what standard input asks for."""
    request = Request(**json.loads(sys.stdin.read()))
    print(json.dumps({"phases": uvloop.run(measure(request))}), flush=True)


if __name__ == "__main__":
    main()
