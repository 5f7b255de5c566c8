"""The least that a durable engine in Python can cost: an event loop, a log that is synced, and a gRPC stream.

It serves as much of the executor's contract as the measurement uses. It runs nodes in a loop, writes what happened to
SQLite with full sync, one transaction a turn for all runs, and only then tells it to the watcher and lets what depends
on a node start. It validates nothing, and has no conditions, retries, limits, snapshots or recovery.
Prints one JSON object with its `port` when it listens.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import uvloop
from grpc import aio

from weftline.v1 import events_pb2 as events
from weftline.v1 import workflow_service_pb2 as pb

MAX_MESSAGE_BYTES = 64 << 20
Context = aio.ServicerContext[Any, Any]


class Log:
    """Events in SQLite: one row of packed events for each transaction."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute("CREATE TABLE chunk (id INTEGER PRIMARY KEY, body BLOB NOT NULL)")
        self._writer = ThreadPoolExecutor(1)

    async def append(self, body: bytes) -> None:
        """Returns when the events are on disk."""
        await asyncio.get_running_loop().run_in_executor(self._writer, self._write, body)

    def _write(self, body: bytes) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.execute("INSERT INTO chunk (body) VALUES (?)", (body,))
        self._connection.execute("COMMIT")


@dataclass(slots=True)
class Run:
    """One run: how many parents each node waits for, and how many nodes are left."""

    workflow_id: str
    definition: str
    waiting: dict[str, int]
    children: dict[str, list[str]]
    left: int
    seq: int = 0
    ended: bool = False
    ready: list[str] = field(default_factory=list)

    @staticmethod
    def of(workflow_id: str, definition: str) -> Run:
        """A run of a definition that is taken to be right."""
        graph = json.loads(definition)
        waiting = {node["id"]: 0 for node in graph["nodes"]}
        children: dict[str, list[str]] = {node: [] for node in waiting}
        for edge in graph["edges"]:
            waiting[edge["target"]] += 1
            children[edge["source"]].append(edge["target"])
        ready = [node for node, count in waiting.items() if not count]
        return Run(workflow_id, definition, waiting, children, len(waiting), ready=ready)

    def finish(self, nodes: Iterable[str]) -> None:
        """These nodes' successes are on disk."""
        for node in nodes:
            self.left -= 1
            for child in self.children[node]:
                self.waiting[child] -= 1
                if not self.waiting[child]:
                    self.ready.append(child)

    def event(self, **payload: Any) -> events.Event:
        """The run's next event."""
        self.seq += 1
        at = time.time_ns() // 1_000_000
        return events.Event(
            id=f"{self.workflow_id}-{self.seq}",
            workflow_id=self.workflow_id,
            run_id=self.workflow_id,
            seq=self.seq,
            timestamp_ms=at,
            **payload,
        )


async def _noop() -> None:
    return None


class Floor:
    """Runs all runs together, turn by turn."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._runs: list[Run] = []
        self._work = asyncio.Event()
        self._watchers: set[asyncio.Queue[bytes]] = set()

    async def start(self, request: pb.StartWorkflowRequest, context: Context) -> pb.StartWorkflowResponse:
        """StartWorkflow."""
        self._runs.append(Run.of(request.workflow_id, request.definition_json))
        self._work.set()
        return pb.StartWorkflowResponse()

    async def watch(self, request: pb.WatchEventsRequest, context: Context) -> AsyncIterator[bytes]:
        """WatchEvents, from now."""
        queue: asyncio.Queue[bytes] = asyncio.Queue(64)
        self._watchers.add(queue)
        yield pb.WatchEventsResponse(created=pb.WatchCreated()).SerializeToString()
        while True:
            yield await queue.get()

    async def run(self) -> None:
        """Runs what is ready, forever."""
        while True:
            await self._work.wait()
            await self._turn()
            self._runs = [run for run in self._runs if not run.ended]
            if not self._runs:
                self._work.clear()

    async def _turn(self) -> None:
        told: list[events.Event] = []
        started: list[tuple[Run, list[str]]] = []
        for run in self._runs:
            if not run.seq:
                told.append(run.event(workflow_start=events.WorkflowStart(definition_json=run.definition)))
            ready, run.ready = run.ready, []
            started.append((run, ready))
            told += [run.event(node=_node(node, events.NODE_STATUS_RUNNING)) for node in ready]
            if not run.left:
                run.ended = True
                told.append(run.event(complete=events.RunComplete(status=events.RUN_STATE_SUCCESS)))
        await asyncio.gather(*[_noop() for _, nodes in started for _ in nodes])
        for run, nodes in started:
            told += [run.event(node=_node(node, events.NODE_STATUS_SUCCESS)) for node in nodes]
        body = pb.WatchEventsResponse(events=told).SerializeToString()
        await self._log.append(body)
        for watcher in self._watchers:
            await watcher.put(body)
        for run, nodes in started:
            run.finish(nodes)


def _node(node: str, status: events.NodeStatus.ValueType) -> events.NodeTransition:
    return events.NodeTransition(node_id=node, status=status, attempt=1)


async def _serve(folder: Path) -> None:
    floor = Floor(Log(folder / "floor.sqlite3"))
    server = aio.server(options=[("grpc.max_receive_message_length", MAX_MESSAGE_BYTES)])
    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "WatchEvents": grpc.unary_stream_rpc_method_handler(
            floor.watch, request_deserializer=pb.WatchEventsRequest.FromString
        ),
        "StartWorkflow": grpc.unary_unary_rpc_method_handler(
            floor.start,
            request_deserializer=pb.StartWorkflowRequest.FromString,
            response_serializer=pb.StartWorkflowResponse.SerializeToString,
        ),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("weftline.v1.WorkflowService", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    loop = asyncio.get_running_loop()
    running = loop.create_task(floor.run(), name="floor")
    loop.add_signal_handler(signal.SIGTERM, running.cancel)
    print(json.dumps({"port": port}), flush=True)
    try:
        await running
    except asyncio.CancelledError:
        await server.stop(None)


if __name__ == "__main__":
    uvloop.run(_serve(Path(sys.argv[1])))
