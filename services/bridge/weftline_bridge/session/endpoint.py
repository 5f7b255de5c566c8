"""Accepts WebSocket connections, and reads and answers what each client sends until it is gone."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass
from uuid import uuid4

from aiohttp import WSMsgType, web
from aiohttp.http import WSMessageNoDecodeText

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
from weftline_bridge.session.closing import CLOSE_SECONDS
from weftline_bridge.session.commands import Commands, scope_of
from weftline_bridge.session.gatekeeper import Gatekeeper
from weftline_bridge.session.limits import SessionLimits, Socket
from weftline_bridge.session.registry import Registry
from weftline_bridge.session.session import Session
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
    """One client while it is connected.

    `strikes` counts bad messages in a row, `presented` tells of a token, `answer` is the code that its close is
    answered with.
    """

    ws: Socket
    session: Session
    commands: Commands
    strikes: int = 0
    presented: bool = False
    answer: int | None = None


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
        # What only the opening needs is not kept for as long as the connection lasts.
        opened = await self._open(request)
        if isinstance(opened, _Connection):
            await self._serve(opened)
            return opened.ws
        return opened

    async def _open(self, request: web.Request) -> _Connection | web.StreamResponse:
        """Upgrade a request; an answer for who is not let in."""
        if self._registry.draining:
            self._metrics.refused.labels("draining").inc()
            raise web.HTTPServiceUnavailable(text="the bridge is restarting\n", headers={"Retry-After": "5"})
        offered = [name.strip() for name in request.headers.get("Sec-WebSocket-Protocol", "").split(",")]
        offered = [name for name in offered if name]
        # A browser hides the close code unless one of the offered protocols was chosen.
        protocol = SUBPROTOCOL if SUBPROTOCOL in offered else "".join(offered[:1])
        dialect = Dialect.V1 if protocol else Dialect.PLAIN
        ws = self._socket(protocol)
        with contextlib.suppress(ConnectionError):
            try:
                if protocol not in ("", SUBPROTOCOL):
                    text = f"the bridge speaks {SUBPROTOCOL}, or no subprotocol"
                    raise TurnedAwayError(CloseCode.UNSUPPORTED_SUBPROTOCOL, text)
                identity = await self._admission.admit(request, dialect)
            except TurnedAwayError as error:
                await self._turn_away(request, ws, protocol, error)
                return ws
            await ws.prepare(request)
            if request.transport is not None:
                return self._connection(request, request.transport, ws, dialect, identity)
        # Who goes away before it is let in is no error of the bridge's; aiohttp would take a socket that is half open
        # for one, and does not send this.
        return web.Response(status=400)

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

    async def _turn_away(self, request: web.Request, ws: Socket, protocol: str, error: TurnedAwayError) -> None:
        await ws.prepare(request)
        self._metrics.refused.labels(error.code.name.lower()).inc()
        if error.again is not None and protocol == SUBPROTOCOL:
            advice = self._mint.draining(round(error.again * 1000))
            await ws.send_frame(b"[%b]" % advice.data, WSMsgType.TEXT)
        await ws.close(code=error.code, message=error.reason.encode())

    def _connection(
        self,
        request: web.Request,
        transport: asyncio.WriteTransport,
        ws: Socket,
        dialect: Dialect,
        identity: Identity | None,
    ) -> _Connection:
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
            now=asyncio.get_running_loop().time(),
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
        return _Connection(ws, session, commands)

    async def _serve(self, connection: _Connection) -> None:
        ws, session = connection.ws, connection.session
        self._registry.add(session)
        try:
            if session.dialect is Dialect.V1:
                session.send(self._mint.ready(self._ready(session)))
            if session.identity is not None:
                self._welcome(session)
            # No message is kept until the next one comes.
            while self._take(await ws.receive(), connection):
                pass
            if connection.answer is not None:
                with contextlib.suppress(TimeoutError, ConnectionError):
                    async with asyncio.timeout(CLOSE_SECONDS):
                        await ws.close(code=connection.answer)
        finally:
            session.hung_up()
            self._hub.leave(session)
            await connection.commands.close()
            # A subscription that was being answered may just have got its reader attached.
            self._hub.leave(session)
            await session.closed()
            session.abort()
            code = session.close_code or ws.close_code or _ABNORMAL
            self._registry.remove(session, code)
            self._hub.recorder.connection_closed(session.id, code, session.subject, self._mint.now())

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

    def _take(self, message: WSMessageNoDecodeText, connection: _Connection) -> bool:
        """Take what came from a client; whether more may come."""
        session = connection.session
        session.heard = asyncio.get_running_loop().time()
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
                connection.answer = _answer_to(message.data)
            return False
        return True

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
