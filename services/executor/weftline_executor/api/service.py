"""WorkflowService: takes requests apart, asks the engine, and puts answers together."""

from __future__ import annotations

import functools
import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar, cast

import grpc
import msgspec
from grpc.aio import ServicerContext

from weftline.v1 import workflow_service_pb2 as pb
from weftline.v1.workflow_service_pb2_grpc import WorkflowServiceServicer
from weftline_executor.api import requests
from weftline_executor.api.artifacts import pieces
from weftline_executor.api.calls import Calls, Command, trace_of
from weftline_executor.api.plans import forecast, planned_nodes
from weftline_executor.api.snapshots import Snapshots
from weftline_executor.api.status import abort
from weftline_executor.api.translate import RUN_STATES, RUN_STATES_BACK, run_summary
from weftline_executor.api.watch import Watches
from weftline_executor.engine import CommandResult, Engine
from weftline_executor.engine.ids import new_run_id
from weftline_executor.errors import (
    ExecutorError,
    Internal,
    InvalidArgument,
    InvalidWorkflow,
    WorkflowNotFound,
)
from weftline_executor.graph.bodies import BODY_TYPES
from weftline_executor.metrics import Metrics
from weftline_executor.nodes import NodeType
from weftline_executor.tracing import Tracing

_PAUSE_MODES = requests.enum_names(pb.PauseMode.items())
_STOP_MODES = requests.enum_names(pb.StopMode.items())
MAX_COMMAND_ID = 128
MAX_BY = 256
MAX_REASON = 1024
MAX_EVENT = 256
MAX_DATA = 32_768
_MINTED_IDS = uuid.UUID("5d1c0f4e-6a3b-4c7e-9d0a-2f8b7c1e4a90")

_log = logging.getLogger(__name__)
_Request = TypeVar("_Request")
_Response = TypeVar("_Response")
_Method = Callable[[Any, _Request, ServicerContext[Any, Any]], Awaitable[_Response]]


def _answering(method: _Method[_Request, _Response]) -> _Method[_Request, _Response]:
    """Lets a method raise the executor's errors, which become statuses here."""

    @functools.wraps(method)
    async def answer(self: Any, request: _Request, context: ServicerContext[Any, Any]) -> _Response:
        try:
            return await method(self, request, context)
        except ExecutorError as error:
            await abort(context, error)
        except Exception:
            _log.exception("%s failed", method.__name__)
            await abort(context, Internal())

    return answer


