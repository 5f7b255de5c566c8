"""An executor without an engine: it serves the events that a test publishes, cuts streams, and refuses on demand."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from tests.unit.cli import events as make
from weftline.v1 import events_pb2 as ev
from weftline.v1 import workflow_service_pb2 as ws
from weftline.v1 import workflow_service_pb2_grpc as ws_grpc


class FakeExecutor(ws_grpc.WorkflowServiceServicer):
    """One workflow's log, served as the contract says.

    `on_start` is published by a start. `cuts` holds, for each watch to come, after how many events its stream breaks;
    once it is empty no stream breaks. After `compacted_after` watches no cursor is good any more. `refusal` is the
    status of every unary call while it is set. An `artifact` is served in its pieces, broken off at None.
    """

    def __init__(self) -> None:
        self.address = ""
        self.log: list[ev.Event] = []
        self.on_start: list[ev.Event] = []
        self.attach = False
        self.state: ws.WorkflowSnapshot | None = None
        self.cuts: deque[int] = deque()
        self.compacted_after: int | None = None
        self.refusal: status_pb2.Status | None = None
        self.faults: list[ws.Fault] = []
        self.artifact: Sequence[bytes | None] = ()
        self.critical_path: list[ws.PlannedNode] = []
        self.forecast = ws.Forecast()
        self.summaries: list[ws.RunSummary] = []
        self.node_types: list[ws.NodeType] = []
        self.page_size = 2
        self.requests: list[Any] = []
        self._changed = asyncio.Event()
        self._watched = asyncio.Event()

    @property
    def watches(self) -> list[ws.WatchEventsRequest]:
        """The watches that were asked for, oldest first."""
        return [request for request in self.requests if isinstance(request, ws.WatchEventsRequest)]

    def publish(self, *events: ev.Event) -> None:
        """Add events to the log, for every watch that follows it."""
        self.log += events
        self._changed.set()
        self._changed = asyncio.Event()

    async def watched(self) -> None:
        """Wait until somebody watches."""
        async with asyncio.timeout(30):
            await self._watched.wait()

    async def StartWorkflow(self, request: Any, context: Any) -> ws.StartWorkflowResponse:  # noqa: N802
        await self._note(request, context)
        if self.faults:
            await context.abort_with_status(rpc_status.to_status(refusal_for(self.faults[:1])))
        first = self.on_start[0].seq if self.on_start else self._head() + 1
        self.publish(*self.on_start)
        result = ws.CommandResult(
            workflow_id=request.workflow_id or "minted",
            run_id=self.state.run_id if self.attach and self.state else make.RUN,
            state=ev.RUN_STATE_RUNNING,
            seq=first,
            epoch=make.EPOCH,
        )
        return ws.StartWorkflowResponse(result=result, attached=self.attach)

    async def PauseWorkflow(self, request: Any, context: Any) -> ws.PauseWorkflowResponse:  # noqa: N802
        await self._note(request, context)
        return ws.PauseWorkflowResponse(result=self._result(ev.RUN_STATE_PAUSING))

    async def ResumeWorkflow(self, request: Any, context: Any) -> ws.ResumeWorkflowResponse:  # noqa: N802
        await self._note(request, context)
        return ws.ResumeWorkflowResponse(result=self._result(ev.RUN_STATE_RUNNING))

    async def StopWorkflow(self, request: Any, context: Any) -> ws.StopWorkflowResponse:  # noqa: N802
        await self._note(request, context)
        return ws.StopWorkflowResponse(result=self._result(ev.RUN_STATE_STOPPING))

    async def RetryWorkflow(self, request: Any, context: Any) -> ws.RetryWorkflowResponse:  # noqa: N802
        await self._note(request, context)
        return ws.RetryWorkflowResponse(result=self._result(ev.RUN_STATE_RUNNING))

    async def RerunWorkflow(self, request: Any, context: Any) -> ws.RerunWorkflowResponse:  # noqa: N802
        await self._note(request, context)
        result = self._result(ev.RUN_STATE_RUNNING)
        result.seq = self.on_start[0].seq if self.on_start else result.seq
        self.publish(*self.on_start)
        return ws.RerunWorkflowResponse(result=result)

    async def CompleteNode(self, request: Any, context: Any) -> ws.CompleteNodeResponse:  # noqa: N802
        await self._note(request, context)
        return ws.CompleteNodeResponse(result=self._result(ev.RUN_STATE_RUNNING))

    async def ReadArtifact(  # noqa: N802
        self, request: Any, context: Any
    ) -> AsyncIterator[ws.ReadArtifactResponse]:
        await self._note(request, context)
        for piece in self.artifact:
            if piece is None:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "the stream was cut")
                return
            yield ws.ReadArtifactResponse(data=piece)

    async def GetWorkflow(self, request: Any, context: Any) -> ws.GetWorkflowResponse:  # noqa: N802
        await self._note(request, context)
        if self.state is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no run of workflow '{request.workflow_id}' is known")
        return ws.GetWorkflowResponse(snapshot=self.state, critical_path=self.critical_path)

    async def ListWorkflows(self, request: Any, context: Any) -> ws.ListWorkflowsResponse:  # noqa: N802
        await self._note(request, context)
        at = int(request.page_token or 0)
        page = self.summaries[at : at + self.page_size]
        more = str(at + self.page_size) if at + self.page_size < len(self.summaries) else ""
        return ws.ListWorkflowsResponse(workflows=page, next_page_token=more)

    async def ListRuns(self, request: Any, context: Any) -> ws.ListRunsResponse:  # noqa: N802
        await self._note(request, context)
        return ws.ListRunsResponse(runs=self.summaries)

    async def ValidateWorkflow(self, request: Any, context: Any) -> ws.ValidateWorkflowResponse:  # noqa: N802
        await self._note(request, context)
        forecast = self.forecast if request.simulate else None
        return ws.ValidateWorkflowResponse(faults=self.faults, total_nodes=2, total_edges=1, forecast=forecast)

    async def ListNodeTypes(self, request: Any, context: Any) -> ws.ListNodeTypesResponse:  # noqa: N802
        await self._note(request, context)
        return ws.ListNodeTypesResponse(node_types=self.node_types)

    async def WatchEvents(self, request: Any, context: Any) -> AsyncIterator[ws.WatchEventsResponse]:  # noqa: N802
        self.requests.append(request)
        cut = self.cuts.popleft() if self.cuts else None
        begin = request.start_from
        at = self._place_after(request.cursor.seq) if begin == ws.WATCH_FROM_CURSOR else len(self.log)
        yield ws.WatchEventsResponse(
            created=ws.WatchCreated(epoch=make.EPOCH, seq=self._head(), heartbeat_interval_ms=10_000)
        )
        compacted = self.compacted_after is not None and len(self.watches) > self.compacted_after
        if compacted:
            yield ws.WatchEventsResponse(compacted=ws.WatchCompacted(reason=ws.COMPACTED_REASON_RETENTION))
        if (begin == ws.WATCH_FROM_SNAPSHOT or compacted) and self.state is not None:
            at = self._place_after(self.state.seq)
            yield ws.WatchEventsResponse(snapshot=self.state)
        self._watched.set()
        sent = 0
        while True:
            changed = self._changed
            for event in self.log[at:]:
                if sent == cut:
                    await context.abort(grpc.StatusCode.UNAVAILABLE, "the stream was cut")
                yield ws.WatchEventsResponse(events=[event])
                sent += 1
                at += 1
            if request.until_head:
                return
            await changed.wait()

    async def _note(self, request: Message, context: Any) -> None:
        self.requests.append(request)
        if self.refusal is not None:
            await context.abort_with_status(rpc_status.to_status(self.refusal))

    def _head(self) -> int:
        return max([self.state.seq if self.state else 0, *(event.seq for event in self.log)])

    def _place_after(self, seq: int) -> int:
        return next((at for at, event in enumerate(self.log) if event.seq > seq), len(self.log))

    def _result(self, state: ev.RunState.ValueType) -> ws.CommandResult:
        return ws.CommandResult(workflow_id=make.WORKFLOW, run_id=make.RUN, state=state, seq=9, epoch=make.EPOCH)


def refused(code: grpc.StatusCode, message: str, reason: str) -> status_pb2.Status:
    """A status with an ErrorInfo."""
    return _status(code, message, error_details_pb2.ErrorInfo(reason=reason, domain="weftline"))


def refusal_for(faults: list[ws.Fault]) -> status_pb2.Status:
    """The status of a start that is refused for the faults of its workflow."""
    violations = [
        error_details_pb2.BadRequest.FieldViolation(field=fault.path, description=fault.message, reason=fault.code)
        for fault in faults
    ]
    bad_request = error_details_pb2.BadRequest(field_violations=violations)
    return _status(grpc.StatusCode.INVALID_ARGUMENT, "the workflow is not valid", bad_request)


def _status(code: grpc.StatusCode, message: str, detail: Message) -> status_pb2.Status:
    packed = any_pb2.Any()
    packed.Pack(detail)
    return status_pb2.Status(code=code.value[0], message=message, details=[packed])


@asynccontextmanager
async def serving(executor: FakeExecutor) -> AsyncIterator[FakeExecutor]:
    """Serve a fake executor at a free port of the loopback, which its `address` then names."""
    server = grpc.aio.server()
    ws_grpc.add_WorkflowServiceServicer_to_server(executor, server)
    executor.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield executor
    finally:
        await server.stop(None)
