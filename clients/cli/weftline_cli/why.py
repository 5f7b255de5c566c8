"""Answers why a client of the bridge did not see an event, by what the flight recorder holds; no I/O."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from weftline_cli import text

EVERY: Final = "*"
_LOST_BY: Final = {1006, 4408, 4508}
_WITHHELD: Final = {
    "filtered": "the client asked for no such logs",
    "quarantined": "the bridge could not make sense of the event",
    "slow_client": "it was shed because the client was too slow",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One record: times in ms since the Unix epoch, `first` and `last` are seqs."""

    kind: str
    at: int
    until: int
    workflow_id: str = ""
    first: int = 0
    last: int = 0
    word: str = ""

    @classmethod
    def read(cls, record: Mapping[str, Any]) -> Self:
        """Read a record as the bridge writes it."""
        return cls(
            str(record["kind"]),
            int(record["at"]),
            int(record["until"]),
            str(record.get("workflowId", "")),
            int(record.get("from", 0)),
            int(record.get("to", 0)),
            str(record.get("word", "")),
        )

    def covers(self, seq: int) -> bool:
        """Whether a seq is among its own."""
        return self.first <= seq <= self.last


@dataclass(frozen=True, slots=True)
class ConnectionRecord:
    """What is recorded of a connection; all that happened after `complete_since` is in it."""

    entries: tuple[Entry, ...]
    opened_at: int
    complete_since: int
    closed_at: int | None = None
    close_code: int | None = None
    queued_bytes: int = 0
    subscriptions: tuple[str, ...] = ()

    @classmethod
    def read(cls, found: Mapping[str, Any]) -> Self:
        """Read the bridge's answer; raises KeyError, TypeError or ValueError when it is none."""
        return cls(
            tuple(Entry.read(each) for each in found["records"]),
            int(found["openedAt"]),
            int(found["completeSince"]),
            found["closedAt"],
            found["closeCode"],
            int(found["queuedBytes"]),
            tuple(found["subscriptions"]),
        )

    def subscribed(self, workflow_id: str, at: int) -> bool:
        """Whether it was subscribed to a workflow at a time, by name or to all."""
        return any(self._subscribed(name, at) for name in (workflow_id, EVERY))

    def _subscribed(self, name: str, at: int) -> bool:
        changes = [e for e in self.entries if e.workflow_id == name and e.kind in ("subscribed", "unsubscribed")]
        before = [change for change in changes if change.at <= at]
        if before:
            return before[-1].kind == "subscribed"
        return name in self.subscriptions if not changes else changes[0].kind == "unsubscribed"


@dataclass(frozen=True, slots=True)
class WorkflowRecord:
    """What is recorded of what came from the executor of a workflow."""

    entries: tuple[Entry, ...]

    @classmethod
    def read(cls, found: Mapping[str, Any]) -> Self:
        """Read the bridge's answer; raises KeyError, TypeError or ValueError when it is none."""
        return cls(tuple(Entry.read(each) for each in found["records"]))


@dataclass(frozen=True, slots=True)
class Answer:
    """Why, as a name for programs and in words; `at` is when it happened, in ms since the Unix epoch, or None."""

    code: str
    words: str
    at: int | None = None


def why(connection: ConnectionRecord, workflow: WorkflowRecord | None, workflow_id: str, seq: int) -> Answer:
    """Answer why a client did not see the event `seq` of a workflow; `workflow` is None when nothing of it is recorded.

    The code is one of `written`, `withheld`, `in_snapshot`, `had_it`, `queued`, `closed_first`, `not_connected`,
    `gone_already`, `not_subscribed`, `before_following`, `never_came`, `too_short` and `unexplained`.
    """
    told = _told(connection, workflow_id, seq)
    if told is not None:
        return told
    entries = () if workflow is None else workflow.entries
    came = _newest(entry for entry in entries if entry.kind == "received" and entry.covers(seq))
    if came is None:
        return _not_come(connection, entries, workflow_id, seq)
    return _absent(connection, came) or _not_written(connection, came, workflow_id)


def _absent(connection: ConnectionRecord, came: Entry) -> Answer | None:
    """Return the answer when the client was not there when the event came, or nobody knows any more."""
    when = _when(came)
    if came.until < connection.opened_at:
        return Answer("not_connected", f"It came {when}; the client connected only after that.", came.at)
    if connection.closed_at is not None and came.at > connection.closed_at:
        return Answer("gone_already", f"It came {when}; the connection had been closed by then.", came.at)
    if connection.complete_since >= came.at and connection.complete_since > connection.opened_at:
        return _too_short("the bridge has forgotten what it wrote to this client at that time")
    return None


