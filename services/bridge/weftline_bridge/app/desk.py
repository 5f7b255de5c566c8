"""What one bridge process knows of its own connections and records, for its HTTP face and for other workers."""

from __future__ import annotations

from typing import Any

import msgspec

from weftline_bridge.hub import Hub
from weftline_bridge.metrics import Metrics
from weftline_bridge.recorder import Record
from weftline_bridge.session import Registry
from weftline_bridge.session.session import Session
from weftline_bridge.workers.exposition import collect
from weftline_bridge.workers.messages import (
    ConnectionRecord,
    Connections,
    Health,
    Question,
    Ready,
    Report,
    WorkflowRecord,
)

_question = msgspec.msgpack.Decoder(Question).decode


class ConnectionView(msgspec.Struct, rename="camel", omit_defaults=True):
    """A connection as `/api/connections` shows it; times in ms, `since` from the Unix epoch.

    `worker` is the number of the one that has it, where there are several.
    """

    id: str
    since: int
    address: str
    subject: str
    dialect: str
    subscriptions: list[str]
    queued_bytes: int
    rtt_ms: float | None
    sent: int
    sent_bytes: int
    received: int
    mode: str
    worker: int = 0


class RecordView(msgspec.Struct, rename="camel", omit_defaults=True):
    """A record as clients see it; times in ms since the Unix epoch, `from` and `to` are seqs.

    `worker` is the number of the one that it is of, where the records of several are told together.
    """

    kind: str
    at: int
    until: int
    workflow_id: str = ""
    from_: int = msgspec.field(name="from", default=0)
    to: int = 0
    count: int = 1
    bytes: int = 0
    word: str = ""
    worker: int = 0


class Recorded(msgspec.Struct):
    """What was recorded of a connection or a workflow: how it stands, and what happened."""

    head: dict[str, Any]
    records: list[RecordView]


class Desk:
    """Answers questions about this process, which is worker `number`, 0 where it is the only one."""

    def __init__(self, hub: Hub, registry: Registry, metrics: Metrics, number: int = 0) -> None:
        self._hub = hub
        self._registry = registry
        self._metrics = metrics
        self.number = number

    @property
    def records(self) -> bool:
        """Whether anything is recorded."""
        return self._hub.recorder.enabled

    async def answer(self, asked: msgspec.Raw) -> object:
        """The answer to a question of the supervisor, or of another worker through it."""
        question: Question = _question(asked)
        match question:
            case Health():
                return True
            case Ready():
                return self.unready()
            case Report(elsewhere):
                self._registry.elsewhere = elsewhere
                return collect(self._metrics.registry)
            case Connections():
                return self.connections(question)
            case ConnectionRecord():
                return self.connection(question)
            case WorkflowRecord():
                return self.workflow(question)

    def unready(self) -> str:
        """Why clients can't be served; empty if they can."""
        if self._registry.draining:
            return "draining"
        return "" if self._hub.connected else "the executor is not reachable"

    def connections(self, question: Connections) -> list[ConnectionView]:
        """The open connections that were asked for."""
        found = [each for each in self._registry if question.everyone or each.subject == question.subject]
        return [self._view(session) for session in found]

    def connection(self, question: ConnectionRecord) -> Recorded | None:
        """What happened to one connection, and how it stands; None when that is not known or not for who asks."""
        log = self._hub.recorder.connection(question.id)
        if log is None:
            return None
        session = next((each for each in self._registry if each.id == log.id), None)
        if session is not None:
            session.tape.settle()
        subject = session.subject if session else log.subject
        if not question.everyone and subject != question.subject:
            return None
        head: dict[str, Any] = {
            "connectionId": log.id,
            "dialect": log.dialect,
            "address": log.address,
            "openedAt": log.opened_at,
            "closedAt": log.closed_at,
            "closeCode": log.close_code,
            "completeSince": log.trace.complete_since,
            "mode": session.mode if session else "closed",
            "queuedBytes": session.queued_bytes if session else 0,
            "subscriptions": self._hub.subscriptions(session) if session else [],
        }
        if self.number:
            head["worker"] = self.number
        return Recorded(head, [RecordView(*record) for record in log.trace.records()])

    def workflow(self, question: WorkflowRecord) -> Recorded | None:
        """What came from the executor of one workflow; None when that is not known, or the connection is not here."""
        recorder = self._hub.recorder
        log = recorder.workflow(question.id)
        if log is None or (question.beside and recorder.connection(question.beside) is None):
            return None
        head = {"workflowId": log.id, "completeSince": log.trace.complete_since}
        return Recorded(head, [self._record(record) for record in log.trace.records()])

    def _record(self, record: Record) -> RecordView:
        view = RecordView(*record)
        view.worker = self.number
        return view

    def _view(self, session: Session) -> ConnectionView:
        return ConnectionView(
            session.id,
            session.since,
            session.address,
            session.subject,
            session.dialect.name.lower(),
            self._hub.subscriptions(session),
            session.queued_bytes,
            None if session.rtt is None else round(session.rtt * 1000, 3),
            session.tape.sent,
            session.tape.sent_bytes,
            session.received,
            session.mode,
            self.number,
        )
