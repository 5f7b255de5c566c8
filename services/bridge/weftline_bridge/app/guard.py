"""Lets only those who may in to the HTTP face: who a request is of is found out before its handler runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from weftline_bridge.app.answers import problem
from weftline_bridge.auth import Identity
from weftline_bridge.errors import KeysUnavailableError, TokenRefusedError
from weftline_bridge.session import Gatekeeper

IDENTITY = web.RequestKey("identity", Identity)

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def guarded(gatekeeper: Gatekeeper, handler: _Handler) -> _Handler:
    """The handler for those whose token permits to view anything; they are `request[IDENTITY]`."""

    async def guard(request: web.Request) -> web.StreamResponse:
        if _is_of_foreign_page(gatekeeper, request):
            return problem(403, "foreign_origin", "pages of this origin may not ask")
        try:
            identity = await gatekeeper.identify(request)
        except TokenRefusedError as error:
            return _unauthenticated(error.code, error.message)
        except KeysUnavailableError as error:
            return problem(503, error.code, error.message, {"Retry-After": "10"})
        if identity is None:
            return _unauthenticated("unauthenticated", "a token is asked for, in the header Authorization")
        if not identity.view:
            return problem(403, "forbidden", "the token permits no workflow")
        request[IDENTITY] = identity
        return await handler(request)

    return addressed(gatekeeper, guard)


def addressed(gatekeeper: Gatekeeper, handler: _Handler) -> _Handler:
    """The handler for requests whose `Host` is this bridge's.

    It is no middleware of aiohttp, which would keep the handlers for as long as the process lives.
    """

    async def guard(request: web.Request) -> web.StreamResponse:
        if not gatekeeper.serves_host(request.host):
            message = "the bridge is not known by this name: list its origin in WEFTLINE_BRIDGE_ALLOWED_ORIGINS"
            return problem(403, "foreign_host", message)
        return await handler(request)

    return guard


def _unauthenticated(code: str, message: str) -> web.Response:
    return problem(401, code, message, {"WWW-Authenticate": "Bearer"})


def _is_of_foreign_page(gatekeeper: Gatekeeper, request: web.Request) -> bool:
    """Whether the page of a foreign origin asks; it could not read the answer, and is to cause no work either.

    Where it asks for an image or a script the browser tells no origin. Somebody may follow a link from anywhere.
    """
    headers = request.headers
    embedded = headers.get("Sec-Fetch-Site") == "cross-site" and headers.get("Sec-Fetch-Mode") != "navigate"
    origin = headers.get("Origin")
    if origin is None:
        return embedded and not gatekeeper.origins.any_origin
    return not gatekeeper.origins.allows(origin, request.host)
