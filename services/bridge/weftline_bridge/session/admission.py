"""Decides at the handshake whether a client is let in, and what becomes of one that is not."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from weftline_bridge.auth import Identity
from weftline_bridge.errors import BridgeError, KeysUnavailableError, TokenRefusedError
from weftline_bridge.frames import Dialect
from weftline_bridge.protocol.names import CloseCode
from weftline_bridge.session.gatekeeper import Gatekeeper
from weftline_bridge.session.registry import Registry
from weftline_bridge.settings import Settings


class TurnedAwayError(BridgeError):
    """A client is not let in; it is closed with `code` and told the reason."""

    def __init__(self, code: CloseCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Admission:
    """The rules of the door."""

    settings: Settings
    registry: Registry
    gatekeeper: Gatekeeper

    async def admit(self, request: web.Request, dialect: Dialect) -> Identity | None:
        """Who the client is; None for one of `weftline.v1` that has yet to send its token.

        Raises TurnedAwayError for who may not connect.
        """
        if not self.gatekeeper.origins.allows(request.headers.get("Origin"), request.host):
            raise TurnedAwayError(CloseCode.FORBIDDEN, "pages of this origin may not connect")
        if len(self.registry) >= self.settings.max_connections:
            raise TurnedAwayError(CloseCode.OVERLOADED, "too many connections")
        try:
            identity = await self.gatekeeper.identify(request)
        except TokenRefusedError as error:
            raise TurnedAwayError(CloseCode.UNAUTHENTICATED, f"{error.code}: {error.message}") from None
        except KeysUnavailableError as error:
            raise TurnedAwayError(CloseCode.OVERLOADED, error.message) from None
        if identity is None and dialect is Dialect.PLAIN:
            text = "a token is asked for: in the header Authorization, or by weftline.v1 in auth.refresh"
            raise TurnedAwayError(CloseCode.UNAUTHENTICATED, text)
        if identity is not None and not identity.view:
            raise TurnedAwayError(CloseCode.FORBIDDEN, "the token permits no workflow")
        return identity
