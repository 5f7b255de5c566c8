"""Everything that can go wrong in the executor, as exceptions that carry the facts about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a workflow.

    `path` says where (`nodes[3].data.url`), `code` names it for a program (`cycle`), `message` is one sentence for a
    person, `node_id` is the node at fault or empty.
    """

    path: str
    code: str
    message: str
    node_id: str = ""


class ExecutorError(Exception):
    """Base of all errors that the executor raises on purpose; `code` names the error for a program."""

    code = "executor_error"


class InvalidArgument(ExecutorError):
    """A request's field is malformed."""

    code = "invalid_argument"

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


class InvalidWorkflow(ExecutorError):
    """A workflow can't run; `faults` says all that is wrong with it."""

    code = "invalid_workflow"

    def __init__(self, faults: Sequence[Fault]) -> None:
        first = faults[0]
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        super().__init__(f"{first.path}: {first.message}{more}")
        self.faults = tuple(faults)


class WorkflowNotFound(ExecutorError):
    """No run of this workflow is known."""

    code = "workflow_not_found"

    def __init__(self, workflow_id: str) -> None:
        super().__init__(f"no run of workflow {workflow_id!r} is known")
        self.workflow_id = workflow_id


class RunActive(ExecutorError):
    """A start was refused because a run of the workflow is active."""

    code = "run_active"

    def __init__(self, workflow_id: str, run_id: str) -> None:
        super().__init__(
            f"workflow {workflow_id!r} has an active run; stop it first, "
            "or start with config.onConflict 'replace' or 'attach'"
        )
        self.workflow_id = workflow_id
        self.run_id = run_id


class IllegalCommand(ExecutorError):
    """A command makes no sense in the state that the workflow's newest run is in."""

    code = "illegal_state"

    def __init__(self, command: str, workflow_id: str, state: str) -> None:
        super().__init__(f"cannot {command} workflow {workflow_id!r}: its run is {state}")
        self.command = command
        self.workflow_id = workflow_id
        self.state = state


class FollowsParent(ExecutorError):
    """A command is not for this workflow, which is the body of a node, but for the one that the node is in."""

    code = "follows_parent"

    def __init__(self, command: str, workflow_id: str, parent_workflow_id: str) -> None:
        super().__init__(
            f"cannot {command} workflow {workflow_id!r}: it is the body of a node of {parent_workflow_id!r}; "
            f"{command} that instead"
        )
        self.command = command
        self.workflow_id = workflow_id
        self.parent_workflow_id = parent_workflow_id


class NodeNotFound(ExecutorError):
    """The workflow's run has no node of this id."""

    code = "node_not_found"

    def __init__(self, workflow_id: str, node_id: str) -> None:
        super().__init__(f"workflow {workflow_id!r} has no node {node_id!r}")
        self.workflow_id = workflow_id
        self.node_id = node_id


class NothingWaits(ExecutorError):
    """A node was completed, or an event was sent, that nothing waits for; `node_id` or `event` is empty."""

    code = "nothing_waits"

    def __init__(self, workflow_id: str, node_id: str, event: str) -> None:
        what = f"no node waits for the event {event!r}" if event else f"node {node_id!r} does not wait"
        super().__init__(f"workflow {workflow_id!r}: {what}")
        self.workflow_id = workflow_id
        self.node_id = node_id
        self.event = event


class RunStuck(ExecutorError):
    """The workflow's newest run has not ended and can't go on: its events are damaged, or something failed in it."""

    code = "run_stuck"

    def __init__(self, workflow_id: str, run_id: str) -> None:
        super().__init__(
            f"run {run_id!r} of workflow {workflow_id!r} has not ended and can't go on; the executor's log says why, "
            "and docs/operations.md what to do"
        )
        self.workflow_id = workflow_id
        self.run_id = run_id


class CommandReused(ExecutorError):
    """A command id came again with another command."""

    code = "command_id_reused"

    def __init__(self, command_id: str) -> None:
        super().__init__(f"command id {command_id!r} was used for another command before")
        self.command_id = command_id


class ExecutorFull(ExecutorError):
    """The executor runs as many workflows as it may; try again later."""

    code = "executor_full"

    def __init__(self, limit: int) -> None:
        super().__init__(f"{limit} runs are active, which is the limit (WEFTLINE_EXECUTOR_MAX_RUNS)")
        self.limit = limit


class ShuttingDown(ExecutorError):
    """The executor is ending and takes no new work."""

    code = "shutting_down"

    def __init__(self) -> None:
        super().__init__("the executor is shutting down")


