"""Makes the messages of a bridge about one workflow or several, as clients of `weftline.v1` get them."""

from collections.abc import Iterable
from typing import Any

from tests.unit.cli import events as make
from weftline_cli.items import Arrived, Item
from weftline_cli.messages import snapshot_message

Json = dict[str, Any]


def said(kind: str, payload: Json, workflow: str = "") -> Json:
    return {"id": "b-1", "type": kind, "timestamp": 1, "workflowId": workflow, "payload": payload}


def log(seq: int, workflow: str = make.WORKFLOW) -> Json:
    payload = {"level": "debug", "message": str(seq)}
    return {**said("execution.log", payload, workflow), "runId": make.RUN, "seq": seq}


def ended(seq: int, workflow: str = make.WORKFLOW) -> Json:
    return {**said("execution.error", {"error": "no", "code": "x"}, workflow), "runId": make.RUN, "seq": seq}


def subscribed(
    outcome: str, seq: int, *, workflow: str = make.WORKFLOW, epoch: str = make.EPOCH, why: str = ""
) -> Json:
    reason = {"reason": why} if why else {"commandId": "watch-1"}
    return said("workflow.subscribed", {"epoch": epoch, "seq": seq, "outcome": outcome, **reason}, workflow)


def state(seq: int, *, workflow: str = make.WORKFLOW, epoch: str = make.EPOCH) -> Json:
    snapshot = make.snapshot(seq)
    snapshot.workflow_id, snapshot.epoch = workflow, epoch
    return {"id": "b-2", "timestamp": 1, **snapshot_message(snapshot)}


def gap(first: int, last: int, reason: str = "slow_client", workflow: str = make.WORKFLOW) -> Json:
    dropped = {"execution.log": last - first + 1}
    return said("stream.gap", {"from": first, "to": last, "dropped": dropped, "reason": reason}, workflow)


def heartbeat(**heads: int) -> Json:
    return said("heartbeat", {"serverTime": 1, "epoch": make.EPOCH, "heads": heads})


def status(executor: str = "connected") -> Json:
    return said("system.status", {"executor": executor, "connections": 1, "activeWorkflows": 1, "version": "0"})


def answered(opening: list[Json]) -> Json:
    """The answer to the last message that a watch begins a connection with."""
    return said("command.accepted", {"commandId": opening[-1]["id"]})


def seqs(items: Iterable[Item]) -> list[int]:
    return [event.seq for item in items if isinstance(item, Arrived) for event in item.events]
