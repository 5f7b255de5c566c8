"""Where the keys of tokens come from: a secret that never changes, or a JWKS document that is read again and again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import aiohttp
from jwt import PyJWK

from weftline_bridge.auth import JwksKeys, SecretKey
from weftline_bridge.auth.tokens import TokenHeader
from weftline_bridge.errors import ConfigurationError, KeysUnavailableError, TokenRefusedError
from weftline_bridge.settings import ENV_PREFIX, Settings, is_loopback

_log = logging.getLogger(__name__)

FETCH_SECONDS = 5.0
MAX_DOCUMENT_BYTES = 256 * 1024
MIN_PAUSE = 10.0
"""Seconds between two reads at least, however many tokens name a key that is not known."""


class KeySource(Protocol):
    """Finds the key of a token."""

    async def find(self, header: TokenHeader) -> PyJWK:
        """The key that a token names; raises TokenRefusedError, or KeysUnavailableError when it can't be had now."""

    async def refresh(self) -> None:
        """Read the keys anew where they may change; a failure leaves those that are known."""

    async def close(self) -> None:
        """End a read that goes on."""


class FixedSecret:
    """A secret that is the same for as long as the bridge runs."""

    def __init__(self, key: SecretKey) -> None:
        self._key = key

    async def find(self, header: TokenHeader) -> PyJWK:
        """The secret, for HS256."""
        return self._key.find(header.algorithm, header.key_id)

    async def refresh(self) -> None:
        """Nothing: it does not change."""

    async def close(self) -> None:
        """Nothing: it is never read again."""


class JwksSource:
    """The keys of a JWKS document, which `fetch` reads.

    A new document replaces the old one as a whole, so that a withdrawn key is no longer good. While none can be read
    the old keys stay. A key that is not known has the document read at once, but not more often than every
    `min_pause` seconds (10 if None); all who wait for a read share it.
    """

    def __init__(self, fetch: Callable[[], Awaitable[bytes]], *, min_pause: float | None = None) -> None:
        self._fetch = fetch
        self._min_pause = MIN_PAUSE if min_pause is None else min_pause
        self._keys = JwksKeys()
        self._failed = False
        self._read_at: float | None = None
        self._reading: asyncio.Task[None] | None = None

    async def find(self, header: TokenHeader) -> PyJWK:
        """The key that a token names, looked for again in a new document when it is not known."""
        try:
            return self._keys.find(header.algorithm, header.key_id)
        except TokenRefusedError as error:
            if error.code != "token_key":
                raise
        if self._reading is not None or self._may_read():
            await self.refresh()
        try:
            return self._keys.find(header.algorithm, header.key_id)
        except TokenRefusedError:
            if self._failed:
                raise KeysUnavailableError from None
            raise

    async def refresh(self) -> None:
        """Read the document, or wait for the read that goes on."""
        task = self._reading
        if task is None:
            self._read_at = asyncio.get_running_loop().time()
            task = self._reading = asyncio.create_task(self._read(), name="token-keys")
            task.add_done_callback(self._have_read)
        # A client that goes away must not end the read that others wait for.
        await asyncio.shield(task)

    async def close(self) -> None:
        """End a read that goes on."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait({self._reading})

    def _may_read(self) -> bool:
        return self._read_at is None or asyncio.get_running_loop().time() - self._read_at >= self._min_pause

    def _have_read(self, task: asyncio.Task[None]) -> None:
        del task
        self._reading = None

    async def _read(self) -> None:
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                document = await self._fetch()
            self._keys = JwksKeys.parse(document)
        except (OSError, ValueError, aiohttp.ClientError, TimeoutError) as error:
            self._failed = True
            kept = f"; {len(self._keys)} keys are kept" if len(self._keys) else ""
            _log.warning("the keys of tokens could not be read: %s%s", str(error) or type(error).__name__, kept)
        else:
            self._failed = False


def key_source(settings: Settings) -> KeySource | None:
    """The source of keys that the settings name; None where no tokens are asked for.

    Raises ConfigurationError for a secret that is too short or can't be read, and for two sources.
    """
    # An empty secret is one that is too short, and not the wish to have none.
    named = [
        name for name in ("auth_secret", "auth_secret_file", "auth_jwks") if getattr(settings, name) not in (None, "")
    ]
    if len(named) > 1:
        first, second = (ENV_PREFIX + name.upper() for name in named[:2])
        raise ConfigurationError(second, f"only one of it and {first} can say how tokens are verified")
    if not named:
        return None
    if named[0] == "auth_jwks":
        return JwksSource(_fetcher(settings.auth_jwks))
    return FixedSecret(_secret(settings))


def _secret(settings: Settings) -> SecretKey:
    setting = ENV_PREFIX + ("AUTH_SECRET" if settings.auth_secret_file is None else "AUTH_SECRET_FILE")
    try:
        if settings.auth_secret_file is not None:
            return SecretKey(settings.auth_secret_file.read_bytes().rstrip(b"\r\n"))
        return SecretKey(settings.auth_secret.get_secret_value().encode() if settings.auth_secret else b"")
    except OSError as error:
        raise ConfigurationError(setting, f"the file can't be read: {error.strerror}") from None
    except ValueError as error:
        raise ConfigurationError(setting, str(error)) from None


def _fetcher(location: str) -> Callable[[], Awaitable[bytes]]:
    parts = urlsplit(location)
    if parts.scheme in ("", "file"):
        path = Path(parts.path if parts.scheme else location)
        return lambda: asyncio.to_thread(_read_file, path)
    trusted = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or ""))
    if not trusted or not parts.hostname or parts.username is not None:
        # Whoever could change the keys on their way could make tokens.
        problem = "expected a file or an address that begins with https://, without a user"
        raise ConfigurationError(ENV_PREFIX + "AUTH_JWKS", problem)
    return lambda: _download(location)


def _read_file(path: Path) -> bytes:
    with path.open("rb") as file:
        return _bounded(file.read(MAX_DOCUMENT_BYTES + 1))


async def _download(url: str) -> bytes:
    async with (
        aiohttp.ClientSession(headers={"Accept": "application/json"}) as http,
        http.get(url, allow_redirects=False) as response,
    ):
        if response.status != 200:
            raise ValueError(f"the issuer answered with status {response.status}")
        return _bounded(await response.content.read(MAX_DOCUMENT_BYTES + 1))


def _bounded(document: bytes) -> bytes:
    if len(document) > MAX_DOCUMENT_BYTES:
        raise ValueError(f"the document has more than {MAX_DOCUMENT_BYTES} bytes")
    return document
