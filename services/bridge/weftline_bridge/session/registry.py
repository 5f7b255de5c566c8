"""All open connections, and what is done for each of them from time to time: pings, heartbeats, status."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Iterator

from weftline_bridge.auth import origin_of
from weftline_bridge.frames import Batch, Dialect, Message
from weftline_bridge.hub import Hub
from weftline_bridge.metrics import Metrics
from weftline_bridge.protocol.minting import Mint
from weftline_bridge.protocol.names import CloseCode
from weftline_bridge.protocol.payloads import StatusPayload
from weftline_bridge.session.gatekeeper import Gatekeeper
from weftline_bridge.session.session import Session

MAX_RECONNECT_MS = 5000
ABORT_SECONDS = 1.0
"""How long the end waits for connections that were cut to be taken off the books."""

_SPREAD = 0.6
_SPREAD_STEP = 0.05


class Registry:
    """The sessions. All times are in seconds.

    A connection is pinged every `interval`; it is dead when nothing came from it within `patience` of a ping. It is
    closed when its client has not said who it is within `auth_timeout`, and `auth_grace` after its token has expired.
    `elsewhere` is how many connections other workers of the bridge have, as far as is known.
    """

    def __init__(
        self,
        hub: Hub,
        mint: Mint,
        metrics: Metrics,
        *,
        version: str,
        interval: float,
        patience: float,
        status_interval: float,
        gatekeeper: Gatekeeper,
        auth_timeout: float,
        auth_grace: float,
    ) -> None:
        self.draining = False
        self.elsewhere = 0
        self._hub = hub
        self._mint = mint
        self._metrics = metrics
        self._version = version
        self._interval = interval
        self._patience = patience
        self._status_interval = status_interval
        self._gatekeeper = gatekeeper
        self._auth_timeout = auth_timeout
        self._auth_grace = auth_grace
        self._sessions: dict[Session, None] = {}
        self._by_origin: Counter[str] = Counter()
        self._empty = asyncio.Event()
        self._empty.set()

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._sessions))

    def count_from(self, origin: str) -> int:
        """How many connections there are from one address, as `origin_of` names it."""
        return self._by_origin[origin]

    def start(self) -> None:
        """Begin to look after the connections."""
        tick = min(1.0, self._interval / 4, self._patience / 4)
        self._hub.tasks.repeat(self._look_after, "heartbeats", tick)
        if self._gatekeeper.asks_for_tokens:
            tick = min(1.0, self._auth_timeout / 4, max(0.05, self._auth_grace / 4))
            self._hub.tasks.repeat(self._end_unauthenticated, "token-ends", tick)
        self._hub.tasks.repeat(self._tell_status, "status", 0.0)

    def add(self, session: Session) -> None:
        """A connection opened."""
        self._sessions[session] = None
        self._by_origin[origin_of(session.address) or ""] += 1
        self._empty.clear()
        dialect = session.dialect.name.lower()
        self._metrics.connections.labels(dialect).inc()
        self._metrics.connects.labels(dialect).inc()

    def remove(self, session: Session, code: int) -> None:
        """A connection ended with close code `code`."""
        del self._sessions[session]
        origin = origin_of(session.address) or ""
        self._by_origin[origin] -= 1
        if not self._by_origin[origin]:
            del self._by_origin[origin]
        self._metrics.connections.labels(session.dialect.name.lower()).dec()
        self._metrics.disconnects.labels(str(code)).inc()
        if not self._sessions:
            self._empty.set()

    def status(self) -> Message:
        """`system.status` as of now."""
        executor = "connected" if self._hub.connected else "reconnecting"
        payload = StatusPayload(executor, len(self) + self.elsewhere, self._hub.active_workflows, self._version)
        return self._mint.status(payload)

    async def drain(self, seconds: float) -> None:
        """Ask all clients to come back later, close their connections, and end those that remain after `seconds`.

        The closes are spread over the first part of that time, in random order.
        """
        self.draining = True
        for session in self:
            if session.dialect is Dialect.V1 and session.identity is not None:
                session.send(self._mint.draining(random.randint(0, MAX_RECONNECT_MS)))
        try:
            async with asyncio.timeout(seconds):
                await self._close_all(seconds * _SPREAD)
                await self._empty.wait()
        except TimeoutError:
            for session in self:
                session.abort()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ABORT_SECONDS):
                    await self._empty.wait()

    async def _close_all(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        sessions = list(self._sessions)
        random.shuffle(sessions)
        began, closed = loop.time(), 0
        while closed < len(sessions):
            due = len(sessions) if not seconds else 1 + int(len(sessions) * (loop.time() - began) / seconds)
            for session in sessions[closed:due]:
                session.close(CloseCode.RESTARTING, "the bridge is restarting")
            closed = max(closed, due)
            if closed < len(sessions):
                try:
                    async with asyncio.timeout(_SPREAD_STEP):
                        await self._empty.wait()
                    return
                except TimeoutError:
                    pass

    async def _look_after(self) -> None:
        now = asyncio.get_running_loop().time()
        due: list[Session] = []
        for session in self._sessions:
            if session.closing or session.identity is None:
                continue
            session.watch(now)
            since_ping = now - session.pinged
            if since_ping >= self._interval or (since_ping >= self._patience and session.heard < session.pinged):
                due.append(session)
        if due:
            self._hub.begin_heartbeats()
        for session in due:
            if session.heard < session.pinged:
                session.close(CloseCode.HEARTBEAT_MISSED, f"nothing came within {self._patience:g} s of a ping")
            else:
                session.ping(now)
                session.offer(self._hub.heartbeat(session))

    async def _tell_status(self) -> None:
        changed = self._hub.changed
        try:
            async with asyncio.timeout(self._status_interval):
                await changed.wait()
        except TimeoutError:
            pass
        changed.clear()
        if self._sessions:
            batch = Batch([self.status()])
            for session in self._sessions:
                if session.identity is not None:
                    session.offer(batch)

    async def _end_unauthenticated(self) -> None:
        now = asyncio.get_running_loop().time()
        latest = self._gatekeeper.now() - self._auth_grace
        for session in self:
            identity = session.identity
            if identity is None:
                if now - session.opened >= self._auth_timeout:
                    session.close(CloseCode.UNAUTHENTICATED, f"no token came within {self._auth_timeout:g} s")
            elif identity.expires is not None and identity.expires <= latest:
                session.close(CloseCode.UNAUTHENTICATED, "the token has expired, and no other came")
