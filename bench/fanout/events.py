"""The events that are sent: those of a node that starts, writes a log line and succeeds, over and over.

A server of its own gets them as JSON templates, the bridge gets them from an executor as protobuf; the JSON text
that a client sees is the same. `sentUs` is CLOCK_MONOTONIC in microseconds, which all processes of a machine share.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from weftline.v1 import events_pb2 as pb

WORKFLOW_ID = "bench"
RUN_ID = "01935b2c-7c1e-7f3a-9d2b-5e8f0a1b2c3d"
STARTED_MS = 1_700_000_000_000

_HEAD = (
    f'{{"id":"{RUN_ID}-@seq@","type":"@type@","timestamp":{STARTED_MS},"workflowId":"{WORKFLOW_ID}",'
    f'"runId":"{RUN_ID}","seq":@seq@,"payload":'
)
_NODE = "load-customers-of-region"
_MESSAGE = "read a page of 50 rows"


def templates() -> list[str]:
    """The JSON text of event n is template (n - 1) modulo their number, with `@seq@` and `@sent@` filled in."""
    running = f'{{"nodeId":"{_NODE}","status":"running","attempt":1}}}}'
    log = f'{{"level":"info","message":"{_MESSAGE}","nodeId":"{_NODE}","context":{{"page":7,"sentUs":@sent@}}}}}}'
    success = (
        f'{{"nodeId":"{_NODE}","status":"success","attempt":1,"data":{{"rows":350,"sentUs":@sent@}},"duration":1250}}}}'
    )
    bodies = (("node.running", running), ("execution.log", log), ("node.success", success))
    return [_HEAD.replace("@type@", kind) + body for kind, body in bodies]


def event(seq: int, sent_us: int) -> pb.Event:
    """The same event as the executor tells it."""
    base: dict[str, Any] = {
        "id": f"{RUN_ID}-{seq}",
        "workflow_id": WORKFLOW_ID,
        "run_id": RUN_ID,
        "seq": seq,
        "timestamp_ms": STARTED_MS,
    }
    return pb.Event(**base, **_PAYLOADS[(seq - 1) % len(_PAYLOADS)](sent_us))


def _running(_sent_us: int) -> dict[str, Any]:
    return {"node": pb.NodeTransition(node_id=_NODE, status=pb.NODE_STATUS_RUNNING, attempt=1)}


def _log(sent_us: int) -> dict[str, Any]:
    context = f'{{"page":7,"sentUs":{sent_us}}}'
    return {"log": pb.Log(level=pb.LOG_LEVEL_INFO, message=_MESSAGE, node_id=_NODE, context_json=context)}


def _success(sent_us: int) -> dict[str, Any]:
    node = pb.NodeTransition(
        node_id=_NODE,
        status=pb.NODE_STATUS_SUCCESS,
        attempt=1,
        data_json=f'{{"rows":350,"sentUs":{sent_us}}}',
        duration_ms=1250,
    )
    return {"node": node}


_PAYLOADS: tuple[Callable[[int], dict[str, Any]], ...] = (_running, _log, _success)
