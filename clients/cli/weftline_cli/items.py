"""What a watch brings, whichever transport it comes by: events, states, and words about the watch itself."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Protocol

from weftline.v1 import events_pb2 as ev
from weftline.v1 import workflow_service_pb2 as ws
from weftline_cli.errors import UnavailableError


@dataclass(frozen=True, slots=True)
class Connected:
    """A watch is bound; `exists` tells whether the one watched workflow has a run."""

    exists: bool


@dataclass(frozen=True, slots=True)
class Arrived:
    """New events, in order."""

    events: tuple[ev.Event, ...]


@dataclass(frozen=True, slots=True)
class Replaced:
    """A snapshot, which replaces what was known of its workflow, and the events `since`: together, how things stand."""

    snapshot: ws.WorkflowSnapshot
    since: tuple[ev.Event, ...] = ()


@dataclass(frozen=True, slots=True)
class Lost:
    """The connection to the `peer` broke; it is tried again in `retry_in_s` seconds, for the `attempt`-th time."""

    problem: str
    attempt: int
    retry_in_s: float
    peer: str


@dataclass(frozen=True, slots=True)
class Skipped:
    """The seqs `first` to `last` of a workflow are left out on purpose; `dropped` counts them by message type."""

    workflow_id: str
    first: int
    last: int
    dropped: Mapping[str, int]
    reason: str


@dataclass(frozen=True, slots=True)
class Restated:
    """The state of a workflow follows in place of events; `reason` is the bridge's name for why."""

    workflow_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Served:
    """How the bridge serves this watch: its name for that, and for how long what comes now has waited, in ms."""

    mode: str
    lag_ms: int


@dataclass(frozen=True, slots=True)
class ExecutorAway:
    """Whether the bridge has lost the executor."""

    away: bool


@dataclass(frozen=True, slots=True)
class Unresumed:
    """So many active workflows are too many to ask for what was missed of them; their state comes instead."""

    workflows: int


Remark = Lost | Connected | Skipped | Restated | Served | ExecutorAway | Unresumed
"""What is said about the watch itself."""

Item = Remark | Arrived | Replaced


class Watch(Protocol):
    """One watch, over one connection after another: by gRPC, by WebSocket, or by a script in a test."""

    @property
    def address(self) -> str:
        """Where the other end is, for messages."""

    @property
    def unavailable(self) -> type[UnavailableError]:
        """What is raised when the other end can't be reached."""

    def open(self) -> AsyncGenerator[Item, None]:
        """Connect, and yield what comes after all that was yielded before.

        It raises UnavailableError when the connection breaks, and OrderError when what comes does not follow.
        """
