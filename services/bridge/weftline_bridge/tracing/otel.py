"""Sends spans over OTLP with OpenTelemetry's SDK, the only place that knows it; imported only where tracing is on."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from contextlib import suppress

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from weftline_bridge.errors import ConfigurationError

_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_log = logging.getLogger(__name__)


class OtlpTracer:
    """Makes spans with the SDK, whose bounded queue and thread send them; the variables `OTEL_*` say where and how.

    A trace that comes with a command is recorded if its flag says so, and of those that begin here the `ratio` (0 to
    1). Raises ConfigurationError for variables that can't be used.
    """

    def __init__(self, ratio: float, version: str) -> None:
        for name in _PROTOCOLS:
            if os.environ.get(name, "grpc") != "grpc":
                raise ConfigurationError(name, f"spans are sent by grpc only (got {os.environ[name]!r})")
        named = Resource.create({"service.name": "weftline-bridge", "service.version": version})
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(ratio)),
            resource=named.merge(OTELResourceDetector().detect()),
            shutdown_on_exit=False,
        )
        try:
            self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        except (ValueError, OSError) as error:
            raise ConfigurationError("OTEL_*", str(error)) from error
        self._tracer = self._provider.get_tracer("weftline", version)

    def begin(self, kind: str, workflow_id: str, command_id: str, traceparent: str) -> OtlpCommandSpan:
        """See Tracer."""
        attributes = {"weftline.workflow.id": workflow_id, "weftline.command.id": command_id}
        span = self._tracer.start_span(kind, _within(traceparent), SpanKind.SERVER, attributes)
        return OtlpCommandSpan(span, traceparent)

    async def close(self, seconds: float) -> None:
        """See Tracer. The SDK would wait for longer, so that it is left behind then."""
        loop, closed = asyncio.get_running_loop(), asyncio.Event()

        def close() -> None:
            self._provider.shutdown()
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(closed.set)

        threading.Thread(target=close, name="tracing-close", daemon=True).start()
        try:
            await asyncio.wait_for(closed.wait(), seconds)
        except TimeoutError:
            _log.warning("spans that could not be sent within %g s are lost", seconds)


class OtlpCommandSpan:
    """See CommandSpan; `given` is passed on where the variable `OTEL_SDK_DISABLED` leaves no span."""

    __slots__ = ("_given", "_span")

    def __init__(self, span: Span, given: str) -> None:
        self._span = span
        self._given = given

    @property
    def traceparent(self) -> str:
        """See CommandSpan."""
        context = self._span.get_span_context()
        if not context.is_valid:
            return self._given
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags.sampled):02x}"

    def end(self, outcome: str, code: str = "") -> None:
        """See CommandSpan."""
        self._span.set_attribute("weftline.outcome", outcome)
        if code:
            self._span.set_attribute("error.type", code)
            self._span.set_status(Status(StatusCode.ERROR, code))
        self._span.end()


def _within(traceparent: str) -> Context:
    if not traceparent:
        return Context()
    _, trace_id, span_id, flags = traceparent.split("-")[:4]
    sampled = TraceFlags.SAMPLED & int(flags, 16)
    parent = SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(sampled))
    return set_span_in_context(NonRecordingSpan(parent), Context())
