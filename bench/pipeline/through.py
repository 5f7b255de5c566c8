"""Has a real executor run workflows and counts what arrives, through the bridge, at one WebSocket client.

Reads one JSON object (see `Request`) and prints one (see `measure`).
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import dataclass
from typing import Any

import uvloop
from grpc import aio

from bench.engine import shapes
from bench.fanout.load import Client, Dialect
from bench.fanout.websocket import Stream, StreamBroken, client_frame, handshake
from bench.processes import Cost
from weftline.v1 import workflow_service_pb2 as pb
from weftline.v1.workflow_service_pb2_grpc import WorkflowServiceStub

_SUBSCRIBE = '[{"id":"join","type":"workflow.subscribe","timestamp":0,"workflowId":"*","payload":{"telemetry":false}}]'


@dataclass(frozen=True, slots=True)
class Request:
    """`runs` runs of a fan-out of `nodes` on the executor at `address`, seen through the bridge on `port`."""

    address: str
    port: int
    executor: int
    bridge: int
    runs: int
    nodes: int
    seconds: float


class AllStream(Stream):
    """Counts the durable messages of all workflows, and how many runs ended."""

    ended = 0

    def take(self, data: bytearray, start: int, end: int, now_us: int) -> None:
        """See Stream."""
        if not self.joined:
            self.joined = data.find(b'"workflow.subscribed"', start, end) >= 0
            return
        self.received += data.count(b'"seq":', start, end)
        self.ended += data.count(b'"type":"execution.complete"', start, end)


async def measure(request: Request) -> dict[str, Any]:
    """Runs all at once; `void` says why the figures are none."""
    loop = asyncio.get_running_loop()
    stream = AllStream(None)
    moved = asyncio.Event()
    dialect = Dialect(lambda samples: stream, subprotocol="weftline.v1", hello=client_frame(_SUBSCRIBE.encode()))
    client = Client(dialect, handshake(request.port, "/", "weftline.v1"), stream, lambda _: moved.set())
    client.broken = loop.create_future()

    async def until(met: Any) -> None:
        while not met():
            assert client.broken is not None
            if client.broken.done():
                await client.broken
            moved.clear()
            await moved.wait()

    definition = shapes.definition(shapes.fan_out(request.nodes))
    costs = {"executor": Cost(request.executor), "bridge": Cost(request.bridge)}
    async with aio.insecure_channel(request.address) as channel:
        stub: Any = WorkflowServiceStub(channel)
        try:
            async with asyncio.timeout(request.seconds):
                await loop.create_connection(lambda: client, "127.0.0.1", request.port)
                await until(lambda: stream.joined)
                before = {name: cost.cpu() for name, cost in costs.items()}
                started = time.monotonic()
                ids = [f"pipeline-{number}" for number in range(request.runs)]
                starts = [pb.StartWorkflowRequest(workflow_id=each, definition_json=definition) for each in ids]
                await asyncio.gather(*(stub.StartWorkflow(each) for each in starts))
                await until(lambda: stream.ended == request.runs)
                seconds = time.monotonic() - started
                states = [(await stub.GetWorkflow(pb.GetWorkflowRequest(workflow_id=each))).snapshot for each in ids]
        except (StreamBroken, TimeoutError) as error:
            return {"void": str(error) or f"{stream.ended} of {request.runs} runs ended in {request.seconds:.0f} s"}
    expected = sum(state.seq for state in states)
    if stream.received != expected:
        return {"void": f"{stream.received} of {expected} events arrived"}
    used = {name: cost.cpu() - before[name] for name, cost in costs.items()}
    return {
        "events": expected,
        "seconds": seconds,
        "eventsPerSecond": expected / seconds,
        **{f"{name}CpuMicrosecondsPerEvent": cpu / expected * 1e6 for name, cpu in used.items()},
    }


def main() -> None:
    """Measures what standard input asks for."""
    request = Request(**json.loads(sys.stdin.read()))
    print(json.dumps(uvloop.run(measure(request))), flush=True)


if __name__ == "__main__":
    main()
