"""Somebody who looks at a run now and then and does something about it, while services are killed."""

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import grpc

from tests.support.stack import Stack
from weftline.v1 import events_pb2
from weftline.v1 import workflow_service_pb2 as pb
from weftline.v1.workflow_service_pb2_grpc import WorkflowServiceStub

CALL_SECONDS = 10.0
PATIENCE_SECONDS = 300.0
POLL_SECONDS = 0.02
LATER = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)

_T = TypeVar("_T")


async def asked(stack: Stack, ask: Callable[[WorkflowServiceStub], Awaitable[_T]]) -> _T:
    """Asks the executor, as often as it takes while it is away."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                async with stack.stub() as stub:
                    return await ask(stub)
            except grpc.aio.AioRpcError as error:
                if error.code() not in LATER:
                    raise
                await asyncio.sleep(POLL_SECONDS)


async def logged(stack: Stack, workflow_id: str, epoch: str) -> list[events_pb2.Event]:
    """Every event of a workflow in the log."""
    request = pb.WatchEventsRequest(
        workflow_id=workflow_id, start_from=pb.WATCH_FROM_CURSOR, cursor=pb.Cursor(epoch=epoch), until_head=True
    )

    async def read(stub: WorkflowServiceStub) -> list[events_pb2.Event]:
        return [event async for answer in stub.WatchEvents(request) for event in answer.events]

    return await asked(stack, read)


class Person:
    """Pauses and stops a run at random, and resumes or retries it when it needs that, until cancelled.

    `answered` is the seq that each command was answered with, by its id, which is also who it is by.
    """

    def __init__(self, stack: Stack, workflow_id: str, random_: random.Random) -> None:
        self.answered: dict[str, int] = {}
        self._stack = stack
        self._workflow_id = workflow_id
        self._random = random_
        self._ids = itertools.count()

    async def look_after(self) -> None:
        """Looks at the run again and again."""
        request = pb.GetWorkflowRequest(workflow_id=self._workflow_id)
        while True:
            await asyncio.sleep(self._random.uniform(0.02, 0.3))
            found = await asked(self._stack, lambda stub: stub.GetWorkflow(request, timeout=CALL_SECONDS))
            command = self._choose(found.snapshot.state)
            if command:
                await self._do(command)

    def _choose(self, state: events_pb2.RunState.ValueType) -> str:
        match state:
            case events_pb2.RUN_STATE_RUNNING:
                return self._random.choices(("", "pause", "pause_now", "stop"), (20, 2, 2, 1))[0]
            case events_pb2.RUN_STATE_PAUSED:
                return "resume"
            case events_pb2.RUN_STATE_STOPPED | events_pb2.RUN_STATE_ERROR:
                return "retry"
            case _:
                return ""

    async def _do(self, command: str) -> None:
        command_id = f"p-{next(self._ids)}"
        try:
            result = await asked(self._stack, lambda stub: self._send(stub, command, command_id))
        except grpc.aio.AioRpcError as error:
            # The run has gone on meanwhile.
            if error.code() is not grpc.StatusCode.FAILED_PRECONDITION:
                raise
        else:
            self.answered[command_id] = result.seq

    async def _send(self, stub: WorkflowServiceStub, command: str, command_id: str) -> pb.CommandResult:
        id_, by = self._workflow_id, command_id
        match command:
            case "pause" | "pause_now":
                mode = pb.PAUSE_MODE_DRAIN if command == "pause" else pb.PAUSE_MODE_IMMEDIATE
                pause = pb.PauseWorkflowRequest(workflow_id=id_, by=by, command_id=by, mode=mode)
                return (await stub.PauseWorkflow(pause, timeout=CALL_SECONDS)).result
            case "resume":
                resume = pb.ResumeWorkflowRequest(workflow_id=id_, by=by, command_id=by)
                return (await stub.ResumeWorkflow(resume, timeout=CALL_SECONDS)).result
            case "retry":
                retry = pb.RetryWorkflowRequest(workflow_id=id_, by=by, command_id=by)
                return (await stub.RetryWorkflow(retry, timeout=CALL_SECONDS)).result
            case _:
                stop = pb.StopWorkflowRequest(workflow_id=id_, by=by, command_id=by, grace_ms=50)
                return (await stub.StopWorkflow(stop, timeout=CALL_SECONDS)).result
