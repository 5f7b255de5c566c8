"""The nodes of one run that wait for a word from outside: an approval, or an event."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from weftline_executor.engine.attempt import Attempt
from weftline_executor.engine.attempts import Attempts
from weftline_executor.engine.outcome import Failure, Success, Waiting
from weftline_executor.engine.timers import RunTimers
from weftline_executor.graph import Graph
from weftline_executor.model.states import Handling, PendingReason, SuccessReason
from weftline_executor.replay import NodeState, RunProjection

MAX_COMMENT = 1024


class Run(Protocol):
    """What waits ask of their run."""

    graph: Graph
    projection: RunProjection
    attempts: Attempts

    def attempt_ended(self, handling: Handling) -> None:
        """The outcome of an attempt was written."""

    def settle(self) -> None:
        """Something changed: nodes may start, or the run may end."""


class _Details(msgspec.Struct, omit_defaults=True):
    """What the event of a wait says of it, as far as the engine needs that."""

    event: str = ""
    default: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class Waits:
    """The waiting nodes by index; each ends with `complete`, or when its time has passed."""

    def __init__(self, run: Run, timers: RunTimers, now: Callable[[], int]) -> None:
        self._run = run
        self._timers = timers
        self._now = now
        self._waiting: dict[int, PendingReason] = {}
        self._events: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, node: int) -> bool:
        return node in self._waiting

    def let_go(self) -> None:
        """The run has ended: forgets it."""
        del self._run

    def event(self, node: int) -> str:
        """The name of the event that a node waits for; empty for another wait."""
        return self._events.get(node, "")

    def begin(self, attempt: Attempt, waiting: Waiting) -> None:
        """An attempt has come to where it waits. Its deadline counts from its start, also over a restart."""
        node, due, left = attempt.index, 0, None
        if waiting.deadline is not None:
            left = max(0, round(waiting.deadline * 1000) - attempt.elapsed_ms() - attempt.already_ms)
            due = self._now() + left
        self._run.attempts.pend(node, attempt.number, waiting.reason, due, waiting.details)
        self._add(node, waiting.reason, left, waiting.details)

    def recover(self, node: int, state: NodeState) -> None:
        """A node waited when the process died."""
        self._run.attempts.continue_from(node, state.attempt)
        # A clock that was set back makes the wait no longer than it was to be.
        left = min(state.due - self._now(), state.due - state.since) if state.due else None
        self._add(node, PendingReason(state.reason), left, bytes(state.output))

    def _add(self, node: int, reason: PendingReason, left: int | None, details: bytes) -> None:
        known = msgspec.json.decode(details, type=_Details)
        self._waiting[node] = reason
        self._events[node] = known.event
        if left is not None:
            default = None if known.default is msgspec.UNSET else bytes(known.default)
            self._timers.start("wait", node, left / 1000, lambda: self._expire(node, default))

    def waiting_for(self, event: str) -> list[int]:
        """The nodes that wait for an event of this name."""
        return [node for node, name in self._events.items() if name == event]

    def complete(self, node: int, data: bytes, by: str) -> int:
        """Ends a wait with `data` (JSON text or empty) and gives the seq of the event that tells it.

        An approval that is rejected, by an object whose `approved` is false, fails the node.
        """
        reason = self._take_out(node)
        rejection = _rejection(data, by) if reason is PendingReason.APPROVAL else None
        return self._finish(node, data, rejection, SuccessReason.COMPLETED, by)

    def clear(self) -> list[int]:
        """Waits no longer, and gives the nodes that did."""
        nodes = list(self._waiting)
        for node in nodes:
            self._take_out(node)
        return nodes

    def _take_out(self, node: int) -> PendingReason:
        self._timers.cancel("wait", node)
        del self._events[node]
        return self._waiting.pop(node)

    def _expire(self, node: int, default: bytes | None) -> None:
        reason = self._take_out(node)
        if default is None:
            failure = Failure(f"nobody answered the {reason} in time", f"{reason}_timeout", retryable=False)
            self._finish(node, b"", failure, SuccessReason.TIMED_OUT, "")
            self._run.settle()
            return
        rejection = _rejection(default, "default") if reason is PendingReason.APPROVAL else None
        self._finish(node, default, rejection, SuccessReason.TIMED_OUT, "")
        self._run.settle()

    def _finish(self, node: int, data: bytes, failure: Failure | None, reason: SuccessReason, by: str) -> int:
        attempts, definition = self._run.attempts, self._run.graph.nodes[node]
        # It may be answered before its start is durable.
        state = self._run.projection.nodes.get(definition.id)
        begun = None if state is None else state.started_at
        duration = 0 if begun is None else max(0, self._now() - begun)
        if failure is not None:
            seq, handling = attempts.fail(node, failure, duration)
            self._run.attempt_ended(handling)
            return seq
        return attempts.succeed(node, Success(data, "", reason), duration, by)


def _rejection(data: bytes, by: str) -> Failure | None:
    """The failure of an approval that was rejected."""
    value = msgspec.json.decode(data) if data else None
    if not isinstance(value, dict) or value.get("approved") is not False:
        return None
    comment = value.get("comment")
    said = f": {comment[:MAX_COMMENT]}" if isinstance(comment, str) and comment else ""
    return Failure(f"rejected{f' by {by}' if by else ''}{said}", "rejected", data, retryable=False)
