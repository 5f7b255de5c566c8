"""Lets only clients call whose certificate has one of some names: an authority may sign for others, too."""

from __future__ import annotations

import inspect
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, cast

import grpc
from grpc.aio import ServicerContext

from weftline_executor.api.status import abort
from weftline_executor.errors import ClientNotAllowed

_log = logging.getLogger(__name__)

WARN_SECONDS = 60.0

_NAMES = ("x509_common_name", "x509_subject_alternative_name")

if TYPE_CHECKING:
    # What is generic in the stubs of gRPC is not when it runs.
    Context = ServicerContext[Any, Any]
    Handler = grpc.RpcMethodHandler[Any, Any]


def names_of(context: Context) -> list[str]:
    """The names in a client's certificate, its common name first: none where it has shown no certificate."""
    shown = context.auth_context()
    return [name.decode(errors="replace") for key in _NAMES for name in shown.get(key, ())]


class NamedClients(grpc.aio.ServerInterceptor):
    """Answers calls of others than the named clients with ClientNotAllowed, before anything of them is read.

    A name is compared as it is written in the certificate; there are no patterns.
    """

    def __init__(self, allowed: Collection[str]) -> None:
        self._allowed = frozenset(allowed)
        self._warned_at: float | None = None

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Put the check before the handler of a call, of whatever kind it is."""
        handler = await continuation(handler_call_details)
        # There is none for a method that does not exist.
        return None if handler is None else _guarded(handler, self._check)

    async def _check(self, context: Context) -> None:
        names = names_of(context)
        if self._allowed.isdisjoint(names):
            error = ClientNotAllowed(names)
            self._warn(error)
            await abort(context, error)

    def _warn(self, error: ClientNotAllowed) -> None:
        now = time.monotonic()
        if self._warned_at is None or now - self._warned_at >= WARN_SECONDS:
            self._warned_at = now
            _log.warning("a client is not let in: %s", error)


def _guarded(handler: Handler, check: Callable[[Context], Awaitable[None]]) -> Handler:
    """A handler that checks first, and is like `handler` else."""
    kind = f"{_arity(handler.request_streaming)}_{_arity(handler.response_streaming)}"
    behaviour = getattr(handler, kind)

    async def answer(request: Any, context: Context) -> Any:
        await check(context)
        return await behaviour(request, context)

    async def stream(request: Any, context: Context) -> AsyncIterator[Any]:
        await check(context)
        async with aclosing(behaviour(request, context)) as responses:
            async for response in responses:
                yield response

    make = getattr(grpc, f"{kind}_rpc_method_handler")
    guarded = stream if inspect.isasyncgenfunction(behaviour) else answer
    return cast("Handler", make(guarded, handler.request_deserializer, handler.response_serializer))


def _arity(streaming: bool) -> str:
    return "stream" if streaming else "unary"
