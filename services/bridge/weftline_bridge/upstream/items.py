"""What a watch of the executor yields, and where it may begin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from weftline_bridge.frames import Message
from weftline_bridge.protocol.state import WorkflowState

CompactedReason = Literal["compacted", "wrong_epoch", "seq_ahead"]


@dataclass(frozen=True, slots=True)
class WatchStart:
    """Where a watch begins: at the whole state, at what comes, or after a place.

    `workflow_id` is empty for all workflows. With `kind` `cursor` a watch of one workflow begins after
    `place` as a seq, and one of all after `place` as a commit, both in the log of `epoch`.
    """

    workflow_id: str
    kind: Literal["snapshot", "now", "cursor"] = "snapshot"
    epoch: str = ""
    place: int = 0
    telemetry: bool = True
    until_head: bool = False


@dataclass(frozen=True, slots=True)
class Created:
    """The watch stands; `seq` is the workflow's head, 0 when there is no such workflow yet."""

    epoch: str
    seq: int
    commit: int
    version: str
    heartbeat_interval: float


@dataclass(frozen=True, slots=True)
class Arrival:
    """Translated events in order; `commit` is 0 with telemetry and in watches of one workflow."""

    messages: Sequence[Message]
    commit: int


@dataclass(frozen=True, slots=True)
class StateItem:
    """The whole state of a workflow: what was known before is replaced."""

    state: WorkflowState
    commit: int


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Nothing else came for a while."""

    epoch: str
    seq: int
    commit: int
    active_workflows: int


@dataclass(frozen=True, slots=True)
class Compacted:
    """What follows the cursor can't be had; states follow, unless `head_seq` is 0 (one workflow only)."""

    reason: CompactedReason
    head_seq: int


WatchItem = Created | Arrival | StateItem | Heartbeat | Compacted
