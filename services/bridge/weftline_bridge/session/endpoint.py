"""Accepts WebSocket connections, and reads and answers what each client sends until it is gone."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass
from uuid import uuid4

from aiohttp import WSMsgType, web

from weftline_bridge.auth import Identity
from weftline_bridge.errors import BadMessageError, CommandRefusedError, Misfit
from weftline_bridge.frames import Dialect
from weftline_bridge.hub import WHOLE, Hub
from weftline_bridge.metrics import Metrics
from weftline_bridge.protocol.inbound import Echo, Refresh, Request, parse_message, split_frame
from weftline_bridge.protocol.minting import Mint
from weftline_bridge.protocol.names import ALL_WORKFLOWS, SUBPROTOCOL, CloseCode
from weftline_bridge.protocol.payloads import ReadyPayload
from weftline_bridge.rates import CommandRate
from weftline_bridge.recorder import Kind, Tape
from weftline_bridge.session.admission import Admission, TurnedAwayError
from weftline_bridge.session.commands import Commands, scope_of
from weftline_bridge.session.gatekeeper import Gatekeeper
from weftline_bridge.session.limits import SessionLimits, Socket
from weftline_bridge.session.registry import Registry
from weftline_bridge.session.session import CLOSE_SECONDS, Session
from weftline_bridge.settings import Settings
from weftline_bridge.tracing import Tracer
from weftline_bridge.upstream import ExecutorClient

_log = logging.getLogger(__name__)

MAX_STRIKES = 3
READ_FACTOR = 4
"""A message of up to so many times the limit is read to its end, so that it can be refused by name."""

_ABNORMAL = 1006
_NEVER_SENT = (1005, 1006, 1015)
_LAST_CODE = 4999


@dataclass(slots=True)
class _Connection:
    """One client while it is connected: `strikes` counts bad messages in a row, `presented` tells of a token."""

    session: Session
    commands: Commands
    strikes: int = 0
    presented: bool = False


class Endpoint:
    """Serves WebSocket connections."""

    def __init__(
        self,
        settings: Settings,
        *,
        hub: Hub,
        client: ExecutorClient,
        registry: Registry,
        mint: Mint,
        metrics: Metrics,
        gatekeeper: Gatekeeper,
        version: str,
        tracer: Tracer | None = None,
    ) -> None:
        self._settings = settings
        self._hub = hub
        self._client = client
        self._registry = registry
        self._mint = mint
        self._metrics = metrics
        self._version = version
        self._tracer = tracer
        self._gatekeeper = gatekeeper
        self._admission = Admission(settings, registry, gatekeeper)
        self._limits = SessionLimits(settings.outbox_max_bytes, settings.stall_seconds)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Upgrade a request and serve the connection until it ends.

        Raises HTTPServiceUnavailable while draining.
        """
        if self._registry.draining:
            self._metrics.refused.labels("draining").inc()
            raise web.HTTPServiceUnavailable(text="the bridge is restarting\n", headers={"Retry-After": "5"})
        offered = [name.strip() for name in request.headers.get("Sec-WebSocket-Protocol", "").split(",")]
        offered = [name for name in offered if name]
        if offered and SUBPROTOCOL not in offered:
            # A browser hides the close code unless one of the offered protocols was chosen.
            text = f"the bridge speaks {SUBPROTOCOL}, or no subprotocol"
            return await self._turn_away(request, offered[0], CloseCode.UNSUPPORTED_SUBPROTOCOL, text)
        protocol = SUBPROTOCOL if offered else ""
        dialect = Dialect.V1 if protocol else Dialect.PLAIN
        try:
            identity = await self._admission.admit(request, dialect)
        except TurnedAwayError as error:
            return await self._turn_away(request, protocol, error.code, error.reason, error.again)
        ws = self._socket(protocol)
        await ws.prepare(request)
        await self._serve(request, ws, dialect, identity)
        return ws

    def _socket(self, protocol: str) -> Socket:
        return web.WebSocketResponse(
            protocols=(protocol,) if protocol else (),
            autoping=False,
            compress=False,
            decode_text=False,
            autoclose=False,
            max_msg_size=self._settings.max_message_bytes * READ_FACTOR,
            timeout=CLOSE_SECONDS,
        )

    async def _turn_away(
        self, request: web.Request, protocol: str, code: CloseCode, reason: str, again: float | None = None
    ) -> Socket:
        ws = self._socket(protocol)
        await ws.prepare(request)
        self._metrics.refused.labels(code.name.lower()).inc()
        if again is not None and protocol == SUBPROTOCOL:
            advice = self._mint.draining(round(again * 1000))
            await ws.send_frame(b"[%b]" % advice.data, WSMsgType.TEXT)
        await ws.close(code=code, message=reason.encode())
        return ws

    async def _serve(self, request: web.Request, ws: Socket, dialect: Dialect, identity: Identity | None) -> None:
        transport = request.transport
        if transport is None:
            return
        loop = asyncio.get_running_loop()
        connection_id, recorder = uuid4().hex, self._hub.recorder
        address = self._gatekeeper.address_of(request)
        name = dialect.name.lower()
        session = Session(
            connection_id,
            dialect,
            transport=transport,
            address=address,
            flusher=self._hub.flusher,
            limits=self._limits,
            mint=self._mint,
            metrics=self._metrics,
            relieve=self._hub.relief.relieve,
            now=loop.time(),
            identity=identity,
            tape=Tape(recorder.connection_opened(connection_id, name, address, self._mint.now()), self._mint.now),
        )
        commands = Commands(
            session,
            hub=self._hub,
            client=self._client,
            mint=self._mint,
            metrics=self._metrics,
            gatekeeper=self._gatekeeper,
            rate=CommandRate(self._settings.command_rate, self._settings.command_burst),
            welcome=self._welcome,
            timeout=self._settings.command_timeout,
            max_subscriptions=self._settings.max_subscriptions,
            tracer=self._tracer,
        )
        self._registry.add(session)
        try:
            if dialect is Dialect.V1:
                session.send(self._mint.ready(self._ready(session)))
            if identity is not None:
                self._welcome(session)
            await self._read(ws, _Connection(session, commands), loop)
        finally:
            session.hung_up()
            self._hub.leave(session)
            await commands.close()
            # A subscription that was being answered may just have got its reader attached.
            self._hub.leave(session)
            await session.closed()
            session.abort()
            code = session.close_code or ws.close_code or _ABNORMAL
            self._registry.remove(session, code)
            recorder.connection_closed(session.id, code, session.subject, self._mint.now())

    def _ready(self, session: Session) -> ReadyPayload:
        settings, identity = self._settings, session.identity
        return ReadyPayload(
            session.id,
            int(settings.heartbeat_interval * 1000),
            int(settings.heartbeat_timeout * 1000),
            settings.max_message_bytes,
            self._version,
            session_ttl=None if identity is None else self._gatekeeper.time_left(identity),
            auth_timeout=int(settings.auth_timeout * 1000) if identity is None else None,
        )

    def _welcome(self, session: Session) -> None:
        """Tell a client that has shown who it is how things stand."""
        session.send(self._registry.status())
        if session.dialect is Dialect.PLAIN:
            session.tape.note(Kind.SUBSCRIBED, ALL_WORKFLOWS, word="all")
            self._hub.join_everyone(session, WHOLE._replace(scope=scope_of(session.identity)))

    async def _read(self, ws: Socket, connection: _Connection, loop: asyncio.AbstractEventLoop) -> None:
        session = connection.session
        while True:
            message = await ws.receive()
            session.heard = loop.time()
            kind = message.type
            if kind is WSMsgType.TEXT:
                self._take_frame(message.data, connection)
            elif kind is WSMsgType.PONG:
                session.ponged(bytes(message.data), session.heard)
            elif kind is WSMsgType.PING:
                session.pong(bytes(message.data))
            elif kind is WSMsgType.BINARY:
                misfit = Misfit("", "a text frame", "a binary frame")
                self._strike(connection, BadMessageError("binary_frame", "messages are text frames", [misfit]))
            else:
                if kind is WSMsgType.CLOSE and not session.closing:
                    with contextlib.suppress(TimeoutError, ConnectionError):
                        async with asyncio.timeout(CLOSE_SECONDS):
                            await ws.close(code=_answer_to(message.data))
                return

    def _take_frame(self, data: bytes, connection: _Connection) -> None:
        session = connection.session
        self._metrics.bytes_in.inc(len(data))
        if len(data) > self._settings.max_message_bytes:
            misfit = Misfit("", f"at most {self._settings.max_message_bytes} bytes", f"{len(data)} bytes")
            self._strike(connection, BadMessageError("message_too_large", "the message is too large", [misfit]))
            session.close(CloseCode.MESSAGE_TOO_BIG, "the message is too large")
            return
        try:
            items = split_frame(data, session.dialect)
        except BadMessageError as error:
            self._strike(connection, error)
            if error.code == "invalid_utf8":
                session.close(CloseCode.INVALID_TEXT, error.message)
            return
        for index, raw in enumerate(items):
            if session.closing:
                return
            try:
                request = parse_message(raw, session.dialect, f"[{index}]" if len(items) > 1 else "")
            except BadMessageError as error:
                self._strike(connection, error)
                continue
            connection.strikes = 0
            session.received += 1
            self._metrics.messages_in.add(request.kind, 1)
            if isinstance(request, Echo):
                self._take_echo(request, session)
            elif self._may_ask(connection, request):
                connection.commands.submit(request)

    def _may_ask(self, connection: _Connection, request: Request) -> bool:
        """Whether a request may be carried out in its turn; the first of an unknown client has to be its token."""
        session = connection.session
        if session.identity is not None or connection.presented or isinstance(request, Refresh):
            connection.presented = True
            return True
        error = CommandRefusedError("unauthenticated", "the first message has to be auth.refresh")
        session.send(self._mint.refusal(session.dialect, error, workflow_id=request.workflow_id, command_id=request.id))
        session.close(CloseCode.UNAUTHENTICATED, error.message)
        return False

    def _take_echo(self, echo: Echo, session: Session) -> None:
        if echo.server_time is not None:
            took = (self._mint.now() - echo.server_time) / 1000
            if 0 <= took < 3600:
                session.measured(took)

    def _strike(self, connection: _Connection, error: BadMessageError) -> None:
        """Tell the client what is wrong with its message; the third bad one in a row ends the connection."""
        session = connection.session
        self._metrics.bad_messages.labels(error.code).inc()
        refusal = self._mint.refusal(session.dialect, error, workflow_id="", command_id=error.command_id)
        session.send(refusal)
        connection.strikes += 1
        if connection.strikes >= MAX_STRIKES:
            session.close(CloseCode.BAD_MESSAGE, f"{MAX_STRIKES} bad messages in a row; the last: {error.code}")


def _answer_to(code: int) -> int:
    """The code that answers a client's close; aiohttp lets some through that may not be sent (RFC 6455, 7.4)."""
    return CloseCode.PROTOCOL_ERROR if code in _NEVER_SENT or code > _LAST_CODE else CloseCode.NORMAL
