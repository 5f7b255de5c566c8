"""Takes what clients send: checks it, answers what is wrong, and passes on what they ask for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from weftline_bridge.errors import BadMessageError, CommandRefusedError, Misfit
from weftline_bridge.frames import Incoming, Opcode, Received
from weftline_bridge.metrics import Metrics
from weftline_bridge.protocol.inbound import Echo, Refresh, Request, parse_message, split_frame
from weftline_bridge.protocol.minting import Mint
from weftline_bridge.protocol.names import CloseCode
from weftline_bridge.session.commands import Commands
from weftline_bridge.session.session import Session

MAX_STRIKES = 3
READ_FACTOR = 4
"""A message of up to so many times the limit is read to its end, so that it can be refused by name."""


@dataclass(slots=True)
class Connection:
    """One client while it is connected, as its socket sees it.

    `strikes` counts bad messages in a row, `presented` tells of a token, `end` is called when it is over.
    """

    session: Session
    commands: Commands
    intake: Intake
    end: Callable[[Connection], None]
    strikes: int = 0
    presented: bool = False

    def received(self, messages: Sequence[Received], incoming: Incoming) -> None:
        """See Listener."""
        self.intake.take(self, messages, incoming)

    def filled(self) -> None:
        """See Listener."""
        self.session.filled()

    def emptied(self) -> None:
        """See Listener."""
        self.session.emptied()

    def ended(self) -> None:
        """See Listener."""
        self.end(self)


class Intake:
    """What all connections have in common in taking messages of up to `max_message_bytes`."""

    def __init__(self, max_message_bytes: int, mint: Mint, metrics: Metrics) -> None:
        self._max_bytes = max_message_bytes
        self._mint = mint
        self._metrics = metrics

    def take(self, connection: Connection, messages: Sequence[Received], incoming: Incoming) -> None:
        """Take what came from a client."""
        session = connection.session
        for message in messages:
            session.heard = asyncio.get_running_loop().time()
            if session.closing:
                break
            self._take_message(message, connection)
        failure, code = incoming.failure, incoming.close_code
        if failure is not None:
            session.close(failure.code, failure.reason)
        elif code is not None:
            # In answer to the client's close, if the bridge has not begun to close itself.
            session.close(code, "")
            session.hung_up()
        else:
            session.answer(incoming.answers())

    def _take_message(self, message: Received, connection: Connection) -> None:
        session = connection.session
        if message.opcode is Opcode.TEXT:
            self._take_text(message.payload, connection)
        elif message.opcode is Opcode.PONG:
            session.ponged(message.payload, session.heard)
        elif message.opcode is Opcode.BINARY:
            misfit = Misfit("", "a text frame", "a binary frame")
            self._strike(connection, BadMessageError("binary_frame", "messages are text frames", [misfit]))

    def _take_text(self, data: bytes, connection: Connection) -> None:
        session = connection.session
        self._metrics.bytes_in.inc(len(data))
        if len(data) > self._max_bytes:
            misfit = Misfit("", f"at most {self._max_bytes} bytes", f"{len(data)} bytes")
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

    def _may_ask(self, connection: Connection, request: Request) -> bool:
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

    def _strike(self, connection: Connection, error: BadMessageError) -> None:
        """Tell the client what is wrong with its message; the third bad one in a row ends the connection."""
        session = connection.session
        self._metrics.bad_messages.labels(error.code).inc()
        refusal = self._mint.refusal(session.dialect, error, workflow_id="", command_id=error.command_id)
        session.send(refusal)
        connection.strikes += 1
        if connection.strikes >= MAX_STRIKES:
            session.close(CloseCode.BAD_MESSAGE, f"{MAX_STRIKES} bad messages in a row; the last: {error.code}")
