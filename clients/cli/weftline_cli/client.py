"""Calls the executor: each command and question of its service, one method each, with deadlines and named errors."""

import asyncio
import getpass
import json
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from types import TracebackType
from typing import Final, Self, TypeVar
from uuid import uuid4

import grpc

from weftline.v1 import workflow_service_pb2 as ws
from weftline.v1 import workflow_service_pb2_grpc as ws_grpc
from weftline_cli.address import Address
from weftline_cli.definition import Definition
from weftline_cli.errors import Fault, InvalidWorkflowError, UnavailableError
from weftline_cli.rpc_errors import RpcFailure, read_failure, translate
from weftline_cli.tls import Tls

DEADLINE_S: Final = 30.0
MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024
MAX_METADATA_BYTES: Final = 64 * 1024
PAGE_SIZE: Final = 500

# A lost answer is asked for again: a command's id makes it act once.
_SERVICE_CONFIG: Final = json.dumps(
    {
        "methodConfig": [
            {
                "name": [{"service": "weftline.v1.WorkflowService"}],
                "retryPolicy": {
                    "maxAttempts": 3,
                    "initialBackoff": "0.1s",
                    "maxBackoff": "1s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ]
    }
)
_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_metadata_size", MAX_METADATA_BYTES),
    ("grpc.max_reconnect_backoff_ms", 2000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 500),
    ("grpc.service_config", _SERVICE_CONFIG),
)

Answer = TypeVar("Answer")


class ExecutorClient:
    """A connection to the executor at `address` (`HOST:PORT`), to be used with `async with`.

    It is called over TLS where the environment names the files for that, unless `plaintext` says otherwise.
    Raises UsageError when the address is something else, or such a file can't be read.
    Every method raises the errors of `weftline_cli.errors`: UnavailableError when the executor can't be reached within
    30 s or can't take the call, NotFoundError, RefusedError and BadArgumentError for what the executor says,
    ExecutorFaultError for anything else.
    """

    def __init__(self, address: str, *, plaintext: bool = False) -> None:
        Address.parse(address, "--executor (or WEFTLINE_EXECUTOR)")
        self.address = address
        self._channel = _channel(address, None if plaintext else Tls.from_environment())
        self._stub = ws_grpc.WorkflowServiceStub(self._channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._channel.close()

    async def start(self, workflow_id: str, definition: Definition) -> ws.StartWorkflowResponse:
        """Start a run; an empty `workflow_id` has one minted.

        Raises InvalidWorkflowError with every fault when the workflow is not valid: a refusal has room for some of them
        only, so that all are asked for.
        """
        request = ws.StartWorkflowRequest(
            workflow_id=workflow_id, definition_json=definition.to_json(), command_id=_command_id(), by=caller()
        )
        try:
            return await self._stub.StartWorkflow(request, timeout=DEADLINE_S)
        except grpc.aio.AioRpcError as error:
            failure = read_failure(error)
            faults = _definition_faults(failure, definition)
            if faults:
                raise InvalidWorkflowError(definition.source, await self.faults(definition) or faults) from error
            raise translate(failure, self.address) from error

    async def pause(self, workflow_id: str, mode: ws.PauseMode.ValueType, reason: str) -> ws.CommandResult:
        """Let no further node of the active run start."""
        request = ws.PauseWorkflowRequest(
            workflow_id=workflow_id, command_id=_command_id(), by=caller(), mode=mode, reason=reason
        )
        return (await self._call(self._stub.PauseWorkflow(request, timeout=DEADLINE_S))).result

    async def resume(self, workflow_id: str, reason: str) -> ws.CommandResult:
        """Go on with the paused run."""
        request = ws.ResumeWorkflowRequest(
            workflow_id=workflow_id, command_id=_command_id(), by=caller(), reason=reason
        )
        return (await self._call(self._stub.ResumeWorkflow(request, timeout=DEADLINE_S))).result

    async def stop(
        self, workflow_id: str, mode: ws.StopMode.ValueType, reason: str, grace_ms: int | None
    ) -> ws.CommandResult:
        """End the active run; cancelled nodes may take `grace_ms` to clean up, 30,000 when None."""
        request = ws.StopWorkflowRequest(
            workflow_id=workflow_id, command_id=_command_id(), by=caller(), mode=mode, reason=reason, grace_ms=grace_ms
        )
        return (await self._call(self._stub.StopWorkflow(request, timeout=DEADLINE_S))).result

    async def retry(self, workflow_id: str, reason: str) -> ws.CommandResult:
        """Run what failed or was cancelled in the newest run, and what that cut off, again."""
        request = ws.RetryWorkflowRequest(workflow_id=workflow_id, command_id=_command_id(), by=caller(), reason=reason)
        return (await self._call(self._stub.RetryWorkflow(request, timeout=DEADLINE_S))).result

    async def rerun(self, workflow_id: str, from_node_id: str) -> ws.CommandResult:
        """Begin a new run that takes over what the newest one gave, but for a node and what comes after it."""
        request = ws.RerunWorkflowRequest(
            workflow_id=workflow_id, command_id=_command_id(), by=caller(), from_node_id=from_node_id
        )
        return (await self._call(self._stub.RerunWorkflow(request, timeout=DEADLINE_S))).result

    async def complete(self, workflow_id: str, node_id: str, event: str, data_json: str) -> ws.CommandResult:
        """Finish a node that waits, or all that wait for an event; one of the two is empty.

        `data_json` is the output as JSON text, empty for none.
        """
        request = ws.CompleteNodeRequest(
            workflow_id=workflow_id,
            command_id=_command_id(),
            by=caller(),
            node_id=node_id,
            event=event,
            data_json=data_json,
        )
        return (await self._call(self._stub.CompleteNode(request, timeout=DEADLINE_S))).result

    async def artifact(self, uri: str) -> AsyncGenerator[bytes, None]:
        """Yield an artifact in pieces, each of which has to come within the deadline."""
        call = self._stub.ReadArtifact(ws.ReadArtifactRequest(uri=uri))
        try:
            while True:
                async with asyncio.timeout(DEADLINE_S):
                    response = await call.read()
                if not isinstance(response, ws.ReadArtifactResponse):
                    return
                yield response.data
        except TimeoutError as error:
            raise UnavailableError(self.address, f"it was silent for {DEADLINE_S:.0f} s.") from error
        except grpc.aio.AioRpcError as error:
            raise translate(read_failure(error), self.address) from error
        finally:
            call.cancel()

    async def get(self, workflow_id: str) -> ws.GetWorkflowResponse:
        """Return the whole state of a workflow's newest run, and its critical path."""
        request = ws.GetWorkflowRequest(workflow_id=workflow_id)
        return await self._call(self._stub.GetWorkflow(request, timeout=DEADLINE_S))

    async def workflows(self, request: ws.ListWorkflowsRequest) -> AsyncIterator[ws.RunSummary]:
        """Yield the newest run of every workflow that the request asks for, page after page."""
        page = ws.ListWorkflowsRequest()
        page.CopyFrom(request)
        page.page_size = PAGE_SIZE
        while True:
            answer = await self._call(self._stub.ListWorkflows(page, timeout=DEADLINE_S))
            for summary in answer.workflows:
                yield summary
            if not answer.next_page_token:
                return
            page.page_token = answer.next_page_token

    async def find_run(self, workflow_id: str, run_id: str) -> ws.RunSummary | None:
        """Return one run of a workflow, or None when the executor does not know it any more."""
        page = ws.ListRunsRequest(workflow_id=workflow_id, page_size=PAGE_SIZE)
        while True:
            answer = await self._call(self._stub.ListRuns(page, timeout=DEADLINE_S))
            for summary in answer.runs:
                if summary.run_id == run_id:
                    return summary
            if not answer.next_page_token:
                return None
            page.page_token = answer.next_page_token

    async def validate(self, definition: Definition, *, simulate: bool = False) -> ws.ValidateWorkflowResponse:
        """Return all that is wrong with a workflow, and with `simulate` how a run of a valid one would go."""
        request = ws.ValidateWorkflowRequest(definition_json=definition.to_json(), simulate=simulate)
        return await self._call(self._stub.ValidateWorkflow(request, timeout=DEADLINE_S))

    async def faults(self, definition: Definition) -> list[Fault]:
        """Return all that is wrong with a workflow, each fault with its node."""
        return faults_in(await self.validate(definition), definition)

    async def node_types(self) -> list[ws.NodeType]:
        """Return the node types that the executor can run, by name."""
        answer = await self._call(self._stub.ListNodeTypes(ws.ListNodeTypesRequest(), timeout=DEADLINE_S))
        return list(answer.node_types)

    async def watch(self, request: ws.WatchEventsRequest) -> AsyncGenerator[ws.WatchEventsResponse, None]:
        """Yield what a watch brings, until the executor ends it.

        Raises UnavailableError too when nothing, not even a heartbeat, came for three times the heartbeat's interval.
        """
        call = self._stub.WatchEvents(request)
        patience = DEADLINE_S
        try:
            while True:
                async with asyncio.timeout(patience):
                    response = await call.read()
                if not isinstance(response, ws.WatchEventsResponse):
                    return
                if response.HasField("created") and response.created.heartbeat_interval_ms:
                    patience = 3 * response.created.heartbeat_interval_ms / 1000
                yield response
        except TimeoutError as error:
            raise UnavailableError(self.address, f"it was silent for {patience:.0f} s.") from error
        except grpc.aio.AioRpcError as error:
            raise translate(read_failure(error), self.address) from error
        finally:
            call.cancel()

    async def _call(self, call: Awaitable[Answer]) -> Answer:
        try:
            return await call
        except grpc.aio.AioRpcError as error:
            raise translate(read_failure(error), self.address) from error


def faults_in(answer: ws.ValidateWorkflowResponse, definition: Definition) -> list[Fault]:
    """Return the faults that a validation found, each with the node that its path leads through."""
    return [
        Fault(each.path, each.code, each.message, each.node_id or definition.node_at(each.path))
        for each in answer.faults
    ]


def caller() -> str:
    """Return who runs this command, as `user@host`, for the events."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "cli"
    return f"{user}@{socket.gethostname()}"


def _channel(address: str, tls: Tls | None) -> grpc.aio.Channel:
    if tls is None:
        return grpc.aio.insecure_channel(address, options=_OPTIONS)
    credentials = grpc.ssl_channel_credentials(tls.ca, tls.key, tls.cert)
    name = (("grpc.ssl_target_name_override", tls.server_name),) if tls.server_name else ()
    return grpc.aio.secure_channel(address, credentials, options=(*_OPTIONS, *name))


def _command_id() -> str:
    return str(uuid4())


def _definition_faults(failure: RpcFailure, definition: Definition) -> list[Fault]:
    """Return the faults that a failed call found in a workflow; none when it failed over something else."""
    if failure.status is not grpc.StatusCode.INVALID_ARGUMENT:
        return []
    return [
        Fault(path=each.path, code=each.code, message=each.message, node_id=definition.node_at(each.path))
        for each in failure.violations
        if definition.owns(each.path)
    ]
