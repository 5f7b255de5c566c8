"""The payloads of every message that goes out, as structs whose field names become camelCase in JSON."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

Raw = msgspec.Raw


class Payload(msgspec.Struct, rename="camel", omit_defaults=True, gc=False):
    """Base of all payloads: a field that has its default is left out."""


class Envelope(Payload):
    """The base message; `run_id` on messages about a run, `seq` on durable ones, both else left out."""

    id: str
    type: str
    timestamp: int
    workflow_id: str
    run_id: str = ""
    seq: int = 0
    payload: Payload | Raw | None = None


class ArtifactPayload(Payload):
    """Where a value is that is kept beside the log; `size` is in bytes, `sha256` in hexadecimal."""

    uri: str
    size: int
    sha256: str
    content_type: str


class WaitingPayload(Payload):
    """What a node waits for, which `for_` names.

    For nodes before it: `parents` names the first eight of `count`. For a slot: its `position` in the line, 1 for the
    next. `until` is when the wait ends, in ms since the Unix epoch, `event` the name of what is waited for.
    """

    for_: str = msgspec.field(name="for")
    parents: Sequence[str] = ()
    count: int = 0
    position: int = 0
    until: int | None = None
    event: str = ""


class NodePayload(Payload):
    """A node's transition or progress.

    `data` is the JSON text of the output (a preview of it where there is an `artifact`), of more about an error, of
    what is waited for, or of what a running node has so far; `duration` is in ms. `retry_at` (when a failure is tried
    again) and `until` (how long an approval or an event is waited for) are in ms since the Unix epoch. `handled` says
    how the node's policy handled an error, `by` who completed the node. `waiting` is told in states only.
    """

    node_id: str
    status: str
    attempt: int
    data: Raw | None = None
    error: str = ""
    code: str = ""
    duration: int | None = None
    progress: float | None = None
    reason: str = ""
    handle: str = ""
    handled: str = ""
    retry_at: int | None = None
    until: int | None = None
    by: str = ""
    artifact: ArtifactPayload | None = None
    waiting: WaitingPayload | None = None


class ParentPayload(Payload):
    """The node that runs a workflow as its body, for its item of that number if there are several.

    `depth` counts the runs around it.
    """

    workflow_id: str
    run_id: str
    node_id: str
    depth: int
    item: int | None = None


class RunStatePayload(Payload):
    """A run's state changed: `workflow.pause`, `workflow.resume` and `workflow.stop`."""

    state: str
    by: str
    in_flight: Sequence[str]
    mode: str = ""
    reason: str = ""


class ProgressPayload(Payload):
    """Counters of a run; `estimated_time_remaining` in ms."""

    total_nodes: int
    completed_nodes: int
    failed_nodes: int
    skipped_nodes: int
    running_nodes: int
    current_node: str
    progress: float
    estimated_time_remaining: int | None = None


class LogPayload(Payload):
    """A log line; `context` is the JSON text of an object."""

    level: str
    message: str
    node_id: str = ""
    context: Raw | None = None


class CompletePayload(Payload):
    """A run ended well or was stopped; `duration` in ms, `outputs` the JSON text of an object.

    Where there is an `artifact`, that is the whole, and `outputs` a preview of it.
    """

    status: str
    duration: int
    total_nodes: int
    completed_nodes: int
    failed_nodes: int
    skipped_nodes: int
    outputs: Raw
    artifact: ArtifactPayload | None = None


class ErrorPayload(Payload):
    """A run failed or (without a run) a command was refused."""

    error: str
    code: str
    node_id: str = ""
    details: Raw | Sequence[Payload] | None = None
    command_id: str = ""


class StatusPayload(Payload):
    """What the bridge can say about the system."""

    executor: str
    connections: int
    active_workflows: int
    version: str


class HeartbeatPayload(Payload):
    """`server_time` in ms since the Unix epoch; `heads` are the newest seqs of this client's workflows."""

    server_time: int
    epoch: str
    heads: dict[str, int]


class ReadyPayload(Payload):
    """The first message of a connection; times in ms.

    `session_ttl` is for how long the client's token is still good, `auth_timeout` within which time it has to send one.
    """

    connection_id: str
    heartbeat_interval: int
    heartbeat_timeout: int
    max_message_bytes: int
    version: str
    session_ttl: int | None = None
    auth_timeout: int | None = None


class SubscribedPayload(Payload):
    """A subscription stands: what follows comes after `seq` (after the snapshot, if the outcome is `snapshot`)."""

    epoch: str
    seq: int
    outcome: str
    reason: str = ""
    command_id: str = ""


class AcceptedPayload(Payload):
    """A command was carried out; `seq` is the first event that shows it.

    `session_ttl` is for how long a new token is good, in ms.
    """

    command_id: str
    seq: int | None = None
    run_id: str = ""
    state: str = ""
    attached: bool = False
    session_ttl: int | None = None


class MisfitDetail(Payload):
    """A field of the client's message that is wrong."""

    path: str
    expected: str
    got: str


class FaultDetail(Payload):
    """A fault that the executor found."""

    path: str
    code: str
    message: str


class RejectedPayload(Payload):
    """A command was not carried out, or a message could not be used."""

    code: str
    message: str
    details: Sequence[Payload]
    command_id: str = ""


class GapPayload(Payload):
    """The seqs `from_` to `to` were not sent, on purpose."""

    from_: int = msgspec.field(name="from")
    to: int
    dropped: dict[str, int]
    reason: str


class DeliveryPayload(Payload):
    """How this client is served; `lag_ms` is for how long what it gets has waited."""

    mode: str
    lag_ms: int


class DrainingPayload(Payload):
    """The bridge goes away; come back after this many ms."""

    reconnect_after_ms: int


class SnapshotPayload(Payload):
    """The whole state of a workflow's newest run as of `seq`; times in ms since the Unix epoch."""

    epoch: str
    seq: int
    state: str
    definition: Raw
    by: str
    started_at: int
    nodes: Sequence[NodePayload]
    progress: ProgressPayload
    logs: Sequence[Raw]
    ended_at: int | None = None
    outputs: Raw | None = None
    error: ErrorPayload | None = None
    reason: str = ""
    parent: ParentPayload | None = None
    rerun_of: str = ""
    outputs_artifact: ArtifactPayload | None = None
    trace_id: str = ""


class SummaryPayload(Payload):
    """A workflow's newest run in a list; times in ms since the Unix epoch.

    `parent_workflow_id` is set when the workflow is the body of a node of that one.
    """

    workflow_id: str
    run_id: str
    state: str
    first_seq: int
    last_seq: int
    started_at: int
    total_nodes: int
    ended_at: int | None = None
    parent_workflow_id: str = ""


class WorkflowsPayload(msgspec.Struct, rename="camel"):
    """A page of workflows; `next_page_token` is empty on the last one."""

    workflows: Sequence[SummaryPayload]
    next_page_token: str


encode = msgspec.json.Encoder().encode
