"""What the store keeps and gives back: batches of events, runs, heads."""

from __future__ import annotations

from dataclasses import dataclass

from msgspec import Struct

from weftline_executor.model.events import Event
from weftline_executor.model.states import RunState


@dataclass(frozen=True, slots=True)
class Command:
    """A command that was accepted: `id` is the client's key, `name` what it asked, `seq` the first event it caused."""

    id: str
    name: str
    seq: int


class Batch(Struct, frozen=True):
    """Events of one run with contiguous seqs that are committed together.

    `commit` is the batch's place in the order of all workflows' commits; 0 until it is committed.
    """

    workflow_id: str
    run_id: str
    events: tuple[Event, ...]
    commands: tuple[Command, ...] = ()
    commit: int = 0

    @property
    def first_seq(self) -> int:
        """The seq of the first event."""
        return self.events[0].seq

    @property
    def last_seq(self) -> int:
        """The seq of the last event."""
        return self.events[-1].seq


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run, as lists show it. Times are milliseconds since the Unix epoch; `ended_at` is None while it is active.

    Where it is the body of a node, `parent` is the workflow of that; else that is empty.
    """

    workflow_id: str
    run_id: str
    state: RunState
    first_seq: int
    last_seq: int
    started_at: int
    ended_at: int | None
    total_nodes: int
    parent: str = ""


@dataclass(frozen=True, slots=True)
class Head:
    """A workflow's sequence: the last `seq` that was given, and the `oldest` that is still kept (`seq + 1` if none)."""

    seq: int
    oldest: int


@dataclass(frozen=True, slots=True)
class CommandRecord:
    """A command that was accepted before, with the run it acted on."""

    name: str
    run_id: str
    seq: int


@dataclass(frozen=True, slots=True)
class Retention:
    """What may be deleted: ended runs older than `max_age_ms`, beyond `max_runs` of a workflow, or over `max_bytes`."""

    max_age_ms: int
    max_runs: int
    max_bytes: int