class WorkflowService(WorkflowServiceServicer):
    """The servicer; `now` gives milliseconds since the Unix epoch, `tracing` takes what is called."""

    def __init__(
        self,
        engine: Engine,
        snapshots: Snapshots,
        watches: Watches,
        node_types: Iterable[NodeType],
        metrics: Metrics,
        now: Callable[[], int],
        tracing: Tracing | None = None,
    ) -> None:
        self._engine = engine
        self._snapshots = snapshots
        self._watches = watches
        self._node_types = node_types
        self._now = now
        self._calls = Calls(engine, metrics, tracing)

    @_answering
    async def StartWorkflow(  # type: ignore[override]  # it reads its request itself, see Registrar
        self, _requests: AsyncIterator[pb.StartWorkflowRequest], context: ServicerContext[Any, Any]
    ) -> pb.StartWorkflowResponse:
        """See the contract."""
        request = await context.read()
        if request is grpc.aio.EOF:
            raise InvalidArgument("definition_json", "there is no request")
        workflow_id = request.workflow_id or self._mint_workflow_id(request.command_id)
        requests.check_id("workflow_id", workflow_id)
        _check_command(request)
        span = self._calls.span(request, context)
        start = self._engine.commands.start(
            workflow_id,
            request.definition_json.encode(),
            by=request.by,
            command_id=request.command_id,
            trace=trace_of(span),
        )
        # The run has a definition of its own, and the answer comes when that is on disk.
        del request
        result = await self._calls.made("start", start, span)
        return pb.StartWorkflowResponse(result=self._result(result), attached=result.attached)

    @_answering
    async def PauseWorkflow(
        self, request: pb.PauseWorkflowRequest, context: ServicerContext[Any, Any]
    ) -> pb.PauseWorkflowResponse:
        """See the contract."""
        _check_command(request)
        requests.check_enum("mode", request.mode, _PAUSE_MODES)
        pause = self._engine.commands.pause(
            request.workflow_id,
            by=request.by,
            reason=request.reason,
            command_id=request.command_id,
            immediate=request.mode == pb.PAUSE_MODE_IMMEDIATE,
        )
        result = await self._calls.made("pause", pause, self._calls.span(request, context))
        return pb.PauseWorkflowResponse(result=self._result(result))

    @_answering
    async def ResumeWorkflow(
        self, request: pb.ResumeWorkflowRequest, context: ServicerContext[Any, Any]
    ) -> pb.ResumeWorkflowResponse:
        """See the contract."""
        _check_command(request)
        resume = self._engine.commands.resume(
            request.workflow_id, by=request.by, reason=request.reason, command_id=request.command_id
        )
        result = await self._calls.made("resume", resume, self._calls.span(request, context))
        return pb.ResumeWorkflowResponse(result=self._result(result))

    @_answering
    async def StopWorkflow(
        self, request: pb.StopWorkflowRequest, context: ServicerContext[Any, Any]
    ) -> pb.StopWorkflowResponse:
        """See the contract."""
        _check_command(request)
        requests.check_enum("mode", request.mode, _STOP_MODES)
        grace = request.grace_ms if request.HasField("grace_ms") else requests.DEFAULT_GRACE_MS
        if not 0 <= grace <= requests.MAX_GRACE_MS:
            raise InvalidArgument("grace_ms", f"expected 0 to {requests.MAX_GRACE_MS}, got {grace}")
        stop = self._engine.commands.stop(
            request.workflow_id,
            by=request.by,
            reason=request.reason,
            command_id=request.command_id,
            grace_ms=None if request.mode == pb.STOP_MODE_TERMINATE else grace,
        )
        result = await self._calls.made("stop", stop, self._calls.span(request, context))
        return pb.StopWorkflowResponse(result=self._result(result))

    @_answering
    async def RetryWorkflow(
        self, request: pb.RetryWorkflowRequest, context: ServicerContext[Any, Any]
    ) -> pb.RetryWorkflowResponse:
        """See the contract."""
        _check_command(request)
        retry = self._engine.commands.retry(
            request.workflow_id, by=request.by, reason=request.reason, command_id=request.command_id
        )
        result = await self._calls.made("retry", retry, self._calls.span(request, context))
        return pb.RetryWorkflowResponse(result=self._result(result))

    @_answering
    async def CompleteNode(
        self, request: pb.CompleteNodeRequest, context: ServicerContext[Any, Any]
    ) -> pb.CompleteNodeResponse:
        """See the contract."""
        _check_command(request)
        if bool(request.node_id) is bool(request.event):
            raise InvalidArgument("node_id", "expected a node or an event, and not both")
        complete = self._engine.commands.complete(
            request.workflow_id,
            node_id=request.node_id,
            event=requests.check_length("event", request.event, MAX_EVENT),
            data=requests.check_json("data_json", request.data_json, MAX_DATA),
            by=request.by,
            command_id=request.command_id,
        )
        result = await self._calls.made("complete", complete, self._calls.span(request, context))
        return pb.CompleteNodeResponse(result=self._result(result))

    @_answering
    async def RerunWorkflow(
        self, request: pb.RerunWorkflowRequest, context: ServicerContext[Any, Any]
    ) -> pb.RerunWorkflowResponse:
        """See the contract."""
        _check_command(request)
        span = self._calls.span(request, context)
        rerun = self._engine.commands.rerun(
            request.workflow_id,
            from_node=request.from_node_id,
            by=request.by,
            command_id=request.command_id,
            trace=trace_of(span),
        )
        return pb.RerunWorkflowResponse(result=self._result(await self._calls.made("rerun", rerun, span)))

    async def ReadArtifact(
        self, request: pb.ReadArtifactRequest, context: ServicerContext[Any, Any]
    ) -> AsyncIterator[pb.ReadArtifactResponse]:
        """See the contract."""
        try:
            async for piece in pieces(self._engine.artifacts, request.uri):
                yield pb.ReadArtifactResponse(data=piece)
        except ExecutorError as error:
            await abort(context, error)

    @_answering
    async def GetWorkflow(
        self, request: pb.GetWorkflowRequest, context: ServicerContext[Any, Any]
    ) -> pb.GetWorkflowResponse:
        """See the contract."""
        requests.check_id("workflow_id", request.workflow_id)
        snapshot, path = await self._snapshots.with_path(request.workflow_id)
        return pb.GetWorkflowResponse(snapshot=snapshot, critical_path=planned_nodes(path))

    @_answering
    async def ListWorkflows(
        self, request: pb.ListWorkflowsRequest, context: ServicerContext[Any, Any]
    ) -> pb.ListWorkflowsResponse:
        """See the contract."""
        size = requests.page_size(request.page_size)
        if unknown := set(request.states) - RUN_STATES_BACK.keys():
            raise InvalidArgument("states", f"no run can be in state {min(unknown)}")
        states = frozenset(RUN_STATES_BACK[state] for state in request.states)
        before = requests.read_started_token(request.page_token)
        prefix = requests.check_length("id_prefix", request.id_prefix, 128)
        bodies = request.include_bodies
        found = await self._engine.store.workflows(states, prefix, before, size + 1, bodies)
        token = requests.write_token(found[size - 1].started_at, found[size - 1].run_id) if len(found) > size else ""
        return pb.ListWorkflowsResponse(
            workflows=[run_summary(record) for record in found[:size]], next_page_token=token
        )

    @_answering
    async def ListRuns(self, request: pb.ListRunsRequest, context: ServicerContext[Any, Any]) -> pb.ListRunsResponse:
        """See the contract."""
        requests.check_id("workflow_id", request.workflow_id)
        size = requests.page_size(request.page_size)
        before = requests.read_seq_token(request.page_token)
        found = await self._engine.store.runs(request.workflow_id, before, size + 1)
        if not found and before is None:
            raise WorkflowNotFound(request.workflow_id)
        token = requests.write_token(found[size - 1].first_seq) if len(found) > size else ""
        return pb.ListRunsResponse(runs=[run_summary(record) for record in found[:size]], next_page_token=token)

    @_answering
    async def ValidateWorkflow(
        self, request: pb.ValidateWorkflowRequest, context: ServicerContext[Any, Any]
    ) -> pb.ValidateWorkflowResponse:
        """See the contract."""
        try:
            graph = await self._engine.compile(request.definition_json.encode())
        except InvalidWorkflow as error:
            return pb.ValidateWorkflowResponse(
                faults=[
                    pb.Fault(path=fault.path, code=fault.code, message=fault.message, node_id=fault.node_id)
                    for fault in error.faults
                ]
            )
        plan = forecast(await self._engine.planner.plan(graph)) if request.simulate else None
        return pb.ValidateWorkflowResponse(total_nodes=len(graph), total_edges=len(graph.edges), forecast=plan)

    @_answering
    async def ListNodeTypes(
        self, request: pb.ListNodeTypesRequest, context: ServicerContext[Any, Any]
    ) -> pb.ListNodeTypesResponse:
        """See the contract."""
        return pb.ListNodeTypesResponse(node_types=[_node_type(node_type) for node_type in self._node_types])

    async def WatchEvents(  # type: ignore[override]  # responses are encoded already, see Registrar
        self, request: pb.WatchEventsRequest, context: ServicerContext[Any, Any]
    ) -> AsyncIterator[bytes]:
        """See the contract."""
        try:
            async for response in self._watches.serve(request):
                yield response
        except ExecutorError as error:
            await abort(context, error)

    def _mint_workflow_id(self, command_id: str) -> str:
        """An id for a workflow that has none: the same one when the same command comes again."""
        return str(uuid.uuid5(_MINTED_IDS, command_id)) if command_id else new_run_id(self._now())

    def _result(self, result: CommandResult) -> pb.CommandResult:
        return pb.CommandResult(
            workflow_id=result.workflow_id,
            run_id=result.run_id,
            state=RUN_STATES[result.state],
            seq=result.seq,
            epoch=self._engine.store.epoch,
        )


