"""Keeps the place in a watched stream: what to ask for next, and which of the events that come are new."""

from collections.abc import Sequence
from dataclasses import dataclass

from weftline.v1 import events_pb2 as ev
from weftline.v1 import workflow_service_pb2 as ws
from weftline_cli.cursor import GapError


@dataclass(frozen=True, slots=True)
class WatchPlan:
    """What somebody wants to watch.

    `workflow_id` is empty for all workflows. `start` is where to begin the first time; with WATCH_FROM_CURSOR, `epoch`
    and `seq` are the cursor (one workflow only). `until_head` asks for the past alone, up to the seq `head` where
    the other end does not know what that is.
    """

    workflow_id: str = ""
    start: ws.WatchFrom.ValueType = ws.WATCH_FROM_SNAPSHOT
    epoch: str = ""
    seq: int = 0
    telemetry: bool = True
    until_head: bool = False
    head: int = 0


class Bookmark:
    """The place of one watch: it begins where its plan says, and goes on after the last event that it accepted."""

    def __init__(self, plan: WatchPlan) -> None:
        self._plan = plan
        self._placed = plan.start == ws.WATCH_FROM_CURSOR
        self._start = plan.start
        self._bound_epoch = plan.epoch
        self._epoch = plan.epoch
        self._seq = plan.seq
        self._commit = 0

    @property
    def seq(self) -> int:
        """The last durable seq that was accepted, when one workflow is watched."""
        return self._seq

    def request(self) -> ws.WatchEventsRequest:
        """Return the request that goes on from here."""
        plan = self._plan
        request = ws.WatchEventsRequest(
            workflow_id=plan.workflow_id,
            start_from=ws.WATCH_FROM_CURSOR if self._placed else self._start,
            telemetry=plan.telemetry,
            until_head=plan.until_head,
        )
        if self._placed and plan.workflow_id:
            request.cursor.CopyFrom(ws.Cursor(epoch=self._epoch, seq=self._seq))
        elif self._placed:
            request.position.CopyFrom(ws.Position(epoch=self._epoch, commit=self._commit))
        return request

    def created(self, created: ws.WatchCreated) -> None:
        """Take note of what a watch was bound to; take that place when there is none yet and nothing came before it."""
        self._bound_epoch = created.epoch
        if self._placed:
            return
        nothing_before = bool(self._plan.workflow_id) and created.seq == 0
        if self._start == ws.WATCH_FROM_NOW or nothing_before:
            self._move(created.epoch, created.seq, created.commit)

    def compacted(self) -> None:
        """Give up the place: what is between it and the state that follows can't be had."""
        self._placed = False
        self._start = ws.WATCH_FROM_SNAPSHOT

    def snapshot(self, snapshot: ws.WorkflowSnapshot, commit: int) -> None:
        """Move to a snapshot: it replaces all that came before."""
        self._move(snapshot.epoch, snapshot.seq, max(self._commit, commit))

    def heartbeat(self, heartbeat: ws.WatchHeartbeat) -> None:
        """Take note of the head when all workflows are watched; everything before it has come."""
        if not self._plan.workflow_id:
            self._move(heartbeat.epoch, 0, heartbeat.commit)

    def accept(self, events: Sequence[ev.Event], commit: int) -> list[ev.Event]:
        """Return the events that were not accepted before, and move behind them.

        Raises GapError, and stays where it is, when a seq of the one watched workflow is missing.
        """
        if not self._plan.workflow_id:
            if commit:
                self._move(self._bound_epoch, 0, commit)
            return list(events)
        new: list[ev.Event] = []
        seq = self._seq
        for event in events:
            if event.seq:
                if event.seq <= seq:
                    continue
                if event.seq != seq + 1:
                    raise GapError(seq + 1, event.seq)
                seq = event.seq
            new.append(event)
        self._seq = seq
        return new

    def _move(self, epoch: str, seq: int, commit: int) -> None:
        self._epoch, self._seq, self._commit = epoch, seq, commit
        self._placed = True
