"""The legal transitions of runs and nodes, as tables: what is not in them is illegal."""

from __future__ import annotations

from collections.abc import Mapping

from weftline_executor.model.events import (
    Event,
    NodeFailed,
    NodePending,
    NodeRunning,
    NodeSkipped,
    NodeSucceeded,
    RunCompleted,
    RunFailed,
    RunPaused,
    RunResumed,
    RunStopping,
)
from weftline_executor.model.states import NodeStatus, RunState

RUN_TRANSITIONS: Mapping[tuple[RunState, type[Event]], frozenset[RunState]] = {
    (RunState.RUNNING, RunPaused): frozenset({RunState.PAUSING, RunState.PAUSED}),
    (RunState.RUNNING, RunStopping): frozenset({RunState.STOPPING}),
    (RunState.RUNNING, RunCompleted): frozenset({RunState.SUCCESS}),
    (RunState.RUNNING, RunFailed): frozenset({RunState.ERROR}),
    (RunState.PAUSING, RunPaused): frozenset({RunState.PAUSED}),
    (RunState.PAUSING, RunResumed): frozenset({RunState.RUNNING}),
    (RunState.PAUSING, RunStopping): frozenset({RunState.STOPPING}),
    (RunState.PAUSING, RunCompleted): frozenset({RunState.SUCCESS}),
    (RunState.PAUSING, RunFailed): frozenset({RunState.ERROR}),
    (RunState.PAUSED, RunResumed): frozenset({RunState.RUNNING}),
    (RunState.PAUSED, RunStopping): frozenset({RunState.STOPPING}),
    (RunState.PAUSED, RunFailed): frozenset({RunState.ERROR}),
    (RunState.STOPPING, RunStopping): frozenset({RunState.STOPPING}),
    (RunState.STOPPING, RunCompleted): frozenset({RunState.STOPPED}),
    (RunState.STOPPING, RunFailed): frozenset({RunState.ERROR}),
    (RunState.ERROR, RunResumed): frozenset({RunState.RUNNING}),
    (RunState.STOPPED, RunResumed): frozenset({RunState.RUNNING}),
}
"""From a run's state, by an event, to the states that the event may carry."""

NODE_TRANSITIONS: Mapping[tuple[NodeStatus, type[Event]], NodeStatus] = {
    (NodeStatus.PENDING, NodePending): NodeStatus.PENDING,
    (NodeStatus.PENDING, NodeRunning): NodeStatus.RUNNING,
    (NodeStatus.PENDING, NodeSkipped): NodeStatus.SKIPPED,
    (NodeStatus.PENDING, NodeSucceeded): NodeStatus.SUCCESS,
    (NodeStatus.PENDING, NodeFailed): NodeStatus.ERROR,
    (NodeStatus.RUNNING, NodePending): NodeStatus.PENDING,
    (NodeStatus.RUNNING, NodeSucceeded): NodeStatus.SUCCESS,
    (NodeStatus.RUNNING, NodeFailed): NodeStatus.ERROR,
    (NodeStatus.RUNNING, NodeSkipped): NodeStatus.SKIPPED,
    (NodeStatus.SUCCESS, NodePending): NodeStatus.PENDING,
    (NodeStatus.ERROR, NodePending): NodeStatus.PENDING,
    (NodeStatus.SKIPPED, NodePending): NodeStatus.PENDING,
}
"""From a node's status, by an event, to its next status."""
