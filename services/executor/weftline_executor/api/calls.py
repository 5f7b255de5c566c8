"""The calls of commands: how they end is counted, and where there is tracing each is a span."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from grpc.aio import ServicerContext

from weftline.v1 import workflow_service_pb2 as pb
from weftline_executor.engine import CommandResult, Engine
from weftline_executor.errors import ExecutorError
from weftline_executor.metrics import Metrics
from weftline_executor.tracing import CommandSpan, Tracing

Command = (
    pb.StartWorkflowRequest
    | pb.PauseWorkflowRequest
    | pb.ResumeWorkflowRequest
    | pb.StopWorkflowRequest
    | pb.RetryWorkflowRequest
    | pb.RerunWorkflowRequest
    | pb.CompleteNodeRequest
)


class Calls:
    """Counts calls in `metrics`, and tells `tracing` of them."""

    def __init__(self, engine: Engine, metrics: Metrics, tracing: Tracing | None) -> None:
        self._engine = engine
        self._metrics = metrics
        self._tracing = tracing

    def span(self, request: Command, context: ServicerContext[Any, Any]) -> CommandSpan | None:
        """The span of a call, where there is tracing; it begins now."""
        if self._tracing is None:
            return None
        method = type(request).__name__.removesuffix("Request")
        return self._tracing.command(method, request.workflow_id, request.command_id, _traceparent(context))

    async def made(self, command: str, work: Awaitable[CommandResult], span: CommandSpan | None) -> CommandResult:
        """Waits for what a command does. Raises what that raises."""
        outcome = "internal"
        try:
            result = await work
            outcome = "ok"
            if span is not None:
                span.about(result.workflow_id, result.run_id, self._engine.active(result.workflow_id))
        except ExecutorError as error:
            outcome = error.code
            raise
        finally:
            self._metrics.commands.labels(command, outcome).inc()
            if span is not None:
                span.end(outcome)
        return result


def trace_of(span: CommandSpan | None) -> str:
    """What is kept with a run that a call begins; empty where there is no tracing."""
    return span.traceparent if span is not None else ""


def _traceparent(context: ServicerContext[Any, Any]) -> str:
    """The `traceparent` that came with a call; empty for none, or more than one."""
    found = [value for key, value in context.invocation_metadata() or () if key == "traceparent"]
    return found[0] if len(found) == 1 and isinstance(found[0], str) else ""
