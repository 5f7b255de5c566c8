"""A client of the executor for tests: commands in a line, watches that are waited on, refusals taken apart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from weftline.v1 import events_pb2 as events_pb
from weftline.v1 import workflow_service_pb2 as pb
from weftline.v1.workflow_service_pb2_grpc import WorkflowServiceStub

CALL_SECONDS = 20.0
WAIT_SECONDS = 30.0
OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]

Event = events_pb.Event


@dataclass(slots=True)
class Refusal:
    """How a call was refused; filled when the block of `refused` has ended."""

    message: str = ""
    info: error_details_pb2.ErrorInfo = field(default_factory=error_details_pb2.ErrorInfo)
    violations: list[tuple[str, str, str]] = field(default_factory=list)
    retry: bool = False


@contextmanager
def refused(code: grpc.StatusCode, reason: str) -> Iterator[Refusal]:
    """Asserts that the block ends with this status and reason, and gives its details."""
    refusal = Refusal()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        yield refusal
    error = caught.value
    assert error.code() is code, f"{error.code()}: {error.details()}"
    refusal.message = error.details() or ""
    _unpack(error, refusal)
    assert refusal.info.reason == reason
    assert refusal.info.domain == "weftline"


def _unpack(error: grpc.aio.AioRpcError, refusal: Refusal) -> None:
    encoded = dict(error.trailing_metadata() or ())["grpc-status-details-bin"]
    assert isinstance(encoded, bytes)
    status = status_pb2.Status.FromString(encoded)
    assert status.code == error.code().value[0]
    for detail in status.details:
        request = error_details_pb2.BadRequest()
        if detail.Unpack(refusal.info):
            continue
        if detail.Unpack(request):
            refusal.violations += [(each.field, each.reason, each.description) for each in request.field_violations]
        elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            refusal.retry = True


def is_terminal(event: Event) -> bool:
    """Whether an event ends its run."""
    return event.WhichOneof("payload") in ("complete", "error")


def is_node(node_id: str, status: str) -> Callable[[Event], bool]:
    """A test for a durable transition of a node, for example `is_node("a", "running")`."""
    wanted = events_pb.NodeStatus.Value(f"NODE_STATUS_{status.upper()}")
    return lambda event: bool(event.seq and event.node.node_id == node_id and event.node.status == wanted)


def is_run(payload: str, state: str) -> Callable[[Event], bool]:
    """A test for a change of the run's state, for example `is_run("workflow_pause", "paused")`."""
    wanted = events_pb.RunState.Value(f"RUN_STATE_{state.upper()}")
    return lambda event: event.WhichOneof("payload") == payload and getattr(event, payload).state == wanted


class Watch:
    """One open watch; what was received is kept in `responses` and `events`."""

    def __init__(self, call: grpc.aio.UnaryStreamCall[pb.WatchEventsRequest, pb.WatchEventsResponse]) -> None:
        self._call = call
        self.responses: list[pb.WatchEventsResponse] = []
        self.events: list[Event] = []
        self._looked_at = 0

    async def next(self) -> pb.WatchEventsResponse:
        """The next response. Raises TimeoutError when none comes, EOFError at the end."""
        async with asyncio.timeout(WAIT_SECONDS):
            response = await self._call.read()
        if not isinstance(response, pb.WatchEventsResponse):
            raise EOFError
        self.responses.append(response)
        self.events += response.events
        return response

    async def until(self, met: Callable[[Event], bool]) -> Event:
        """Reads on until an event for which `met` holds that was not given before, and gives it."""
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                while self._looked_at < len(self.events):
                    event = self.events[self._looked_at]
                    self._looked_at += 1
                    if met(event):
                        return event
                await self.next()

    async def until_response(self, kind: str) -> pb.WatchEventsResponse:
        """Reads on until a response with this field set, and gives it."""
        async with asyncio.timeout(WAIT_SECONDS):
            while not (response := await self.next()).HasField(kind):  # type: ignore[arg-type]
                pass
        return response

    async def rest(self) -> list[Event]:
        """Reads to the end of the stream and gives all events, also those before."""
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                try:
                    await self.next()
                except EOFError:
                    return self.events

    @property
    def durable(self) -> list[Event]:
        """The received events that have a seq."""
        return [event for event in self.events if event.seq]


