"""The states of runs and nodes, and the words that explain them."""

from __future__ import annotations

from enum import StrEnum


class RunState(StrEnum):
    """The state of a run."""

    RUNNING = "running"
    PAUSING = "pausing"
    PAUSED = "paused"
    STOPPING = "stopping"
    SUCCESS = "success"
    STOPPED = "stopped"
    ERROR = "error"

    @property
    def final(self) -> bool:
        """Whether a run in this state never changes again."""
        return self in FINAL_STATES


FINAL_STATES = frozenset({RunState.SUCCESS, RunState.STOPPED, RunState.ERROR})


class NodeStatus(StrEnum):
    """The status of a node in a run."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCESS = "success"
    ERROR = "error"
    SKIPPED = "skipped"


class SkipReason(StrEnum):
    """Why a node did not run."""

    CONDITION_FALSE = "condition_false"
    BRANCH_NOT_TAKEN = "branch_not_taken"
    UPSTREAM_SKIPPED = "upstream_skipped"
    UPSTREAM_FAILED = "upstream_failed"
    RUN_STOPPED = "run_stopped"


class PendingReason(StrEnum):
    """Why a node that could run waits."""

    CONCURRENCY = "concurrency"
    RECOVERED = "recovered"
    RETRY = "retry"
    RESUMED = "resumed"
    PAUSED = "paused"
    RESET = "reset"


class SuccessReason(StrEnum):
    """How a node succeeded; NONE when it ran and gave its output."""

    NONE = ""
    COMPLETED = "completed"
    TIMED_OUT = "timed_out"
    CACHED = "cached"
    REUSED = "reused"


class Handling(StrEnum):
    """How a failure was handled; a failure that was not ends or halts its run."""

    NONE = ""
    RETRY = "retry"
    FAIL_BRANCH = "fail_branch"
    DEFAULT_VALUE = "default_value"
    PAUSE = "pause"


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
