"""Says in words what a node waits for."""

from collections.abc import Callable, Mapping
from typing import Final

from weftline.v1 import events_pb2 as ev
from weftline_cli import text
from weftline_cli.screens.lines import node_name
from weftline_cli.view import RunView

NAMED_NODES: Final = 3
FOR_SOMEBODY: Final = (ev.WAITING_FOR_APPROVAL, ev.WAITING_FOR_EVENT, ev.WAITING_FOR_RESUME)
"""Waits that end when somebody does something."""


def waits_for(waiting: ev.Waiting, view: RunView, now_ms: int) -> str:
    """Return what ends a wait, seen at `now_ms`; `something` for what this version does not know."""
    words = _WORDS.get(waiting.waiting_for)
    return words(waiting, view, now_ms) if words else "something"


def _parents(waiting: ev.Waiting, view: RunView, _now_ms: int) -> str:
    named = [node_name(node_id, view) for node_id in waiting.parent_ids[:NAMED_NODES]]
    more = waiting.parents - len(named)
    return ", ".join(named) + (f" and {more} more" if more > 0 else "")


def _retry(waiting: ev.Waiting, _view: RunView, now_ms: int) -> str:
    left_ms = max(0, waiting.due_ms - now_ms)
    return f"its next attempt, in {text.duration(left_ms)}"


def _until(waiting: ev.Waiting) -> str:
    return f", until {text.moment(waiting.due_ms)}" if waiting.HasField("due_ms") else ""


def _place(waiting: ev.Waiting) -> str:
    return "next in line" if waiting.position == 1 else f"number {waiting.position} in line"


_WORDS: Final[Mapping[ev.WaitingFor.ValueType, Callable[[ev.Waiting, RunView, int], str]]] = {
    ev.WAITING_FOR_PARENTS: _parents,
    ev.WAITING_FOR_RUN_SLOT: lambda waiting, view, now_ms: f"a slot of this run, {_place(waiting)}",
    ev.WAITING_FOR_EXECUTOR_SLOT: lambda waiting, view, now_ms: f"a slot of the executor, {_place(waiting)}",
    ev.WAITING_FOR_RETRY: _retry,
    ev.WAITING_FOR_APPROVAL: lambda waiting, view, now_ms: f"an approval{_until(waiting)}",
    ev.WAITING_FOR_EVENT: lambda waiting, view, now_ms: (
        f"the event {text.one_line(waiting.event, 60)}{_until(waiting)}"
    ),
    ev.WAITING_FOR_RESUME: lambda waiting, view, now_ms: "weftline resume",
    ev.WAITING_FOR_END: lambda waiting, view, now_ms: "the end of all others",
    ev.WAITING_FOR_START: lambda waiting, view, now_ms: "nothing, it is about to start",
}
