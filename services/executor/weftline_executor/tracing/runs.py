"""The spans of one run, folded from its events as they become durable; pure: no clock, no I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from weftline_executor.model.events import (
    Event,
    LogWritten,
    NodeFailed,
    NodePending,
    NodeRunning,
    NodeSkipped,
    NodeSucceeded,
    RunCompleted,
    RunFailed,
    RunPaused,
    RunResumed,
    RunStarted,
    RunStopping,
)
from weftline_executor.model.states import WAITS, LogLevel, NodeStatus, PendingReason
from weftline_executor.replay import NodeState, RunProjection
from weftline_executor.tracing.context import TraceContext, attempt_span_id, parse_traceparent, run_span_id
from weftline_executor.tracing.span import Span, SpanEvent, Value

MAX_EVENTS = 128
MAX_MESSAGE = 512
MAX_ID = 256
_TOLD_LEVELS = (LogLevel.WARN, LogLevel.ERROR)


@dataclass(slots=True)
class _Open:
    """A span that has not ended; only its first events are kept."""

    begun: int
    attempt: int = 0
    events: list[SpanEvent] = field(default_factory=list)

    def tell(self, name: str, at: int, **attributes: Value) -> None:
        if len(self.events) < MAX_EVENTS:
            self.events.append(SpanEvent(name, at, {f"weftline.{key}": value for key, value in attributes.items()}))


class RunSpans:
    """Makes the spans of a run's generations and of its attempts; each is given when it has ended.

    `node_type` gives the type of a node. What has begun is taken from `projection`, the run as it was before the events
    to come. A span holds ids, types, counts, reasons and codes, and the log lines from `warn` on: no data of a node.
    """

    def __init__(self, projection: RunProjection, node_type: Callable[[str], str]) -> None:
        self._run_id = projection.run_id
        self._node_type = node_type
        self._parent: TraceContext | None = None
        self._generation = projection.generation
        self._context: TraceContext | None = None
        self._place(projection.trace)
        self._about: dict[str, Value] = {
            "weftline.workflow.id": projection.workflow_id,
            "weftline.run.id": projection.run_id,
        }
        self._origin: dict[str, Value] = {}
        self._run = _Open(projection.generation_at)
        self._attempts: dict[str, _Open] = {}
        if projection.seq:
            self._take_origin(projection)
        if projection.seq and not projection.state.final:
            self._attempts = {
                node_id: _Open(node.started_at or node.since, node.attempt)
                for node_id, node in projection.nodes.items()
                if _is_open(node)
            }

    @property
    def context(self) -> TraceContext | None:
        """The span of the run; None where the run has no trace that is recorded."""
        return self._context

    def take(self, events: Iterable[Event]) -> list[Span]:
        """Takes the next events in, and gives the spans that they end."""
        ended: list[Span] = []
        for event in events:
            if isinstance(event, RunStarted):
                self._begin(event)
            if self._context is None:
                break
            span = self._take(event, self._context)
            if span is not None:
                ended.append(span)
        return ended

    def _place(self, trace: str) -> None:
        parent = parse_traceparent(trace)
        if parent is not None and parent.sampled:
            self._parent = parent
            self._context = parent.at(run_span_id(self._run_id, self._generation))

    def _begin(self, event: RunStarted) -> None:
        self._place(event.trace)
        self._run = _Open(event.at)
        self._take_origin(event)

    def _take_origin(self, start: RunStarted | RunProjection) -> None:
        if start.rerun_of:
            self._origin["weftline.run.rerun_of"] = start.rerun_of
        if start.parent is not None:
            self._origin["weftline.parent.node.id"] = start.parent.node_id[:MAX_ID]
            if start.parent.item is not None:
                self._origin["weftline.parent.item"] = start.parent.item

    def _take(self, event: Event, run: TraceContext) -> Span | None:
        match event:
            case NodeRunning():
                self._attempts[event.node] = _Open(event.at, event.attempt)
            case NodePending(reason=reason) if reason in WAITS:
                if (waiting := self._attempts.get(event.node)) is not None:
                    waiting.tell("waiting", event.at, waiting_for=reason.value)
            case NodePending(reason=PendingReason.CONCURRENCY):
                pass  # the slot that it waits for is for an attempt to come
            case NodePending():
                return self._end_attempt(run, event.node, event.at, "interrupted", reason=event.reason.value)
            case NodeSucceeded():
                return self._end_attempt(run, event.node, event.at, "success", reason=event.reason.value)
            case NodeSkipped():
                return self._end_attempt(run, event.node, event.at, "skipped", reason=event.reason.value)
            case NodeFailed():
                handled = event.handled.value
                return self._end_attempt(run, event.node, event.at, "error", code=event.code, handled=handled)
            case LogWritten(level=level) if level in _TOLD_LEVELS:
                told = self._attempts.get(event.node, self._run)
                told.tell("log", event.at, level=level.value, message=event.message[:MAX_MESSAGE])
            case RunResumed(mode="retry"):
                self._generation += 1
                self._context = run.at(run_span_id(self._run_id, self._generation))
                self._run = _Open(event.at)
                self._attempts.clear()
            case RunPaused() | RunResumed() | RunStopping():
                self._run.tell("state", event.at, state=event.state.value, mode=event.mode)
            case RunCompleted() | RunFailed():
                return self._end_run(run, event)
        return None

    def _end_attempt(
        self, run: TraceContext, node_id: str, at: int, outcome: str, *, code: str = "", **more: str
    ) -> Span | None:
        attempt = self._attempts.pop(node_id, None)
        if attempt is None:
            return None  # no code ran for this: it was reset, completed, or taken over
        node_type = self._node_type(node_id)
        attributes: dict[str, Value] = {
            **self._about,
            "weftline.node.id": node_id[:MAX_ID],
            "weftline.node.type": node_type,
            "weftline.node.attempt": attempt.attempt,
            "weftline.outcome": outcome,
            **{f"weftline.{key}": value for key, value in more.items() if value},
        }
        if code:
            attributes["error.type"] = code
        context = run.at(attempt_span_id(self._run_id, node_id, attempt.attempt))
        events = tuple(attempt.events)
        return Span(f"node {node_type}", context, run, attempt.begun, at, attributes, events=events, failed=code)

    def _end_run(self, run: TraceContext, event: RunCompleted | RunFailed) -> Span:
        failed = event.code if isinstance(event, RunFailed) else ""
        attributes: dict[str, Value] = {
            **self._about,
            **self._origin,
            "weftline.run.generation": self._generation,
            "weftline.outcome": "error" if isinstance(event, RunFailed) else event.status.value,
        }
        if isinstance(event, RunCompleted):
            attributes["weftline.run.nodes"] = event.total_nodes
            attributes["weftline.run.nodes.completed"] = event.completed_nodes
            attributes["weftline.run.nodes.failed"] = event.failed_nodes
            attributes["weftline.run.nodes.skipped"] = event.skipped_nodes
        else:
            attributes["error.type"] = event.code
            if event.node:
                attributes["weftline.node.id"] = event.node[:MAX_ID]
        events = tuple(self._run.events)
        return Span(
            "workflow.run", run, self._parent, self._run.begun, event.at, attributes, events=events, failed=failed
        )


def _is_open(node: NodeState) -> bool:
    """Whether an attempt of the node had begun and has not ended."""
    return node.status is NodeStatus.RUNNING or (node.status is NodeStatus.PENDING and node.reason in WAITS)
