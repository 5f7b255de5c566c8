"""Accepts WebSocket connections: who is let in is greeted, and looked after until it is gone."""

from __future__ import annotations

import asyncio
from uuid import uuid4

from aiohttp import web

from weftline_bridge.auth import Identity
from weftline_bridge.frames import Dialect, frame
from weftline_bridge.hub import WHOLE, Hub
from weftline_bridge.metrics import Metrics
from weftline_bridge.protocol.minting import Mint
from weftline_bridge.protocol.names import ALL_WORKFLOWS, SUBPROTOCOL, CloseCode
from weftline_bridge.protocol.payloads import ReadyPayload
from weftline_bridge.rates import CommandRate
from weftline_bridge.recorder import Kind, Tape
from weftline_bridge.session.admission import Admission, TurnedAwayError
from weftline_bridge.session.closing import Leaving, end_connection
from weftline_bridge.session.commands import Commands, scope_of
from weftline_bridge.session.gatekeeper import Gatekeeper
from weftline_bridge.session.intake import READ_FACTOR, Connection, Intake
from weftline_bridge.session.limits import SessionLimits
from weftline_bridge.session.registry import Registry
from weftline_bridge.session.session import Session
from weftline_bridge.session.socket import ClientSocket
from weftline_bridge.session.upgrade import upgrade
from weftline_bridge.settings import Settings
from weftline_bridge.tracing import Tracer
from weftline_bridge.upstream import ExecutorClient

_ABNORMAL = 1006


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
        self._intake = Intake(settings.max_message_bytes, mint, metrics)
        self._limits = SessionLimits(settings.outbox_max_bytes, settings.stall_seconds)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Upgrade a request; from then on the connection is served, which lasts longer than this.

        Raises HTTPServiceUnavailable while draining.
        """
        if self._registry.draining:
            self._metrics.refused.labels("draining").inc()
            raise web.HTTPServiceUnavailable(text="the bridge is restarting\n", headers={"Retry-After": "5"})
        offered = [name.strip() for name in request.headers.get("Sec-WebSocket-Protocol", "").split(",")]
        offered = [name for name in offered if name]
        # A browser hides the close code unless one of the offered protocols was chosen.
        protocol = SUBPROTOCOL if SUBPROTOCOL in offered else "".join(offered[:1])
        try:
            return await self._open(request, protocol)
        except ConnectionError:
            # Who goes away before it is let in is no error of the bridge's; nobody gets this.
            return web.Response(status=400)

    async def _open(self, request: web.Request, protocol: str) -> web.StreamResponse:
        dialect = Dialect.V1 if protocol else Dialect.PLAIN
        refusal: TurnedAwayError | None = None
        identity: Identity | None = None
        try:
            if protocol not in ("", SUBPROTOCOL):
                text = f"the bridge speaks {SUBPROTOCOL}, or no subprotocol"
                raise TurnedAwayError(CloseCode.UNSUPPORTED_SUBPROTOCOL, text)
            identity = await self._admission.admit(request, dialect)
        except TurnedAwayError as error:
            refusal = error
        upgraded = await upgrade(request, protocol, self._settings.max_message_bytes * READ_FACTOR)
        if isinstance(upgraded, web.Response):
            return upgraded
        socket = upgraded.socket
        try:
            if refusal is not None:
                self._turn_away(socket, protocol, refusal)
            else:
                self._begin(socket, self._gatekeeper.address_of(request), dialect, identity)
            if upgraded.early:
                socket.data_received(upgraded.early)
        except BaseException:
            # aiohttp knows of this connection no more, so that it would stay for ever.
            socket.abort()
            raise
        return upgraded.response

    def _turn_away(self, socket: ClientSocket, protocol: str, error: TurnedAwayError) -> None:
        self._metrics.refused.labels(error.code.name.lower()).inc()
        if error.again is not None and protocol == SUBPROTOCOL:
            advice = self._mint.draining(round(error.again * 1000))
            socket.write(frame(b"[%b]" % advice.data))
        leaving = Leaving()
        socket.listen(leaving)
        ending = end_connection(socket, error.code, error.reason, leaving.hung_up)
        self._hub.tasks.start(ending, "turn-away")

    def _begin(self, socket: ClientSocket, address: str, dialect: Dialect, identity: Identity | None) -> None:
        connection = self._connection(socket, address, dialect, identity)
        session = connection.session
        self._registry.add(session)
        socket.listen(connection)
        if session.dialect is Dialect.V1:
            session.send(self._mint.ready(self._ready(session)))
        if session.identity is not None:
            self._welcome(session)

    def _connection(
        self, socket: ClientSocket, address: str, dialect: Dialect, identity: Identity | None
    ) -> Connection:
        connection_id, recorder = uuid4().hex, self._hub.recorder
        name = dialect.name.lower()
        session = Session(
            connection_id,
            dialect,
            socket=socket,
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
        return Connection(session, commands, self._intake, self._ended)

    def _ended(self, connection: Connection) -> None:
        connection.session.hung_up()
        self._hub.leave(connection.session)
        self._hub.tasks.start(self._end(connection), f"end-{connection.session.id}")

    async def _end(self, connection: Connection) -> None:
        session = connection.session
        try:
            await connection.commands.close()
            # A subscription that was being answered may just have got its reader attached.
            self._hub.leave(session)
            await session.closed()
        finally:
            session.abort()
            code = session.close_code or _ABNORMAL
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
