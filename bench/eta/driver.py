"""Runs one workflow on an executor, and compares what the executor said of its end with when it came.

Reads one JSON object (`address`, `definition`, `seconds`: the most that the run may take) and prints one.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any

import uvloop
from grpc import aio

from weftline.v1 import workflow_service_pb2 as pb
from weftline.v1.workflow_service_pb2_grpc import WorkflowServiceStub

WORKFLOW = "bench-eta"
FROM_PROGRESS = 0.2
MAX_MESSAGE_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Sample:
    """What the executor said at one time: progress 0 to 1, and ms to go, or None."""

    at_ms: int
    progress: float
    remaining_ms: int | None


async def observe(address: str, definition: str, seconds: float) -> tuple[list[Sample], int, int]:
    """Runs a workflow to its end; gives all samples, and when it began and ended, in ms since the Unix epoch.

    Raises TimeoutError when it takes longer than `seconds`, RuntimeError when it fails.
    """
    samples: list[Sample] = []
    began = 0
    options = [("grpc.max_receive_message_length", MAX_MESSAGE_BYTES)]
    async with asyncio.timeout(seconds), aio.insecure_channel(address, options=options) as channel:
        stub = WorkflowServiceStub(channel)
        watch = stub.WatchEvents(
            pb.WatchEventsRequest(workflow_id=WORKFLOW, start_from=pb.WATCH_FROM_NOW, telemetry=True)
        )
        await watch.read()
        await stub.StartWorkflow(pb.StartWorkflowRequest(workflow_id=WORKFLOW, definition_json=definition))
        while isinstance(response := await watch.read(), pb.WatchEventsResponse):
            for event in response.events:
                kind = event.WhichOneof("payload")
                if kind == "workflow_start":
                    began = event.timestamp_ms
                elif kind == "progress":
                    told = event.progress
                    left = told.estimated_remaining_ms if told.HasField("estimated_remaining_ms") else None
                    samples.append(Sample(event.timestamp_ms, told.progress, left))
                elif kind == "error":
                    raise RuntimeError(f"the run failed: {event.error.error}")
                elif kind == "complete":
                    return samples, began, event.timestamp_ms
    raise RuntimeError("the watch ended before the run")


def figures(samples: Sequence[Sample], began_ms: int, ended_ms: int) -> dict[str, Any]:
    """How far the estimates were off from 20 % progress on, in percent; a run that never told one is void."""
    counted = [each for each in samples if each.progress >= FROM_PROGRESS and each.at_ms < ended_ms]
    told = [(each, each.remaining_ms) for each in counted if each.remaining_ms is not None]
    if not told:
        return {"void": f"of {len(counted)} samples from 20 % progress on none had an estimate"}
    total = ended_ms - began_ms
    off = [abs(remaining - (ended_ms - each.at_ms)) for each, remaining in told]
    of_total = [100 * ms / total for ms in off]
    of_left = [100 * ms / (ended_ms - each.at_ms) for ms, (each, _) in zip(off, told, strict=True)]
    return {
        "seconds": total / 1000,
        "samples": len(counted),
        "withoutEstimate": len(counted) - len(told),
        "errorOfTotalPercent": median(of_total),
        "errorOfTotalP95Percent": quantiles(of_total, n=20)[-1] if len(of_total) > 1 else of_total[0],
        "errorOfLeftPercent": median(of_left),
        "firstEstimateMs": next((each.remaining_ms for each in samples if each.remaining_ms is not None), None),
    }


def main() -> None:
    """Measures what standard input asks for."""
    request = json.loads(sys.stdin.read())
    print(json.dumps(figures(*uvloop.run(observe(**request)))), flush=True)


if __name__ == "__main__":
    main()