class ClientNotAllowed(ExecutorError):
    """A client's certificate is good, and has none of the names that are let in; `names` are those that it has."""

    code = "client_not_allowed"

    def __init__(self, names: Sequence[str]) -> None:
        shown = ", ".join(repr(name) for name in names) or "no name at all"
        super().__init__(f"the certificate names {shown}, and none that is let in")
        self.names = tuple(names)


class Internal(ExecutorError):
    """Something that nobody expected; the executor's log says what."""

    code = "internal"

    def __init__(self) -> None:
        super().__init__("the executor failed to do this; its log says why")


class Unsupported(ExecutorError):
    """A part of the contract that this version does not do yet."""

    code = "unsupported"


class StoreError(ExecutorError):
    """Base of what goes wrong with the event log."""

    code = "store_error"


class StoreUnavailable(StoreError):
    """The log can't be written or read now, for example because the disk is full."""

    code = "store_unavailable"


class StoreLocked(StoreError):
    """Another process uses the data directory."""

    code = "store_locked"

    def __init__(self, path: str) -> None:
        super().__init__(f"data directory {path} is in use by another executor (WEFTLINE_EXECUTOR_DATA_DIR)")
        self.path = path


class StoreUnusable(StoreError):
    """The data directory can't be used: not writable, not a database, or of a newer version."""

    code = "store_unusable"


class StoreCorrupt(StoreError):
    """Events of a run can't be read from the log: what is kept at this commit is no longer what was written."""

    code = "store_corrupt"

    def __init__(self, workflow_id: str, run_id: str, commit: int, reason: str) -> None:
        super().__init__(
            f"the events of workflow {workflow_id!r}, run {run_id!r} at commit {commit} are damaged: {reason}"
        )
        self.workflow_id = workflow_id
        self.run_id = run_id
        self.commit = commit


class BatchRefused(StoreError):
    """The log can't hold what was to be appended, however often it is tried; none of the append is kept."""

    code = "batch_refused"

    def __init__(self, workflow_ids: Sequence[str], reason: str) -> None:
        super().__init__(f"the events of {', '.join(map(repr, workflow_ids))} can't be kept: {reason}")
        self.workflow_ids = tuple(workflow_ids)


class StaleWriter(BatchRefused):
    """An append did not continue the log: somebody else wrote, or this writer lost its place."""

    code = "stale_writer"

    def __init__(self, workflow_id: str, expected: int) -> None:
        super().__init__([workflow_id], f"the log's head is not {expected}")
        self.workflow_id = workflow_id
        self.expected = expected


class ArtifactError(ExecutorError):
    """Base of what goes wrong with artifacts."""

    code = "artifact_error"


class ArtifactNameInvalid(ArtifactError):
    """What was given is not the uri of an artifact."""

    code = "artifact_name_invalid"

    def __init__(self, name: str) -> None:
        super().__init__(f"{name[:200]!r} is not the uri of an artifact, which an event or a node gives")
        self.name = name


class ArtifactNotFound(ArtifactError):
    """There is no artifact of this name, or not any more: artifacts go with their run."""

    code = "artifact_not_found"

    def __init__(self, uri: str) -> None:
        super().__init__(f"there is no artifact {uri!r}; it may have been deleted with its run")
        self.uri = uri


class ArtifactDamaged(ArtifactError):
    """An artifact is no longer what was stored."""

    code = "artifact_damaged"

    def __init__(self, uri: str) -> None:
        super().__init__(f"the artifact {uri!r} is damaged: it is not what was stored")
        self.uri = uri


class ArtifactsUnavailable(ArtifactError):
    """Artifacts can't be written or read now, for example because the disk is full or the bucket can't be reached."""

    code = "artifacts_unavailable"

    def __init__(self, reason: str) -> None:
        super().__init__(f"artifacts can't be kept or read: {reason}")
        self.reason = reason


class ArtifactsUnusable(ArtifactError):
    """The place for artifacts can't be used."""

    code = "artifacts_unusable"

    def __init__(self, reason: str) -> None:
        super().__init__(f"the place for artifacts can't be used: {reason} (WEFTLINE_EXECUTOR_ARTIFACTS_URL)")
        self.reason = reason


class IllegalTransition(ExecutorError):
    """An event does not fit the state it is applied to: the log or the engine is at fault."""

    code = "illegal_transition"

    def __init__(self, what: str, state: str, event: str) -> None:
        super().__init__(f"{what} is {state}; {event} is not legal there")
        self.what = what
        self.state = state
        self.event = event


class SettingInvalid(ExecutorError):
    """A setting has no usable value; the message names the environment variable."""

    code = "setting_invalid"
