"""Decides at the handshake whether a client is let in, and what becomes of one that is not."""

from __future__ import annotations

import asyncio
import logging
import math
import random

from aiohttp import web

from weftline_bridge.auth import Identity, origin_of
from weftline_bridge.errors import BridgeError, KeysUnavailableError, TokenRefusedError
from weftline_bridge.frames import Dialect
from weftline_bridge.protocol.names import CloseCode
from weftline_bridge.rates import Appointments, RateLimit
from weftline_bridge.session.gatekeeper import Gatekeeper
from weftline_bridge.session.registry import Registry
from weftline_bridge.settings import ENV_PREFIX, Settings

_log = logging.getLogger(__name__)

BURST_SECONDS = 5.0
"""Of the average rate so many seconds' worth of clients may come at once, as when another bridge went away."""

WARN_SECONDS = 60.0


SOONEST_SECONDS = 0.5
LATEST_SECONDS = 20.0
"""Between these is the time after which a client that is one too many is asked to come back."""


class TurnedAwayError(BridgeError):
    """A client is not let in; it is closed with `code` and told the reason.

    `again` is in how many seconds it may try again, None where that is of no use.
    """

    def __init__(self, code: CloseCode, reason: str, again: float | None = None) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.again = again


class Admission:
    """The rules of the door: who comes from where, how many, how fast, and with what token."""

    def __init__(self, settings: Settings, registry: Registry, gatekeeper: Gatekeeper) -> None:
        self._settings = settings
        self._registry = registry
        self._gatekeeper = gatekeeper
        self._accepted = RateLimit(settings.accept_rate, settings.accept_rate * BURST_SECONDS)
        self._appointments = Appointments(settings.accept_rate, LATEST_SECONDS - SOONEST_SECONDS)
        self._warned_at: float | None = None

    async def admit(self, request: web.Request, dialect: Dialect) -> Identity | None:
        """Who the client is; None for one of `weftline.v1` that has yet to send its token.

        Raises TurnedAwayError for who may not connect.
        """
        if not self._gatekeeper.origins.allows(request.headers.get("Origin"), request.host):
            raise TurnedAwayError(CloseCode.FORBIDDEN, "pages of this origin may not connect")
        self._check_load(self._gatekeeper.address_of(request))
        try:
            identity = await self._gatekeeper.identify(request)
        except TokenRefusedError as error:
            raise TurnedAwayError(CloseCode.UNAUTHENTICATED, f"{error.code}: {error.message}") from None
        except KeysUnavailableError as error:
            raise TurnedAwayError(CloseCode.OVERLOADED, error.message, _sometime()) from None
        if identity is None and dialect is Dialect.PLAIN:
            text = "a token is asked for: in the header Authorization, or by weftline.v1 in auth.refresh"
            raise TurnedAwayError(CloseCode.UNAUTHENTICATED, text)
        if identity is not None and not identity.view:
            raise TurnedAwayError(CloseCode.FORBIDDEN, "the token permits no workflow")
        return identity

    def _check_load(self, address: str) -> None:
        """Raises TurnedAwayError, before anything costly is done, for a client that is one too many."""
        if len(self._registry) >= self._settings.max_connections:
            raise TurnedAwayError(CloseCode.OVERLOADED, "too many connections", _sometime())
        most, origin = self._settings.max_connections_per_address, origin_of(address)
        if most and origin is not None and self._registry.count_from(origin) >= most:
            self._warn(address, most)
            raise TurnedAwayError(CloseCode.OVERLOADED, "too many connections from this address", _sometime())
        now = asyncio.get_running_loop().time()
        if not self._accepted.take(now):
            again = SOONEST_SECONDS + self._appointments.next(now)
            reason = f"too many clients connect at once: try again in {math.ceil(again)} s"
            raise TurnedAwayError(CloseCode.OVERLOADED, reason, again)

    def _warn(self, address: str, most: int) -> None:
        now = asyncio.get_running_loop().time()
        if self._warned_at is None or now - self._warned_at >= WARN_SECONDS:
            self._warned_at = now
            _log.warning(
                "%s has %d connections, and gets no more: if it is a proxy, name it in %sTRUSTED_PROXIES",
                *(address, most, ENV_PREFIX),
            )


def _sometime() -> float:
    """A time to come back where nobody knows when there will be room: random, so that not all come at once."""
    return random.uniform(SOONEST_SECONDS, LATEST_SECONDS)
