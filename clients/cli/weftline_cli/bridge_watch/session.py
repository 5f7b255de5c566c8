"""Decides what a watch asks of the bridge and what to make of what comes, over any number of connections."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final

from weftline.v1 import events_pb2 as ev
from weftline.v1 import workflow_service_pb2 as ws
from weftline_cli.bookmark import WatchPlan
from weftline_cli.bridge_watch.reading import is_event, read_event, read_snapshot
from weftline_cli.bridge_watch.refusals import refusal
from weftline_cli.cursor import Cursor
from weftline_cli.errors import BridgeUnavailableError
from weftline_cli.items import (
    Arrived,
    Connected,
    ExecutorAway,
    Item,
    Replaced,
    Restated,
    Served,
    Skipped,
    Unresumed,
)
from weftline_cli.view import FINAL_STATES

ALL: Final = "*"
NORMAL: Final = "normal"
TERMINAL: Final = ("execution.complete", "execution.error")
MAX_RESUMED: Final = 60
"""Of so many workflows what was missed is asked for at once: the bridge takes 64 commands at a time."""

MAX_KNOWN: Final = 10_000
"""Of so many workflows, the last ones that something came of, the place is kept."""

MAX_HELD: Final = 10_000
"""So many events after a state are held back at most until the bridge has said how things stand."""

NOBODY: Final = "weftline:nobody"
"""The workflow that is given up to have the bridge answer; nobody has asked for it."""

_FIRST_WORD_S: Final = 30.0

Fields = Mapping[str, Any]


@dataclass(slots=True)
class _Place:
    """Where one workflow is; `active` while its newest run has not ended."""

    cursor: Cursor
    active: bool = True


@dataclass(slots=True)
class _Held:
    """A state, and what came after it, until the bridge has said how things stand."""

    snapshot: ws.WorkflowSnapshot
    since: list[ev.Event] = field(default_factory=list)
    gaps: list[Skipped] = field(default_factory=list)


class BridgeSession:
    """What one watch of `plan` has seen, and what it says on the next connection; it knows neither socket nor clock.

    `address` is for messages. `silence_s` is for how long a living bridge is silent at most, `advice_s` when it asked
    to come back, None when it did not.
    """

    def __init__(self, plan: WatchPlan, address: str) -> None:
        self.silence_s = _FIRST_WORD_S
        self.advice_s: float | None = None
        self._plan = plan
        self._address = address
        self._ids = count(1)
        self._places: dict[str, _Place] = {}
        self._epoch = plan.epoch
        self._fence = ""
        self._quiet = plan.start == ws.WATCH_FROM_NOW
        self._held: _Held | None = None
        self._greeted = False
        self._away = False
        self._mode = NORMAL
        self._unresumed = 0
        if plan.start == ws.WATCH_FROM_CURSOR:
            self._places[plan.workflow_id] = _Place(Cursor(plan.epoch, plan.seq))

    @property
    def done(self) -> bool:
        """Whether the past alone was asked for, and is there."""
        place = self._places.get(self._plan.workflow_id)
        reached = place is not None and place.cursor.seq >= self._plan.head
        return self._plan.until_head and reached and self._held is None

    def cursor(self, workflow_id: str) -> Cursor | None:
        """Return the place in a workflow, None when nothing is known of it."""
        place = self._places.get(workflow_id)
        return None if place is None else place.cursor

    def connected(self) -> list[dict[str, Any]]:
        """Take note of a new connection, and return the messages to begin it with.

        The bridge answers in order, so that the answer to the last one tells what it began with from what comes.
        """
        self.advice_s, self.silence_s = None, _FIRST_WORD_S
        self._greeted, self._mode = False, NORMAL
        if self._held is not None:
            self._held = None
            del self._places[self._plan.workflow_id]
        named, last = [self._plan.workflow_id], ALL
        if not self._plan.workflow_id:
            named, last = [*self._resumed(), ALL], NOBODY
        fence = self._say("workflow.unsubscribe", last, {})
        self._fence = fence["id"]
        return [*(self._say("workflow.subscribe", name, self._wanted(name)) for name in named), fence]

    def _resumed(self) -> list[str]:
        """Choose the workflows of which what was missed is asked for, and forget the others."""
        # Those with an active run are in most need of that, and then the newest.
        known = [name for name in reversed(self._places) if self._places[name].cursor.epoch]
        ranked = sorted(known, key=lambda name: not self._places[name].active)
        self._unresumed = sum(self._places[name].active for name in ranked[MAX_RESUMED:])
        del ranked[MAX_RESUMED:]
        self._places = {name: self._places[name] for name in reversed(ranked)}
        return ranked

    def take(self, messages: object) -> Iterator[Item]:
        """Yield what a frame brings.

        Raises GapError or RepeatError for a durable event that does not follow the last one, BridgeUnavailableError
        for what can't be read, and the error for what was refused.
        """
        try:
            if not isinstance(messages, list):
                raise TypeError("a frame is an array")
            for message in messages:
                yield from self._message(message)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            problem = f"it sent what this version can't read ({type(error).__name__}: {error})."
            raise BridgeUnavailableError(self._address, problem) from error

    def _wanted(self, workflow_id: str) -> dict[str, Any]:
        place = self._places.get(workflow_id)
        if place is None or not place.cursor.epoch:
            return {"telemetry": self._plan.telemetry}
        cursor = {"epoch": place.cursor.epoch, "seq": place.cursor.seq}
        return {"telemetry": self._plan.telemetry, "cursor": cursor}

    def _say(self, kind: str, workflow_id: str, payload: dict[str, Any]) -> dict[str, Any]:
        message_id = f"watch-{next(self._ids)}"
        return {"id": message_id, "type": kind, "timestamp": 0, "workflowId": workflow_id, "payload": payload}

    def _message(self, message: Fields) -> Iterator[Item]:
        handler = _HANDLERS.get(message["type"])
        if handler is not None:
            yield from handler(self, message)
        elif is_event(message):
            yield from self._event(message)

    def _ready(self, message: Fields) -> Iterator[Item]:
        payload = message["payload"]
        self.silence_s = (payload["heartbeatInterval"] + payload["heartbeatTimeout"]) / 1000
        yield from ()

    def _subscribed(self, message: Fields) -> Iterator[Item]:
        workflow_id, payload = message["workflowId"], message["payload"]
        told = Cursor(payload["epoch"], payload["seq"])
        outcome, reason = payload["outcome"], payload.get("reason", "")
        self._epoch = told.epoch or self._epoch
        if workflow_id == ALL:
            yield Connected(exists=True)
            if self._unresumed:
                yield Unresumed(self._unresumed)
            return
        place = self._places.get(workflow_id)
        if outcome == "gone":
            self._move(workflow_id, told, active=False)
        elif outcome == "resumed" and (place is None or place.cursor != told):
            raise ValueError(f"it resumed {workflow_id} from another place than was asked for")
        if self._plan.workflow_id:
            yield Connected(exists=outcome != "gone")
        if outcome == "snapshot" and reason:
            yield Restated(workflow_id, reason)

    def _snapshot(self, message: Fields) -> Iterator[Item]:
        snapshot = read_snapshot(message)
        place = Cursor(snapshot.epoch, snapshot.seq)
        self._move(snapshot.workflow_id, place, active=snapshot.state not in FINAL_STATES)
        if self._fence and self._quiet:
            return  # what the bridge begins with, where only what comes was asked for
        if self._fence and self._plan.workflow_id:
            # The bridge may begin with an older state, and the events since then.
            self._held = _Held(snapshot)
        else:
            yield Replaced(snapshot)

    def _answered(self, message: Fields) -> Iterator[Item]:
        if message["payload"].get("commandId") == self._fence:
            self._fence, self._quiet = "", False
            yield from self._release()

    def _release(self) -> Iterator[Item]:
        held, self._held = self._held, None
        if held is not None:
            yield Replaced(held.snapshot, tuple(held.since))
            yield from held.gaps

    def _event(self, message: Fields) -> Iterator[Item]:
        event = read_event(message)
        if event.seq:
            place = self._places.get(event.workflow_id)
            if place is None and self._plan.workflow_id:
                raise ValueError("an event came before its place was told")
            active = message["type"] not in TERMINAL
            if place is None:
                self._move(event.workflow_id, Cursor(self._epoch, event.seq), active=active)
            else:
                place.cursor.take(event.seq)
                self._move(event.workflow_id, place.cursor, active=active)
        if self._fence and self._quiet:
            return
        if self._held is None:
            yield Arrived((event,))
            return
        self._held.since.append(event)
        if len(self._held.since) >= MAX_HELD:
            yield from self._release()

    def _gap(self, message: Fields) -> Iterator[Item]:
        payload = message["payload"]
        workflow_id, first, last = message["workflowId"], payload["from"], payload["to"]
        place = self._places.get(workflow_id)
        if place is None:
            self._move(workflow_id, Cursor(self._epoch, last), active=True)
        else:
            place.cursor.skip(first, last)
        skipped = Skipped(workflow_id, first, last, dict(payload["dropped"]), payload["reason"])
        if self._held is not None and len(self._held.gaps) < MAX_HELD:
            self._held.gaps.append(skipped)
        else:
            yield skipped

    def _heartbeat(self, message: Fields) -> Iterator[Item]:
        payload = message["payload"]
        for workflow_id, head in payload["heads"].items():
            place = self._places.get(workflow_id)
            if place is not None and place.cursor.epoch in ("", payload["epoch"]):
                place.cursor.reach(head)
        yield Arrived(())

    def _status(self, message: Fields) -> Iterator[Item]:
        away = message["payload"]["executor"] != "connected"
        if away != self._away:
            self._away = away
            yield ExecutorAway(away)
        if self._greeted:
            yield Arrived(())  # the first one comes with every connection, and shows nothing but that
        self._greeted = True

    def _delivery(self, message: Fields) -> Iterator[Item]:
        payload = message["payload"]
        if payload["mode"] != self._mode:
            self._mode = payload["mode"]
            yield Served(payload["mode"], payload["lagMs"])

    def _draining(self, message: Fields) -> Iterator[Item]:
        self.advice_s = message["payload"]["reconnectAfterMs"] / 1000
        yield from ()

    def _rejected(self, message: Fields) -> Iterator[Item]:
        payload = message["payload"]
        if payload.get("commandId") != self._fence:
            raise refusal(self._address, payload["code"], payload["message"])
        yield from self._answered(message)

    def _move(self, workflow_id: str, cursor: Cursor, *, active: bool) -> None:
        # Taken out and put in again, so that the workflows of which something came last are the last ones.
        self._places.pop(workflow_id, None)
        self._places[workflow_id] = _Place(cursor, active)
        if len(self._places) > MAX_KNOWN:
            del self._places[next(iter(self._places))]


_HANDLERS: Final[Mapping[str, Callable[[BridgeSession, Fields], Iterator[Item]]]] = {
    "connection.ready": BridgeSession._ready,
    "connection.draining": BridgeSession._draining,
    "workflow.subscribed": BridgeSession._subscribed,
    "workflow.snapshot": BridgeSession._snapshot,
    "stream.gap": BridgeSession._gap,
    "delivery.state": BridgeSession._delivery,
    "command.accepted": BridgeSession._answered,
    "command.rejected": BridgeSession._rejected,
    "heartbeat": BridgeSession._heartbeat,
    "system.status": BridgeSession._status,
}