class Registrar:
    """Stands for the server while the generated code registers the service, to change two things.

    StartWorkflow takes a stream of requests, which on the wire is the same: gRPC keeps a request that it reads for a
    method until that has answered, and a definition can be large. The responses of WatchEvents go out as they are:
    their events were encoded once for all watchers.
    """

    def __init__(self, server: grpc.aio.Server) -> None:
        self._server = server

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Passes nothing on: the registered handlers below are the same."""

    def add_registered_method_handlers(
        self, service: str, handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]]
    ) -> None:
        """Registers the handlers: StartWorkflow's for streams, WatchEvents' without a serializer of responses."""
        start, watch = handlers["StartWorkflow"], handlers["WatchEvents"]
        streamed: grpc.RpcMethodHandler[Any, Any] = grpc.stream_unary_rpc_method_handler(
            cast("Callable[..., Any]", start.unary_unary), start.request_deserializer, start.response_serializer
        )
        raw: grpc.RpcMethodHandler[Any, Any] = grpc.unary_stream_rpc_method_handler(
            cast("Callable[..., Any]", watch.unary_stream), watch.request_deserializer, None
        )
        changed = {**handlers, "StartWorkflow": streamed, "WatchEvents": raw}
        self._server.add_registered_method_handlers(service, changed)


def _check_command(request: Command) -> None:
    if not isinstance(request, pb.StartWorkflowRequest):
        requests.check_id("workflow_id", request.workflow_id)
    if not isinstance(request, pb.StartWorkflowRequest | pb.RerunWorkflowRequest | pb.CompleteNodeRequest):
        requests.check_length("reason", request.reason, MAX_REASON)
    requests.check_length("command_id", request.command_id, MAX_COMMAND_ID)
    requests.check_length("by", request.by, MAX_BY)


def _node_type(node_type: NodeType) -> pb.NodeType:
    return pb.NodeType(
        name=node_type.name,
        title=node_type.title,
        description=node_type.description,
        config_schema_json=msgspec.json.encode(node_type.config_schema).decode(),
        output_handles=node_type.outputs,
        dynamic_handles=node_type.dynamic_handles,
        idempotency=node_type.idempotency,
        isolation=node_type.isolation,
        has_body=node_type.name in BODY_TYPES,
    )
