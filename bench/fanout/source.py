"""A stand-in for the executor that streams events at a given pace, so that the bridge is measured alone.

Prints one JSON object when it listens: `port` for gRPC, `control` for the plan (see `emitter`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import uvloop
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bench.fanout.emitter import Emitter
from bench.fanout.events import WORKFLOW_ID, event
from bench.fanout.plans import Plan
from weftline.v1 import workflow_service_pb2 as pb

EPOCH = "bench"
HEARTBEAT_SECONDS = 5.0
QUEUED_RESPONSES = 64
MAX_RESPONSE_BYTES = 256 * 1024

Context = aio.ServicerContext[Any, Any]


class Source:
    """Answers watches of one workflow, which begins empty; its events go to whoever watches then."""

    def __init__(self) -> None:
        self._watchers: set[asyncio.Queue[bytes]] = set()
        self._ready: dict[int, bytes] = {}
        self._head = 0

    async def prepare(self, plan: Plan, templates: list[str]) -> None:
        """See Sender: with no pace to keep, all responses are encoded before."""
        self._ready.clear()
        if plan.interval:
            return
        for first in range(1, plan.count + 1, plan.batch):
            self._ready[first] = self._encode(first, first + plan.batch - 1)

    async def send(self, first: int, last: int) -> None:
        """See Sender."""
        response = self._ready.pop(first, None) or self._encode(first, last)
        self._head = last
        for watcher in self._watchers:
            await watcher.put(response)

    async def watch(self, request: pb.WatchEventsRequest, context: Context) -> AsyncIterator[bytes]:
        """WatchEvents; a cursor can be honoured only at the head, as nothing is kept."""
        queue: asyncio.Queue[bytes] = asyncio.Queue(QUEUED_RESPONSES)
        ours = request.workflow_id in {"", WORKFLOW_ID}
        created = pb.WatchCreated(
            epoch=EPOCH,
            seq=self._head if request.workflow_id == WORKFLOW_ID else 0,
            commit=self._head,
            version="bench",
            heartbeat_interval_ms=round(HEARTBEAT_SECONDS * 1000),
        )
        if ours and self._head and request.start_from != pb.WATCH_FROM_NOW and request.cursor.seq != self._head:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "the source keeps no events")
        if ours:
            self._watchers.add(queue)
        try:
            yield pb.WatchEventsResponse(created=created).SerializeToString()
            while not request.until_head:
                try:
                    first = await asyncio.wait_for(queue.get(), HEARTBEAT_SECONDS)
                except TimeoutError:
                    yield self._heartbeat(request)
                else:
                    yield first + _waiting(queue, MAX_RESPONSE_BYTES - len(first))
        finally:
            self._watchers.discard(queue)

    def _heartbeat(self, request: pb.WatchEventsRequest) -> bytes:
        beat = pb.WatchHeartbeat(
            epoch=EPOCH,
            seq=self._head if request.workflow_id == WORKFLOW_ID else 0,
            commit=self._head,
            timestamp_ms=time.time_ns() // 1_000_000,
            active_workflows=1,
        )
        return pb.WatchEventsResponse(heartbeat=beat).SerializeToString()

    def _encode(self, first: int, last: int) -> bytes:
        now = time.monotonic_ns() // 1000
        events = [event(seq, now) for seq in range(first, last + 1)]
        return pb.WatchEventsResponse(events=events, commit=last).SerializeToString()


def _waiting(queue: asyncio.Queue[bytes], room: int) -> bytes:
    """What else is queued, as far as there is room: like the executor, a watch sends as many events as there are.

    Encoded messages that are joined are one message with the events of all.
    """
    parts: list[bytes] = []
    while room > 0 and not queue.empty():
        parts.append(queue.get_nowait())
        room -= len(parts[-1])
    return b"".join(parts)


class _Health(health_pb2_grpc.HealthServicer):
    """Says that it serves."""

    async def Check(  # noqa: N802
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> health_pb2.HealthCheckResponse:
        return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)


async def _get_workflow(request: pb.GetWorkflowRequest, context: Context) -> bytes:
    await context.abort(grpc.StatusCode.NOT_FOUND, f"workflow {request.workflow_id} has never run")
    raise AssertionError("abort does not return")


async def _serve() -> None:
    source = Source()
    server = aio.server(options=[("grpc.http2.min_ping_interval_without_data_ms", 5_000)])
    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "WatchEvents": grpc.unary_stream_rpc_method_handler(
            source.watch, request_deserializer=pb.WatchEventsRequest.FromString
        ),
        "GetWorkflow": grpc.unary_unary_rpc_method_handler(
            _get_workflow, request_deserializer=pb.GetWorkflowRequest.FromString
        ),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("weftline.v1.WorkflowService", handlers),))
    health_pb2_grpc.add_HealthServicer_to_server(_Health(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    control = await Emitter(source).serve()
    print(json.dumps({"port": port, "control": control}), flush=True)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await ended.wait()
    await server.stop(None)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(_serve())
