"""A little collector that takes spans over OTLP, for tests that look at what the services trace."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as pb_grpc
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2

WAIT_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Received:
    """A span as it arrived: ids in hexadecimal, times in ns, `events` as (name, attributes), `links` as trace ids."""

    service: str
    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    begun: int
    ended: int
    attributes: dict[str, Any]
    events: list[tuple[str, dict[str, Any]]]
    links: list[str]
    error: str | None

    @property
    def node(self) -> tuple[str, int]:
        """The node and the number of the attempt that it is about."""
        return self.attributes["weftline.node.id"], self.attributes["weftline.node.attempt"]


@dataclass(slots=True)
class Collector(pb_grpc.TraceServiceServicer):
    """What has arrived; `endpoint` is what services are told."""

    endpoint: str = ""
    spans: list[Received] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)
    arrived: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def Export(  # noqa: N802 - named by OTLP
        self, request: pb.ExportTraceServiceRequest, context: Any
    ) -> pb.ExportTraceServiceResponse:
        """Takes spans."""
        async with self.arrived:
            self.raw.append(request.SerializeToString())
            self.spans += [
                _received(span, _plain(resource.resource.attributes)["service.name"])
                for resource in request.resource_spans
                for scope in resource.scope_spans
                for span in scope.spans
            ]
            self.arrived.notify_all()
        return pb.ExportTraceServiceResponse()

    async def until(self, met: Callable[[Received], bool]) -> Received:
        """Waits for a span for which `met` holds, and gives it. Raises TimeoutError when none comes."""
        async with asyncio.timeout(WAIT_SECONDS), self.arrived:
            while (found := next(filter(met, self.spans), None)) is None:
                await self.arrived.wait()
        return found

    async def named(self, name: str) -> Received:
        """Waits for a span of this name."""
        return await self.until(lambda span: span.name == name)

    async def attempt(self, node_id: str, number: int = 1) -> Received:
        """Waits for the span of an attempt."""
        return await self.until(lambda span: span.name.startswith("node ") and span.node == (node_id, number))


def _plain(attributes: Any) -> dict[str, Any]:
    return {each.key: _value(each) for each in attributes}


def _value(attribute: KeyValue) -> Any:
    return getattr(attribute.value, attribute.value.WhichOneof("value") or "string_value")


def _received(span: trace_pb2.Span, service: str) -> Received:
    failed = span.status.code == trace_pb2.Status.STATUS_CODE_ERROR
    return Received(
        service,
        span.name,
        trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        _plain(span.attributes),
        [(event.name, _plain(event.attributes)) for event in span.events],
        [link.trace_id.hex() for link in span.links],
        span.status.message if failed else None,
    )


@asynccontextmanager
async def collector(port: int = 0) -> AsyncIterator[Collector]:
    """A collector that serves on loopback until the block ends."""
    server, taken = grpc.aio.server(), Collector()
    pb_grpc.add_TraceServiceServicer_to_server(taken, server)  # type: ignore[no-untyped-call]
    taken.endpoint = f"http://127.0.0.1:{server.add_insecure_port(f'127.0.0.1:{port}')}"
    await server.start()
    try:
        yield taken
    finally:
        await server.stop(None)
