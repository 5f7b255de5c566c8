"""The events of a run, as they are kept in the log, and the telemetry that is not kept."""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Raw, Struct

from weftline_executor.model.artifact import Artifact
from weftline_executor.model.states import Handling, LogLevel, PendingReason, RunState, SkipReason, SuccessReason

NO_JSON = Raw(b"")
"""Stands for "no value" where an event may hold JSON text."""


class _Durable(Struct, frozen=True, tag_field="type", omit_defaults=True, gc=False):
    """What all durable events have: `seq` in the workflow's sequence, `at` in milliseconds since the Unix epoch."""

    seq: int
    at: int


class ParentNode(Struct, frozen=True, gc=False):
    """The node that runs a workflow as its body; `depth` counts the runs around it, 1 for a body of a client's run.

    Where the body runs once for each of several items, `item` is the number of this one. `attempt` is that of the node.
    """

    workflow_id: str
    run_id: str
    node_id: str
    depth: int
    item: int | None = None
    attempt: int = 0


class RunStarted(_Durable, frozen=True, tag="workflow.start", omit_defaults=True, gc=False):
    """A run began; `definition` is the workflow's JSON text as it was given.

    `parent` is the node whose body the run is, `rerun_of` the run whose results it took over. `trace` is the span that
    it is a part of, as a W3C `traceparent`; empty where nobody traces.
    """

    definition: Raw
    total_nodes: int
    by: str = ""
    parent: ParentNode | None = None
    rerun_of: str = ""
    trace: str = ""


class _StateChanged(_Durable, frozen=True, omit_defaults=True):
    """The run is in `state` now; `in_flight` names the nodes still running.

    Where a node tries its body again, `attempt` is that of the node.
    """

    state: RunState
    by: str = ""
    in_flight: tuple[str, ...] = ()
    mode: str = ""
    reason: str = ""
    attempt: int = 0


class RunPaused(_StateChanged, frozen=True, tag="workflow.pause", omit_defaults=True):
    """The run is pausing or paused."""


class RunResumed(_StateChanged, frozen=True, tag="workflow.resume", omit_defaults=True):
    """The run goes on."""


class RunStopping(_StateChanged, frozen=True, tag="workflow.stop", omit_defaults=True):
    """The run is stopping."""


class NodePending(_Durable, frozen=True, tag="node.pending", omit_defaults=True, gc=False):
    """The node could run and waits, for `reason`; when for or until a time, `due` is that, in ms since the Unix epoch.

    Where it waits for a word from outside, `details` is a JSON object that says for what.
    """

    node: str
    attempt: int
    reason: PendingReason
    due: int = 0
    details: Raw = NO_JSON


class NodeRunning(_Durable, frozen=True, tag="node.running", omit_defaults=True, gc=False):
    """An attempt of the node began."""

    node: str
    attempt: int


class NodeSucceeded(_Durable, frozen=True, tag="node.success", omit_defaults=True, gc=False):
    """The attempt gave `output` (JSON text); `handle` is the output handle that fired, if the node branches.

    `reason` says how, unless the node ran; where somebody completed it, `by` is who. Where the output is kept as an
    `artifact`, `output` is a preview of it.
    """

    node: str
    attempt: int
    duration: int
    output: Raw = NO_JSON
    handle: str = ""
    reason: SuccessReason = SuccessReason.NONE
    by: str = ""
    artifact: Artifact | None = None


class NodeFailed(_Durable, frozen=True, tag="node.error", omit_defaults=True, gc=False):
    """The attempt failed: `error` is for a person, `code` for a program, `details` is a JSON object.

    Where the failure was handled by a default value, `details` is that value.
    """

    node: str
    attempt: int
    duration: int
    error: str
    code: str
    details: Raw = NO_JSON
    handled: Handling = Handling.NONE


class NodeSkipped(_Durable, frozen=True, tag="node.skipped", omit_defaults=True, gc=False):
    """The node will not run, for `reason`."""

    node: str
    reason: SkipReason


class LogWritten(_Durable, frozen=True, tag="execution.log", omit_defaults=True, gc=False):
    """A log line of `node`, or of the run itself; `context` is a JSON object."""

    level: LogLevel
    message: str
    node: str = ""
    context: Raw = NO_JSON


class RunCompleted(_Durable, frozen=True, tag="execution.complete", omit_defaults=True, gc=False):
    """The run ended with `status` success or stopped, after `duration` ms; `outputs` is a JSON object by node id.

    Where the outputs are kept as an `artifact`, `outputs` is a preview of them.
    """

    status: RunState
    duration: int
    total_nodes: int
    completed_nodes: int
    failed_nodes: int
    skipped_nodes: int
    outputs: Raw
    artifact: Artifact | None = None


class RunFailed(_Durable, frozen=True, tag="execution.error", omit_defaults=True, gc=False):
    """The run failed; `details` is a JSON object."""

    error: str
    code: str
    node: str = ""
    details: Raw = NO_JSON


NodeEvent: TypeAlias = NodePending | NodeRunning | NodeSucceeded | NodeFailed | NodeSkipped
StateChange: TypeAlias = RunPaused | RunResumed | RunStopping
Event: TypeAlias = RunStarted | StateChange | NodeEvent | LogWritten | RunCompleted | RunFailed


class NodeProgressed(Struct, frozen=True, gc=False):
    """Telemetry: how things stand with an attempt.

    It is `progress` (0 to 1) far, None when it does not say, and `partial` is what it has to show so far, as JSON.
    """

    at: int
    node: str
    attempt: int
    progress: float | None
    partial: Raw = NO_JSON


class RunProgressed(Struct, frozen=True, gc=False):
    """Telemetry: counters of the run, `progress` 0 to 1, `remaining` in ms or None when there is no basis."""

    at: int
    total_nodes: int
    completed_nodes: int
    failed_nodes: int
    skipped_nodes: int
    running_nodes: int
    current_node: str
    progress: float
    remaining: int | None


Telemetry: TypeAlias = NodeProgressed | RunProgressed