class Client:
    """Calls of one executor; workflow ids are "w" unless said otherwise."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.channel = grpc.aio.insecure_channel(address, options=OPTIONS)
        self.stub = WorkflowServiceStub(self.channel)

    async def start(self, definition: str, workflow_id: str = "w", **fields: Any) -> pb.CommandResult:
        """Starts a run."""
        request = pb.StartWorkflowRequest(workflow_id=workflow_id, definition_json=definition, **fields)
        return (await self.stub.StartWorkflow(request, timeout=CALL_SECONDS)).result

    async def pause(self, workflow_id: str = "w", **fields: Any) -> pb.CommandResult:
        """Pauses the active run."""
        request = pb.PauseWorkflowRequest(workflow_id=workflow_id, **fields)
        return (await self.stub.PauseWorkflow(request, timeout=CALL_SECONDS)).result

    async def resume(self, workflow_id: str = "w", **fields: Any) -> pb.CommandResult:
        """Resumes the paused run."""
        request = pb.ResumeWorkflowRequest(workflow_id=workflow_id, **fields)
        return (await self.stub.ResumeWorkflow(request, timeout=CALL_SECONDS)).result

    async def stop(self, workflow_id: str = "w", **fields: Any) -> pb.CommandResult:
        """Stops the active run."""
        request = pb.StopWorkflowRequest(workflow_id=workflow_id, **fields)
        return (await self.stub.StopWorkflow(request, timeout=CALL_SECONDS)).result

    async def snapshot(self, workflow_id: str = "w") -> pb.WorkflowSnapshot:
        """The state of the newest run."""
        request = pb.GetWorkflowRequest(workflow_id=workflow_id)
        return (await self.stub.GetWorkflow(request, timeout=CALL_SECONDS)).snapshot

    async def artifact(self, uri: str) -> bytes:
        """The bytes of an artifact."""
        request = pb.ReadArtifactRequest(uri=uri)
        return b"".join([piece.data async for piece in self.stub.ReadArtifact(request, timeout=CALL_SECONDS)])

    async def validate(self, definition: str) -> pb.ValidateWorkflowResponse:
        """What is wrong with a definition."""
        return await self.stub.ValidateWorkflow(
            pb.ValidateWorkflowRequest(definition_json=definition), timeout=CALL_SECONDS
        )

    @asynccontextmanager
    async def watch(self, workflow_id: str = "w", **fields: Any) -> AsyncIterator[Watch]:
        """A watch with these fields of its request; it is cancelled when the block ends."""
        call = self.stub.WatchEvents(pb.WatchEventsRequest(workflow_id=workflow_id, **fields))
        watch = Watch(call)
        try:
            await watch.next()
            yield watch
        finally:
            call.cancel()

    async def history(self, workflow_id: str = "w", after: int = 0) -> list[Event]:
        """All events after a seq that the log holds."""
        async with self.watch(workflow_id, start_from=pb.WATCH_FROM_NOW, until_head=True) as probe:
            epoch = probe.responses[0].created.epoch
        cursor = pb.Cursor(epoch=epoch, seq=after)
        async with self.watch(workflow_id, start_from=pb.WATCH_FROM_CURSOR, cursor=cursor, until_head=True) as watch:
            return await watch.rest()

    async def run(self, definition: str, workflow_id: str = "w", telemetry: bool = False) -> list[Event]:
        """Runs a workflow to its end and gives its durable events, or with `telemetry` all that came."""
        async with self.watch(workflow_id, start_from=pb.WATCH_FROM_NOW, telemetry=telemetry) as watch:
            await self.start(definition, workflow_id)
            await watch.until(is_terminal)
            return watch.events if telemetry else watch.durable
