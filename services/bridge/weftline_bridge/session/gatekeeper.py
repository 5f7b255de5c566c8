"""Finds out who a request is of: by its token in a header or a cookie, or nobody where none is asked for."""

from __future__ import annotations

import time
from collections.abc import Callable

from aiohttp import web

from weftline_bridge.auth import (
    ANONYMOUS,
    Identity,
    OriginPolicy,
    TokenRules,
    TrustedProxies,
    check_token,
    read_header,
)
from weftline_bridge.errors import ConfigurationError, KeysUnavailableError, TokenRefusedError
from weftline_bridge.metrics import Metrics
from weftline_bridge.session.keys import KeySource, key_source
from weftline_bridge.settings import ENV_PREFIX, Settings, is_loopback, split_address

_OWN_SITE = frozenset({"same-origin", "none"})


class Gatekeeper:
    """Checks origins and tokens by the settings; raises ConfigurationError when these contradict each other.

    `origins` says which pages may connect, `clock` gives the time in seconds since the Unix epoch.
    """

    def __init__(self, settings: Settings, metrics: Metrics, clock: Callable[[], float] = time.time) -> None:
        try:
            self.origins = OriginPolicy.parse(settings.allowed_origins)
        except ValueError as error:
            raise ConfigurationError(ENV_PREFIX + "ALLOWED_ORIGINS", str(error)) from error
        try:
            self.proxies = TrustedProxies.parse(settings.trusted_proxies)
        except ValueError as error:
            raise ConfigurationError(ENV_PREFIX + "TRUSTED_PROXIES", str(error)) from error
        if settings.auth_cookie and self.origins.any_origin:
            problem = "a browser sends a cookie for any page, so that ALLOWED_ORIGINS has to be a list, not *"
            raise ConfigurationError(ENV_PREFIX + "AUTH_COOKIE", problem)
        self.keys: KeySource | None = key_source(settings)
        self._local = is_loopback(split_address(settings.listen)[0])
        self._check_exposure(settings)
        self._cookie = settings.auth_cookie
        self._rules = TokenRules(settings.auth_issuer, settings.auth_audience, settings.auth_leeway)
        self._metrics = metrics
        self.clock = clock

    @property
    def asks_for_tokens(self) -> bool:
        """Whether a client has to say who it is."""
        return self.keys is not None

    def serves_host(self, host: str) -> bool:
        """Whether a request with this `Host` header may be answered.

        Where nobody is asked who they are because only this machine can connect, a foreign page must not get in by a
        name of its own that leads to this machine (DNS rebinding). An address or `localhost` is no name of its own.
        """
        if self.asks_for_tokens or not self._local:
            return True
        return self.origins.names_host(host)

    def _check_exposure(self, settings: Settings) -> None:
        if self.asks_for_tokens and settings.allow_anonymous:
            problem = "it can't be true where tokens are asked for: choose one of the two"
            raise ConfigurationError(ENV_PREFIX + "ALLOW_ANONYMOUS", problem)
        if not self.asks_for_tokens and not self._local and not settings.allow_anonymous:
            problem = (
                f"other machines reach {settings.listen}, and nobody would be asked who they are: set "
                f"{ENV_PREFIX}AUTH_SECRET_FILE or {ENV_PREFIX}AUTH_JWKS to ask for tokens, or "
                f"{ENV_PREFIX}ALLOW_ANONYMOUS=true to let anyone watch and control everything"
            )
            raise ConfigurationError(ENV_PREFIX + "LISTEN", problem)

    def address_of(self, request: web.Request) -> str:
        """The address of the client, as far as it is known."""
        return self.proxies.client(request.remote or "", request.headers.getall("X-Forwarded-For", []))

    def now(self) -> float:
        """The time that tokens are checked by."""
        return self.clock()

    def expired(self, identity: Identity) -> bool:
        """Whether the token of an identity is not good any more."""
        return identity.expires is not None and identity.expires <= self.clock() - self._rules.leeway

    def time_left(self, identity: Identity) -> int | None:
        """For how long its token is still good, in ms; None for ever."""
        return None if identity.expires is None else max(0, int((identity.expires - self.clock()) * 1000))

    async def identify(self, request: web.Request) -> Identity | None:
        """Who a request is of; None when it has no token and one is asked for.

        Raises TokenRefusedError or KeysUnavailableError.
        """
        if self.keys is None:
            return ANONYMOUS
        token = self._token(request)
        return None if token is None else await self.check(token)

    async def check(self, token: str) -> Identity:
        """Who a token is of. Raises TokenRefusedError or KeysUnavailableError."""
        if self.keys is None:
            raise TokenRefusedError("unsupported", "this bridge asks for no tokens")
        try:
            key = await self.keys.find(read_header(token))
            identity = check_token(token, key, self._rules, self.clock())
        except (TokenRefusedError, KeysUnavailableError) as error:
            self._metrics.tokens.labels(error.code).inc()
            raise
        self._metrics.tokens.labels("accepted").inc()
        return identity

    def _token(self, request: web.Request) -> str | None:
        header = request.headers.get("Authorization")
        if header is not None:
            scheme, _, token = header.partition(" ")
            if scheme.lower() != "bearer" or not token.strip():
                raise TokenRefusedError("token_malformed", "expected Authorization: Bearer TOKEN")
            return token.strip()
        token = request.cookies.get(self._cookie, "") if self._cookie else ""
        if not token:
            return None
        if not self._from_own_page(request):
            # The browser adds the cookie whoever asks: only where the request comes from shows who does.
            raise TokenRefusedError("token_cookie", "a cookie is taken from pages of this origin only")
        return token

    def _from_own_page(self, request: web.Request) -> bool:
        origin = request.headers.get("Origin")
        if origin is not None:
            return self.origins.allows(origin, request.host, neighbours=False)
        return request.headers.get("Sec-Fetch-Site") in _OWN_SITE
