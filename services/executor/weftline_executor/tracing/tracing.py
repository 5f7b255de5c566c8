"""What the executor tells of its runs and commands as spans: it is told what is durable, and disturbs nobody."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Sequence
from typing import Protocol
from weakref import WeakKeyDictionary

from weftline_executor.graph import Graph
from weftline_executor.model.events import Event
from weftline_executor.replay import RunProjection
from weftline_executor.tracing.context import TraceContext, chosen, parse_traceparent, run_span_id
from weftline_executor.tracing.runs import RunSpans
from weftline_executor.tracing.span import Span, SpanSink, Value

_SERVICE = "weftline.v1.WorkflowService"
_log = logging.getLogger(__name__)


class TracedRun(Protocol):
    """What is asked of a run. It is known by itself: what is kept of it goes with it."""

    @property
    def graph(self) -> Graph:
        """What it runs."""

    @property
    def projection(self) -> RunProjection:
        """The run as far as it is durable."""


class Tracing:
    """Makes spans of runs and commands and gives them to `sink`; `now` gives milliseconds since the Unix epoch.

    A trace that comes with a command is recorded if its flag says so, and of those that begin here the `ratio` (0 to
    1). All methods are called in the engine's event loop.
    """

    def __init__(self, sink: SpanSink, ratio: float, now: Callable[[], int]) -> None:
        self._sink = sink
        self._ratio = ratio
        self._now = now
        self._runs: WeakKeyDictionary[TracedRun, RunSpans | None] = WeakKeyDictionary()

    def command(self, method: str, workflow_id: str, command_id: str, traceparent: str) -> CommandSpan:
        """Begins the span of a call of `method`; `traceparent` is what came with it, or empty."""
        parent = parse_traceparent(traceparent)
        span_id = secrets.token_hex(8)
        if parent is not None:
            context = parent.at(span_id)
        else:
            trace_id = secrets.token_hex(16)
            context = TraceContext(trace_id, span_id, chosen(trace_id, self._ratio))
        about: dict[str, Value] = {
            "rpc.system": "grpc",
            "rpc.service": _SERVICE,
            "rpc.method": method,
            "weftline.workflow.id": workflow_id,
            "weftline.command.id": command_id,
        }
        return CommandSpan(self._sink, self._now, context, parent, about)

    def committed(self, run: TracedRun, events: Sequence[Event]) -> None:
        """Takes in that events of a run are durable, before its projection does. Never raises."""
        try:
            spans = self._runs[run] if run in self._runs else self._add(run)
            if spans is None:
                return
            for span in spans.take(events):
                self._sink.export(span)
            if spans.context is None:
                # It has no trace, or one that is not recorded.
                self._runs[run] = None
        except Exception:
            # The run goes on; only its spans are missing.
            _log.exception("run %s of %s is traced no more", run.projection.run_id, run.projection.workflow_id)
            self._runs[run] = None

    def given_up(self, projection: RunProjection, events: Sequence[Event]) -> None:
        """Takes in the events that end a run which nobody can run any more. Never raises."""
        try:
            for span in RunSpans(projection, lambda _: "unknown").take(events):
                self._sink.export(span)
        except Exception:
            _log.exception("the end of run %s of %s is not traced", projection.run_id, projection.workflow_id)

    def _add(self, run: TracedRun) -> RunSpans:
        graph = run.graph
        spans = RunSpans(run.projection, lambda node_id: graph.nodes[graph.index[node_id]].type)
        self._runs[run] = spans
        return spans

    async def close(self, seconds: float) -> None:
        """Sends what was made, for at most so long."""
        await self._sink.close(seconds)


class CommandSpan:
    """The span of one call of a command, made when it begins; what the call begins is a part of it."""

    def __init__(
        self,
        sink: SpanSink,
        now: Callable[[], int],
        context: TraceContext,
        parent: TraceContext | None,
        attributes: dict[str, Value],
    ) -> None:
        self._sink = sink
        self._now = now
        self._context = context
        self._parent = parent
        self._begun = now()
        self._attributes = attributes
        self._links: tuple[TraceContext, ...] = ()

    @property
    def traceparent(self) -> str:
        """What is kept with a run that the command begins."""
        return self._context.traceparent

    def about(self, workflow_id: str, run_id: str, active: TracedRun | None) -> None:
        """Notes on which run the command acted, with a link to the run's own trace if that is another.

        `active` is the workflow's active run, if it has one.
        """
        self._attributes["weftline.workflow.id"] = workflow_id
        self._attributes["weftline.run.id"] = run_id
        if active is None or active.projection.run_id != run_id:
            return
        run = active.projection
        trace = parse_traceparent(run.trace)
        if trace is not None and trace.trace_id != self._context.trace_id:
            self._links = (trace.at(run_span_id(run_id, run.generation)),)

    def end(self, outcome: str) -> None:
        """The call is answered; `outcome` is `ok` or the code of its error."""
        if not self._context.sampled:
            return
        failed = "" if outcome == "ok" else outcome
        attributes = {**self._attributes, "weftline.outcome": outcome}
        if failed:
            attributes["error.type"] = failed
        method = f"{_SERVICE}/{attributes['rpc.method']}"
        links, ended = self._links, self._now()
        span = Span(
            method, self._context, self._parent, self._begun, ended, attributes, "server", links=links, failed=failed
        )
        self._sink.export(span)
