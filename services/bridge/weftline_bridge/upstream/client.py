"""The executor as one object: commands, questions, and streams of events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import grpc
from grpc import aio

from weftline.v1 import events_pb2
from weftline.v1 import workflow_service_pb2 as pb
from weftline_bridge.errors import (
    CommandRefusedError,
    ExecutorUnavailableError,
    TranslationError,
    UnknownArtifactError,
    UnknownWorkflowError,
)
from weftline_bridge.metrics import Metrics
from weftline_bridge.protocol.inbound import Request
from weftline_bridge.protocol.minting import Mint
from weftline_bridge.protocol.payloads import SummaryPayload, WorkflowsPayload
from weftline_bridge.protocol.state import WorkflowState
from weftline_bridge.upstream.channels import ChannelPool
from weftline_bridge.upstream.commands import command_call
from weftline_bridge.upstream.credentials import TlsFiles
from weftline_bridge.upstream.failures import to_refusal
from weftline_bridge.upstream.items import WatchItem, WatchStart
from weftline_bridge.upstream.states import translate_state
from weftline_bridge.upstream.translate import RUN_STATES
from weftline_bridge.upstream.watching import EventStreams

_NO_SUCH_NAME = (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT)
_RUNS_PAGE = 1000
_MAX_RUNS_PAGES = 10

_Response = TypeVar("_Response")


@dataclass(frozen=True, slots=True)
class Accepted:
    """A command was carried out; `seq` is the first event that shows it."""

    run_id: str
    state: str
    seq: int
    attached: bool = False


class ExecutorClient:
    """Calls the executor at `address`; every call has a deadline (`timeout`, in seconds)."""

    def __init__(
        self,
        address: str,
        *,
        channels: int,
        timeout: float,
        mint: Mint,
        metrics: Metrics,
        tls: TlsFiles | None = None,
    ) -> None:
        self._pool = ChannelPool(address, channels, tls)
        self._timeout = timeout
        self._streams = EventStreams(self._pool, mint, metrics, open_timeout=timeout)

    async def close(self) -> None:
        """End all calls and close the channels."""
        await self._pool.close()

    async def renew(self) -> None:
        """Take changed files of TLS."""
        await self._pool.renew(self._timeout)

    def watch(self, start: WatchStart) -> AsyncGenerator[WatchItem, None]:
        """Open a stream of events; see `EventStreams.watch`."""
        return self._streams.watch(start)

    async def command(self, request: Request, by: str) -> Accepted:
        """Have the executor carry out a command on behalf of `by`.

        Raises CommandRefusedError, or its subclass ExecutorUnavailableError.
        """
        response = await self._answered(command_call(self._pool.stub(), request, by, self._timeout))
        result = response.result
        attached = response.attached if isinstance(response, pb.StartWorkflowResponse) else False
        return Accepted(result.run_id, RUN_STATES.get(result.state, ""), result.seq, attached)

    async def workflow_state(self, workflow_id: str) -> WorkflowState:
        """The whole state of a workflow's newest run.

        Raises UnknownWorkflowError, ExecutorUnavailableError or another CommandRefusedError.
        """
        call = self._pool.stub().GetWorkflow(pb.GetWorkflowRequest(workflow_id=workflow_id), timeout=self._timeout)
        try:
            response = await call
            return translate_state(response.snapshot)
        except aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                raise UnknownWorkflowError(workflow_id) from None
            raise to_refusal(error) from None
        except TranslationError as error:
            raise CommandRefusedError("bad_state", str(error)) from error

    async def artifact(self, uri: str) -> AsyncGenerator[bytes, None]:
        """Yield an artifact in pieces, the next one when it is asked for; each has the deadline of a call.

        Raises UnknownArtifactError, ExecutorUnavailableError or another CommandRefusedError.
        """
        call = self._pool.stub().ReadArtifact(pb.ReadArtifactRequest(uri=uri))
        try:
            while True:
                async with asyncio.timeout(self._timeout):
                    response = await call.read()
                if not isinstance(response, pb.ReadArtifactResponse):
                    return
                yield response.data
        except TimeoutError:
            raise ExecutorUnavailableError(f"the executor sent nothing for {self._timeout:g} s") from None
        except aio.AioRpcError as error:
            refusal = to_refusal(error)
            if error.code() in _NO_SUCH_NAME:
                raise UnknownArtifactError(refusal.code, refusal.message) from None
            raise refusal from None
        finally:
            call.cancel()

    async def has_run(self, workflow_id: str, run_id: str) -> bool:
        """Whether a run is one of a workflow's, as far as these are kept.

        Raises ExecutorUnavailableError or another CommandRefusedError.
        """
        page = pb.ListRunsRequest(workflow_id=workflow_id, page_size=_RUNS_PAGE)
        for _ in range(_MAX_RUNS_PAGES):
            try:
                response = await self._pool.stub().ListRuns(page, timeout=self._timeout)
            except aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.NOT_FOUND:
                    return False
                raise to_refusal(error) from None
            if any(run.run_id == run_id for run in response.runs):
                return True
            if not response.next_page_token:
                break
            page.page_token = response.next_page_token
        return False

    async def workflows(
        self, *, page_size: int, page_token: str, states: Sequence[str], id_prefix: str, bodies: bool
    ) -> WorkflowsPayload:
        """A page of workflows, the one with the newest run first; with `bodies` also those that nodes run.

        Raises ValueError for a state that does not exist, and CommandRefusedError.
        """
        unknown = [state for state in states if state not in RUN_STATES.values()]
        if unknown:
            raise ValueError(f"state: expected one of {', '.join(sorted(RUN_STATES.values()))}, got {unknown[0]}")
        request = pb.ListWorkflowsRequest(
            page_size=page_size,
            page_token=page_token,
            id_prefix=id_prefix,
            include_bodies=bodies,
            states=[events_pb2.RunState.Value(f"RUN_STATE_{state.upper()}") for state in states],
        )
        response = await self._answered(self._pool.stub().ListWorkflows(request, timeout=self._timeout))
        return WorkflowsPayload([_summary(item) for item in response.workflows], response.next_page_token)

    async def _answered(self, call: Awaitable[_Response]) -> _Response:
        try:
            return await call
        except aio.AioRpcError as error:
            raise to_refusal(error) from None
        except aio.UsageError as error:
            raise ExecutorUnavailableError(f"the connection to the executor is closed: {error}") from error


def _summary(item: pb.RunSummary) -> SummaryPayload:
    return SummaryPayload(
        item.workflow_id,
        item.run_id,
        RUN_STATES.get(item.state, "unknown"),
        item.first_seq,
        item.last_seq,
        item.started_ms,
        item.total_nodes,
        item.ended_ms if item.HasField("ended_ms") else None,
        item.parent_workflow_id,
    )
