"""Traces, where they are asked for: what becomes of a run as spans, which other tools show beside their own."""

from weftline_executor.tracing.context import (
    TraceContext,
    attempt_traceparent,
    parse_traceparent,
    recorded_trace,
)
from weftline_executor.tracing.span import Span, SpanEvent, SpanSink
from weftline_executor.tracing.tracing import CommandSpan, Tracing

__all__ = [
    "CommandSpan",
    "Span",
    "SpanEvent",
    "SpanSink",
    "TraceContext",
    "Tracing",
    "attempt_traceparent",
    "parse_traceparent",
    "recorded_trace",
]
