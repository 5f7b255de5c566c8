"""Sends spans over OTLP with OpenTelemetry's SDK, the only place that knows it; imported only where tracing is on."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Mapping
from contextlib import suppress

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from weftline_executor.errors import SettingInvalid
from weftline_executor.tracing.context import TraceContext
from weftline_executor.tracing.span import Kind, Span

_KINDS: Mapping[Kind, SpanKind] = {"internal": SpanKind.INTERNAL, "server": SpanKind.SERVER}
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_NS_PER_MS = 1_000_000
_log = logging.getLogger(__name__)


class OtlpSink:
    """Gives spans to the SDK, whose bounded queue and thread send them; the variables `OTEL_*` say where and how.

    `service` and `version` name the resource unless those variables do. Raises SettingInvalid for variables that can't
    be used. Called in one thread.
    """

    def __init__(self, service: str, version: str) -> None:
        for name in _PROTOCOLS:
            if os.environ.get(name, "grpc") != "grpc":
                raise SettingInvalid(f"{name}: spans are sent by grpc only, got {os.environ[name]!r}")
        named = Resource.create({"service.name": service, "service.version": version})
        self._ids = _GivenIds()
        self._provider = TracerProvider(
            # What is to be recorded was decided before it comes here.
            sampler=ALWAYS_ON,
            resource=named.merge(OTELResourceDetector().detect()),
            shutdown_on_exit=False,
            id_generator=self._ids,
        )
        try:
            self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        except (ValueError, OSError) as error:
            raise SettingInvalid(f"the variables OTEL_*: {error}") from error
        self._tracer = self._provider.get_tracer("weftline", version)

    def export(self, span: Span) -> None:
        """See SpanSink."""
        try:
            self._export(span)
        except Exception:
            _log.exception("a span of %s is lost", span.name)

    def _export(self, span: Span) -> None:
        self._ids.of = span.context
        begun = self._tracer.start_span(
            span.name,
            context=_within(span.parent, remote=span.kind == "server"),
            kind=_KINDS[span.kind],
            attributes=span.attributes,
            links=[Link(_known(each)) for each in span.links],
            start_time=span.begun * _NS_PER_MS,
        )
        for event in span.events:
            begun.add_event(event.name, event.attributes, event.at * _NS_PER_MS)
        if span.failed:
            begun.set_status(Status(StatusCode.ERROR, span.failed))
        # A clock that was set back makes no span that ends before it began.
        begun.end(max(span.begun, span.ended) * _NS_PER_MS)

    async def close(self, seconds: float) -> None:
        """See SpanSink. The SDK would wait for longer, so that it is left behind then."""
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


class _GivenIds(IdGenerator):
    """Gives the ids of the span that is about to begin, where the SDK would make some up."""

    def __init__(self) -> None:
        self.of = TraceContext("", "", False)

    def generate_span_id(self) -> int:
        return int(self.of.span_id, 16)

    def generate_trace_id(self) -> int:
        return int(self.of.trace_id, 16)


def _within(parent: TraceContext | None, remote: bool) -> Context:
    return Context() if parent is None else set_span_in_context(NonRecordingSpan(_known(parent, remote)), Context())


def _known(context: TraceContext, remote: bool = False) -> SpanContext:
    flags = TraceFlags(TraceFlags.SAMPLED if context.sampled else TraceFlags.DEFAULT)
    return SpanContext(int(context.trace_id, 16), int(context.span_id, 16), remote, flags)