def _not_written(connection: ConnectionRecord, came: Entry, workflow_id: str) -> Answer:
    """Return the answer when the event came while the client was there."""
    when = _when(came)
    if not connection.subscribed(workflow_id, came.until):
        return Answer("not_subscribed", f"It came {when}; the client was not subscribed to it then.", came.at)
    if connection.closed_at is not None:
        words = f"It came {when}; the connection was closed with {connection.close_code} before it was written."
        return Answer("closed_first", words, connection.closed_at)
    if connection.queued_bytes:
        words = f"It came {when} and waits: the client is behind by {connection.queued_bytes} bytes."
        return Answer("queued", words, came.at)
    words = f"It came {when}, the client was subscribed, and it was not written. Unless its token permits no view of "
    return Answer("unexplained", words + "this workflow, that is a fault of the bridge.", came.at)


def _told(connection: ConnectionRecord, workflow_id: str, seq: int) -> Answer | None:
    """Return the answer when the client was told of the event in one way or another."""
    entries = [entry for entry in connection.entries if entry.workflow_id == workflow_id]
    written = _newest(entry for entry in entries if entry.kind == "events" and entry.covers(seq))
    if written is not None:
        doubt = ""
        if connection.close_code in _LOST_BY:
            doubt = f" The connection was lost with {connection.close_code}, so that it may not have arrived."
        return Answer("written", f"It was written to the client's socket {_when(written)}.{doubt}", written.at)
    gap = _newest(entry for entry in entries if entry.kind == "gap" and entry.covers(seq))
    if gap is not None:
        reason = _WITHHELD.get(gap.word, gap.word)
        words = f"It was left out on purpose, and the client was told so {_when(gap)}, with a gap from {gap.first} to "
        return Answer("withheld", f"{words}{gap.last}: {reason}.", gap.at)
    snapshot = next((entry for entry in entries if entry.kind == "snapshot" and entry.last >= seq), None)
    if snapshot is not None:
        words = f"It is part of the state as of seq {snapshot.last} that was written {_when(snapshot)}."
        return Answer("in_snapshot", words, snapshot.at)
    resumed = next((e for e in entries if e.kind == "subscribed" and e.word == "resumed" and e.last >= seq), None)
    if resumed is not None:
        words = f"The client said by its cursor that it had all up to seq {resumed.last} when it subscribed"
        return Answer("had_it", f"{words}, {_when(resumed)}.", resumed.at)
    return None


def _not_come(connection: ConnectionRecord, entries: Iterable[Entry], workflow_id: str, seq: int) -> Answer:
    """Return the answer when the recorder does not know of the event having come from the executor."""
    known = [entry for entry in entries if entry.kind in ("received", "state")]
    if not known:
        named = any(entry.workflow_id in (workflow_id, EVERY) for entry in connection.entries)
        if not named and connection.complete_since <= connection.opened_at:
            return Answer("not_subscribed", "The client was never subscribed to this workflow.")
        return _too_short("the bridge knows of no event of this workflow")
    if seq > max(entry.last for entry in known):
        newest = max(entry.last for entry in known)
        return Answer("never_came", f"It has not come from the executor: the newest that the bridge has is {newest}.")
    state = next((entry for entry in known if entry.kind == "state" and entry.last >= seq), None)
    if state is not None and seq < min((e.first for e in known if e.kind == "received"), default=seq + 1):
        words = f"It happened before the bridge began to follow this workflow, {_when(state)} as of seq {state.last}."
        return Answer("before_following", words, state.at)
    return _too_short("when it came is not known any more")


def _newest(entries: Iterable[Entry]) -> Entry | None:
    found = list(entries)
    return found[-1] if found else None


def _too_short(reason: str) -> Answer:
    return Answer("too_short", f"The flight recorder does not reach back so far: {reason}.")


def _when(entry: Entry) -> str:
    """Return when something happened: at a time, or between two that read differently."""
    first, last = text.exact_moment(entry.at), text.exact_moment(entry.until)
    return f"at {first}" if first == last else f"between {first} and {last}"
