"""The states of runs and nodes, and the words that explain them; docs/semantics.md shows what is said of each here."""

from __future__ import annotations

from enum import StrEnum


class RunState(StrEnum):
    """The state of a run."""

    RUNNING = "running"
    """Nodes start as soon as they can."""
    PAUSING = "pausing"
    """Nothing new starts; what runs is waited for."""
    PAUSED = "paused"
    """Nothing runs; the run waits to be resumed or stopped."""
    STOPPING = "stopping"
    """Nothing new starts; what runs has been asked to end."""
    SUCCESS = "success"
    """Every node was decided, and no failure was left unhandled."""
    STOPPED = "stopped"
    """Somebody stopped it."""
    ERROR = "error"
    """A failure was left unhandled, its deadline passed, or it could not go on."""

    @property
    def final(self) -> bool:
        """Whether a run in this state never changes again."""
        return self in FINAL_STATES


FINAL_STATES = frozenset({RunState.SUCCESS, RunState.STOPPED, RunState.ERROR})


class NodeStatus(StrEnum):
    """The status of a node in a run."""

    PENDING = "pending"
    """It has not begun, or waits for another attempt."""
    RUNNING = "running"
    """An attempt has begun."""
    SUCCESS = "success"
    """It gave its output."""
    ERROR = "error"
    """Its newest attempt failed."""
    SKIPPED = "skipped"
    """It will not run, for a reason that is told."""


class SkipReason(StrEnum):
    """Why a node did not run."""

    CONDITION_FALSE = "condition_false"
    """The `true` branch of a `condition` leads to it, and the condition did not hold."""
    BRANCH_NOT_TAKEN = "branch_not_taken"
    """Another handle of a node above it fired."""
    UPSTREAM_SKIPPED = "upstream_skipped"
    """What leads to it was skipped for one of the other reasons, or its join asks for more than arrived."""
    UPSTREAM_FAILED = "upstream_failed"
    """A node above it failed, and nothing handled that."""
    EMPTY_MAP = "empty_map"
    """It is a `map` that was given no items, and says that it is skipped then."""
    DISABLED = "disabled"
    """Its policy says that it is not to run."""
    RUN_STOPPED = "run_stopped"
    """The run ended before it could begin."""


class PendingReason(StrEnum):
    """Why a node that could run waits."""

    CONCURRENCY = "concurrency"
    """All slots are taken: those of its run, or those of the executor."""
    RECOVERED = "recovered"
    """It ran when the executor died, or beside a node that blocked its event loop, and begins again."""
    RETRY = "retry"
    """It failed and is tried again, at a time that the event tells."""
    RESUMED = "resumed"
    """It failed and waited for a person, who has resumed the run."""
    PAUSED = "paused"
    """An immediate pause cancelled it; it begins again when the run is resumed."""
    RESET = "reset"
    """The run was retried, and the node is decided anew."""
    APPROVAL = "approval"
    """Somebody has to approve or reject it."""
    EVENT = "event"
    """An event has to be sent to it."""


WAITS = frozenset({PendingReason.APPROVAL, PendingReason.EVENT})
"""Why a node is pending that has run, and ends with a word from outside or at its time."""


class SuccessReason(StrEnum):
    """How a node succeeded; NONE when it ran and gave its output."""

    NONE = ""
    """It ran."""
    COMPLETED = "completed"
    """Somebody answered what it waited for, or said that it had finished when the executor died."""
    TIMED_OUT = "timed_out"
    """Nobody answered in time, and it has a default for that."""
    CACHED = "cached"
    """It was kept from a node that was given the same."""
    REUSED = "reused"
    """A run that was run again from a later node had it already."""


class Handling(StrEnum):
    """How a failure was handled; a failure that was not ends or halts its run."""

    NONE = ""
    """Nothing handles it: the run fails, at once or when the rest has ended."""
    RETRY = "retry"
    """Another attempt follows, at a time that the next event tells."""
    FAIL_BRANCH = "fail_branch"
    """The handle `error` of the node fires, and no other."""
    DEFAULT_VALUE = "default_value"
    """All handles fire but `error`; the value of the policy takes the place of the output."""
    PAUSE = "pause"
    """The run pauses; when it is resumed the node is tried again."""


class LogLevel(StrEnum):
    """How serious a log line is."""

    DEBUG = "debug"
    INFO = "info"
    WARN = "warn"
    ERROR = "error"


ENGINE = "weftline"
"""Who `by` names when the engine itself changed a run's state."""

NODE_FAILED = "node_failed"
"""Reason of a pause: a node failed whose policy says to wait for a person then."""

UNKNOWN_OUTCOME = "unknown_outcome"
"""Reason of a pause: a node that must not run twice was running when the process died."""
