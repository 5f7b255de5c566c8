"""A real gRPC server that plays the executor for tests: it does what the test says, and breaks when told to."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any, NoReturn

import grpc
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc import aio
from grpc_status import rpc_status

from tests.support.scripted_log import Commit, Payload, ScriptedLog
from weftline.v1 import events_pb2 as ev
from weftline.v1 import workflow_service_pb2 as pb
from weftline.v1 import workflow_service_pb2_grpc

Context = grpc.aio.ServicerContext[Any, Any]

_BATCH = 200


class Watch:
    """One open stream: what it still has to send."""

    def __init__(self, request: pb.WatchEventsRequest) -> None:
        self.request = request
        self.queue: asyncio.Queue[pb.WatchEventsResponse | None] = asyncio.Queue()

    def wants(self, workflow_id: str) -> bool:
        """Whether events of this workflow belong in the stream."""
        return self.request.workflow_id in ("", workflow_id)


class ScriptedExecutor(workflow_service_pb2_grpc.WorkflowServiceServicer):
    """The service over a log in memory.

    `calls` counts calls by method, and watches that are not the bridge's pulse as `watch:<workflow or *>`.
    `commands` are the command requests in the order in which they came; `refusals` (by method) are
    answered instead of carrying the next one out. `artifacts` are served in their pieces, broken off at None;
    `pieces` counts those that were sent.
    """

    def __init__(self, *, heartbeat_ms: int = 1000) -> None:
        self.log = ScriptedLog()
        self.heartbeat_ms = heartbeat_ms
        self.silent = False
        self.calls: Counter[str] = Counter()
        self.commands: list[Any] = []
        self.refusals: dict[str, status_pb2.Status] = {}
        self.artifacts: dict[str, Sequence[bytes | None]] = {}
        self.pieces = 0
        self.hold_commands = asyncio.Event()
        self.hold_commands.set()
        self.snapshot_gate = asyncio.Event()
        self.snapshot_gate.set()
        self.watch_all_gate = asyncio.Event()
        self.watch_all_gate.set()
        self.watches: list[Watch] = []
        self.port = 0
        self._server: aio.Server | None = None
        self._seen: dict[str, pb.CommandResult] = {}

    @property
    def address(self) -> str:
        """host:port."""
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen, on the same port as before if there was one."""
        server = aio.server(options=[("grpc.http2.min_ping_interval_without_data_ms", 5000), ("grpc.so_reuseport", 0)])
        workflow_service_pb2_grpc.add_WorkflowServiceServicer_to_server(self, server)
        self.port = server.add_insecure_port(f"127.0.0.1:{self.port}")
        await server.start()
        self._server = server

    async def stop(self) -> None:
        """End all calls and stop listening."""
        if self._server is not None:
            self.cut()
            await self._server.stop(0)
            self._server = None

    def append(self, workflow_id: str, *payloads: Payload) -> Commit:
        """Append durable events as one batch and send it to the watches."""
        commit = self.log.append(workflow_id, list(payloads))
        for watch in self.watches:
            if watch.wants(workflow_id):
                watch.queue.put_nowait(pb.WatchEventsResponse(events=commit.events, commit=commit.number))
        return commit

    def tell(self, workflow_id: str, *payloads: Payload) -> None:
        """Send telemetry to the watches that want it."""
        events = [self.log.telemetry(workflow_id, payload) for payload in payloads]
        for watch in self.watches:
            if watch.wants(workflow_id) and watch.request.telemetry:
                watch.queue.put_nowait(pb.WatchEventsResponse(events=events))

    def send_raw(self, workflow_id: str, *events: ev.Event) -> None:
        """Send events that are in no log."""
        for watch in self.watches:
            if watch.wants(workflow_id):
                watch.queue.put_nowait(pb.WatchEventsResponse(events=events))

    def cut(self) -> None:
        """Break all streams."""
        for watch in self.watches:
            watch.queue.put_nowait(None)

    def compact(self, workflow_id: str) -> None:
        """Forget the events of a workflow, but not its state; positions in the order of commits are gone too."""
        workflow = self.log.workflows[workflow_id]
        workflow.compacted = workflow.head
        self.log.oldest_commit = len(self.log.commits)

    def wipe(self) -> None:
        """Begin a new, empty log."""
        self.log = ScriptedLog()

    def refuse(self, method: str, code: int, reason: str, message: str, *faults: tuple[str, str, str]) -> None:
        """Answer the next call of `method` with an error; faults are (field, reason, description)."""
        details = [any_pb2.Any(), any_pb2.Any()]
        details[0].Pack(error_details_pb2.ErrorInfo(reason=reason, domain="weftline"))
        violation = error_details_pb2.BadRequest.FieldViolation
        violations = [violation(field=field, reason=name, description=text) for field, name, text in faults]
        details[1].Pack(error_details_pb2.BadRequest(field_violations=violations))
        self.refusals[method] = status_pb2.Status(code=code, message=message, details=details)

    async def WatchEvents(  # noqa: N802
        self, request: pb.WatchEventsRequest, context: Context
    ) -> AsyncIterator[pb.WatchEventsResponse]:
        watch = Watch(request)
        pulse = request.workflow_id.startswith("weftline:pulse:")
        self.calls["pulse" if pulse else f"watch:{request.workflow_id or '*'}"] += 1
        if not request.workflow_id:
            await self.watch_all_gate.wait()
        # From here on nothing is missed; what the log holds at this moment goes first.
        self.watches.append(watch)
        try:
            for response in self._opening(request):
                yield response
            if request.until_head:
                return
            while True:
                try:
                    async with asyncio.timeout(self.heartbeat_ms / 1000):
                        item = await watch.queue.get()
                except TimeoutError:
                    if not self.silent:
                        yield self._heartbeat(request.workflow_id)
                    continue
                if item is None:
                    await context.abort(grpc.StatusCode.UNAVAILABLE, "the stream was cut")
                if not self.silent:
                    yield item
        finally:
            self.watches.remove(watch)

    def _opening(self, request: pb.WatchEventsRequest) -> list[pb.WatchEventsResponse]:
        log, name = self.log, request.workflow_id
        workflow = log.workflows.get(name)
        head = workflow.head if workflow is not None else 0
        last = len(log.commits)
        created = pb.WatchCreated(
            epoch=log.epoch, seq=head, commit=last, version="scripted", heartbeat_interval_ms=self.heartbeat_ms
        )
        opening = [pb.WatchEventsResponse(created=created)]
        if request.start_from == pb.WATCH_FROM_NOW:
            return opening
        if request.start_from == pb.WATCH_FROM_CURSOR:
            reason, oldest = self._lost(request)
            if not reason:
                return opening + (self._history(request) if name else self._history_of_all(request))
            compacted = pb.WatchCompacted(reason=reason, oldest_seq=oldest, head_seq=head)
            opening.append(pb.WatchEventsResponse(compacted=compacted))
        for each in [name] if name else log.active():
            snapshot = log.snapshot(each)
            if snapshot is not None:
                opening.append(pb.WatchEventsResponse(snapshot=snapshot, commit=last))
        return opening

    def _lost(self, request: pb.WatchEventsRequest) -> tuple[pb.CompactedReason.ValueType, int]:
        log = self.log
        none = pb.COMPACTED_REASON_UNSPECIFIED
        cursor = request.cursor if request.workflow_id else request.position
        if cursor.epoch != log.epoch:
            return pb.COMPACTED_REASON_WRONG_EPOCH, 0
        if not request.workflow_id:
            behind = request.position.commit < log.oldest_commit
            return (pb.COMPACTED_REASON_RETENTION if behind else none), 0
        workflow = log.workflows.get(request.workflow_id)
        head, compacted = (workflow.head, workflow.compacted) if workflow is not None else (0, 0)
        if request.cursor.seq > head:
            return pb.COMPACTED_REASON_SEQ_AHEAD, compacted + 1
        if request.cursor.seq < compacted:
            return pb.COMPACTED_REASON_RETENTION, compacted + 1
        return none, 0

    def _history(self, request: pb.WatchEventsRequest) -> list[pb.WatchEventsResponse]:
        workflow = self.log.workflows.get(request.workflow_id)
        events = workflow.after(request.cursor.seq) if workflow is not None else []
        return [pb.WatchEventsResponse(events=events[i : i + _BATCH]) for i in range(0, len(events), _BATCH)]

    def _history_of_all(self, request: pb.WatchEventsRequest) -> list[pb.WatchEventsResponse]:
        commits = self.log.commits[request.position.commit :]
        return [pb.WatchEventsResponse(events=commit.events, commit=commit.number) for commit in commits]

    def _heartbeat(self, workflow_id: str) -> pb.WatchEventsResponse:
        workflow = self.log.workflows.get(workflow_id)
        beat = pb.WatchHeartbeat(
            epoch=self.log.epoch,
            seq=workflow.head if workflow is not None else 0,
            commit=len(self.log.commits),
            active_workflows=len(self.log.active()),
        )
        return pb.WatchEventsResponse(heartbeat=beat)

    async def GetWorkflow(  # noqa: N802
        self, request: pb.GetWorkflowRequest, context: Context
    ) -> pb.GetWorkflowResponse:
        self.calls["GetWorkflow"] += 1
        await self.snapshot_gate.wait()
        snapshot = self.log.snapshot(request.workflow_id)
        if snapshot is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no run of this workflow")
        return pb.GetWorkflowResponse(snapshot=snapshot)

    async def ListWorkflows(  # noqa: N802
        self, request: pb.ListWorkflowsRequest, context: Context
    ) -> pb.ListWorkflowsResponse:
        del context
        self.calls["ListWorkflows"] += 1
        found = []
        for workflow in self.log.workflows.values():
            snapshot = self.log.snapshot(workflow.workflow_id)
            if snapshot is None or not workflow.workflow_id.startswith(request.id_prefix):
                continue
            if snapshot.HasField("parent") and not request.include_bodies:
                continue
            if not request.states or snapshot.state in request.states:
                found.append(
                    pb.RunSummary(
                        workflow_id=workflow.workflow_id,
                        run_id=snapshot.run_id,
                        state=snapshot.state,
                        first_seq=1,
                        last_seq=workflow.head,
                        started_ms=snapshot.started_ms,
                        total_nodes=len(snapshot.nodes),
                        parent_workflow_id=snapshot.parent.workflow_id,
                    )
                )
        return pb.ListWorkflowsResponse(workflows=found[: request.page_size or 50])

    async def StartWorkflow(  # noqa: N802
        self, request: pb.StartWorkflowRequest, context: Context
    ) -> pb.StartWorkflowResponse:
        start = ev.WorkflowStart(definition_json=request.definition_json, by=request.by)
        return pb.StartWorkflowResponse(result=await self._carry_out("StartWorkflow", request, start, context))

    async def PauseWorkflow(  # noqa: N802
        self, request: pb.PauseWorkflowRequest, context: Context
    ) -> pb.PauseWorkflowResponse:
        change = ev.RunStateChange(state=ev.RUN_STATE_PAUSED, by=request.by, mode="drain", reason=request.reason)
        return pb.PauseWorkflowResponse(result=await self._carry_out("PauseWorkflow", request, change, context))

    async def ResumeWorkflow(  # noqa: N802
        self, request: pb.ResumeWorkflowRequest, context: Context
    ) -> pb.ResumeWorkflowResponse:
        change = ev.RunStateChange(state=ev.RUN_STATE_RUNNING, by=request.by, reason=request.reason)
        return pb.ResumeWorkflowResponse(result=await self._carry_out("ResumeWorkflow", request, change, context))

    async def StopWorkflow(  # noqa: N802
        self, request: pb.StopWorkflowRequest, context: Context
    ) -> pb.StopWorkflowResponse:
        change = ev.RunStateChange(state=ev.RUN_STATE_STOPPING, by=request.by, mode="graceful", reason=request.reason)
        return pb.StopWorkflowResponse(result=await self._carry_out("StopWorkflow", request, change, context))

    async def RetryWorkflow(  # noqa: N802
        self, request: pb.RetryWorkflowRequest, context: Context
    ) -> pb.RetryWorkflowResponse:
        change = ev.RunStateChange(state=ev.RUN_STATE_RUNNING, by=request.by, mode="retry", reason=request.reason)
        return pb.RetryWorkflowResponse(result=await self._carry_out("RetryWorkflow", request, change, context))

    async def RerunWorkflow(  # noqa: N802
        self, request: pb.RerunWorkflowRequest, context: Context
    ) -> pb.RerunWorkflowResponse:
        newest = self.log.snapshot(request.workflow_id) or pb.WorkflowSnapshot(definition_json="{}")
        start = ev.WorkflowStart(definition_json=newest.definition_json, by=request.by, rerun_of=newest.run_id)
        return pb.RerunWorkflowResponse(result=await self._carry_out("RerunWorkflow", request, start, context))

    async def CompleteNode(  # noqa: N802
        self, request: pb.CompleteNodeRequest, context: Context
    ) -> pb.CompleteNodeResponse:
        done = ev.NodeTransition(
            node_id=request.node_id or request.event,
            status=ev.NODE_STATUS_SUCCESS,
            attempt=1,
            data_json=request.data_json,
            reason="completed",
            by=request.by,
        )
        return pb.CompleteNodeResponse(result=await self._carry_out("CompleteNode", request, done, context))

    async def ReadArtifact(  # noqa: N802
        self, request: pb.ReadArtifactRequest, context: Context
    ) -> AsyncIterator[pb.ReadArtifactResponse]:
        self.calls["ReadArtifact"] += 1
        if (status := self.refusals.pop("ReadArtifact", None)) is not None:
            await _abort(context, status)
        for piece in self.artifacts[request.uri]:
            if piece is None:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "the stream was cut")
            self.pieces += 1
            yield pb.ReadArtifactResponse(data=piece)

    async def ListRuns(self, request: pb.ListRunsRequest, context: Context) -> pb.ListRunsResponse:  # noqa: N802
        workflow = self.log.workflows.get(request.workflow_id)
        if workflow is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no run of this workflow")
        run_ids = dict.fromkeys(event.run_id for event in reversed(workflow.after(0)))
        return pb.ListRunsResponse(runs=[pb.RunSummary(run_id=run_id) for run_id in run_ids])

    async def ValidateWorkflow(self, request: Any, context: Context) -> pb.ValidateWorkflowResponse:  # noqa: N802
        await _unimplemented(context)

    async def ListNodeTypes(self, request: Any, context: Context) -> pb.ListNodeTypesResponse:  # noqa: N802
        await _unimplemented(context)

    async def _carry_out(
        self,
        method: str,
        request: Any,
        payload: ev.WorkflowStart | ev.RunStateChange | ev.NodeTransition,
        context: Context,
    ) -> pb.CommandResult:
        self.calls[method] += 1
        self.commands.append(request)
        await self.hold_commands.wait()
        if (status := self.refusals.pop(method, None)) is not None:
            await _abort(context, status)
        if request.command_id not in self._seen:
            commit = self.append(request.workflow_id, payload)
            state = payload.state if isinstance(payload, ev.RunStateChange) else ev.RUN_STATE_RUNNING
            self._seen[request.command_id] = pb.CommandResult(
                workflow_id=request.workflow_id,
                run_id=self.log.workflows[request.workflow_id].run_id,
                state=state,
                seq=commit.events[0].seq,
                epoch=self.log.epoch,
            )
        return self._seen[request.command_id]


async def _unimplemented(context: Context) -> NoReturn:
    await context.abort(grpc.StatusCode.UNIMPLEMENTED, "the scripted executor can't do that")
    raise AssertionError


async def _abort(context: Context, status: status_pb2.Status) -> NoReturn:
    await context.abort_with_status(rpc_status.to_status(status))
    raise AssertionError(code_pb2.Code.Name(status.code))


@contextlib.asynccontextmanager
async def running_executor(**options: Any) -> AsyncIterator[ScriptedExecutor]:
    """A scripted executor that listens on a free port."""
    executor = ScriptedExecutor(**options)
    await executor.start()
    try:
        yield executor
    finally:
        await executor.stop()
