"""The logs of all connections and workflows: those that are open, and for some minutes those that are not any more."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from weftline_bridge.recorder.records import Kind
from weftline_bridge.recorder.trace import Trace


@dataclass(frozen=True, slots=True)
class RecorderLimits:
    """What is recorded: nothing unless `enabled`; of what ended, the newest `closed` for `keep_ms`."""

    enabled: bool = True
    keep_ms: int = 300_000
    closed: int = 256


@dataclass(slots=True)
class ConnectionLog:
    """What happened to a connection; times are in ms since the Unix epoch, and the subject is known when it ended."""

    id: str
    dialect: str
    address: str
    opened_at: int
    trace: Trace
    closed_at: int | None = None
    close_code: int | None = None
    subject: str = ""


@dataclass(slots=True)
class WorkflowLog:
    """What came from the executor of a workflow since the bridge began to follow it."""

    id: str
    trace: Trace


_Log = TypeVar("_Log", ConnectionLog, WorkflowLog)


@dataclass(slots=True)
class _Shelf(Generic[_Log]):
    """Logs by id: the open ones, and the closed ones with the time at which they were."""

    limits: RecorderLimits
    open: dict[str, _Log] = field(default_factory=dict)
    closed: OrderedDict[str, tuple[int, _Log]] = field(default_factory=OrderedDict)

    def find(self, id_: str) -> _Log | None:
        """A log, wherever it is."""
        log = self.open.get(id_)
        if log is None and id_ in self.closed:
            log = self.closed[id_][1]
        return log

    def close(self, id_: str, now: int) -> _Log | None:
        """Put an open log among the closed ones."""
        log = self.open.pop(id_, None)
        if log is not None:
            self.closed[id_] = (now, log)
            while len(self.closed) > self.limits.closed:
                self.closed.popitem(last=False)
        return log

    def reopen(self, id_: str) -> _Log | None:
        """Take a closed log back."""
        found = self.closed.pop(id_, None)
        if found is None:
            return None
        self.open[id_] = found[1]
        return found[1]

    def expire(self, now: int) -> None:
        """Forget what has been closed for too long."""
        while self.closed:
            closed_at, _ = next(iter(self.closed.values()))
            if 0 <= now - closed_at < self.limits.keep_ms:
                return
            self.closed.popitem(last=False)


class Recorder:
    """All logs. Every time passed in is in ms since the Unix epoch."""

    def __init__(self, limits: RecorderLimits) -> None:
        self.enabled = limits.enabled
        self._connections: _Shelf[ConnectionLog] = _Shelf(limits)
        self._workflows: _Shelf[WorkflowLog] = _Shelf(limits)

    def connection_opened(self, connection_id: str, dialect: str, address: str, now: int) -> Trace | None:
        """A connection began: where to record what happens to it, None when nothing is recorded."""
        if not self.enabled:
            return None
        trace = Trace(now)
        trace.note(now, Kind.OPENED, word=dialect)
        self._connections.open[connection_id] = ConnectionLog(connection_id, dialect, address, now, trace)
        return trace

    def connection_closed(self, connection_id: str, code: int, subject: str, now: int) -> None:
        """A connection of `subject` ended with a close code."""
        log = self._connections.close(connection_id, now)
        if log is not None:
            log.closed_at, log.close_code, log.subject = now, code, subject
            log.trace.note(now, Kind.CLOSED, word=str(code))

    def workflow_followed(self, workflow_id: str, now: int) -> Trace | None:
        """A workflow is followed, perhaps again: where to record what comes, None when nothing is recorded."""
        if not self.enabled:
            return None
        shelf = self._workflows
        log = shelf.open.get(workflow_id) or shelf.reopen(workflow_id)
        if log is None:
            log = shelf.open[workflow_id] = WorkflowLog(workflow_id, Trace(now))
        return log.trace

    def workflow_released(self, workflow_id: str, now: int) -> None:
        """A workflow is not followed any more."""
        log = self._workflows.close(workflow_id, now)
        if log is not None:
            log.trace.note(now, Kind.CLOSED)

    def connection(self, connection_id: str) -> ConnectionLog | None:
        """What happened to a connection, None when that is not known any more."""
        return self._connections.find(connection_id)

    def workflow(self, workflow_id: str) -> WorkflowLog | None:
        """What came of a workflow, None when that is not known any more."""
        return self._workflows.find(workflow_id)

    def expire(self, now: int) -> None:
        """Forget what ended too long ago."""
        self._connections.expire(now)
        self._workflows.expire(now)
