"""Reads what a client sends on a WebSocket, strictly by RFC 6455, and knows what has to be answered to it."""

from __future__ import annotations

import logging
from typing import NamedTuple

from websockets.frames import Close, Frame
from websockets.frames import Opcode as FrameOpcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from weftline_bridge.frames.websocket import Opcode

_log = logging.getLogger(__name__)


class Received(NamedTuple):
    """A whole message, or a control frame."""

    opcode: Opcode
    payload: bytes


class Incoming:
    """The frames of one client, put together to messages.

    A message of more than `max_message_bytes` fails the connection, as does all else that RFC 6455 forbids.
    """

    __slots__ = ("_opcode", "_parts", "_protocol")

    def __init__(self, max_message_bytes: int) -> None:
        self._protocol = ServerProtocol(state=State.OPEN, max_size=max_message_bytes, logger=_log)
        self._opcode = Opcode.TEXT
        self._parts: bytearray | None = None

    def feed(self, data: bytes) -> list[Received]:
        """What has come with `data`, in order; nothing after the client's close, or after a failure."""
        self._protocol.receive_data(data)
        frames = [event for event in self._protocol.events_received() if isinstance(event, Frame)]
        return [received for each in frames if (received := self._complete(each)) is not None]

    @property
    def failure(self) -> Close | None:
        """What to close the connection with, for the client broke the rules; None while it has not."""
        return None if self._protocol.parser_exc is None else self._protocol.close_sent

    @property
    def close_code(self) -> int | None:
        """The code of the client's close, 1005 when it gave none; None when it has not closed."""
        close = self._protocol.close_rcvd
        return None if close is None else close.code

    def answers(self) -> bytes:
        """The frames that answer what came: pongs, and a close to a close."""
        return b"".join(self._protocol.data_to_send())

    def farewell(self, code: int, reason: str) -> bytes:
        """The close frame to send, at most once; where the client has closed, or failed, it is what answers that."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(code, reason)
        return self.answers()

    def _complete(self, frame: Frame) -> Received | None:
        """A message that ends with `frame`, which may be a control frame, too; None when more of it has to come."""
        if frame.opcode is FrameOpcode.CONT:
            parts = bytearray() if self._parts is None else self._parts
            parts += frame.data
            if not frame.fin:
                return None
            self._parts = None
            return Received(self._opcode, bytes(parts))
        if not frame.fin:
            self._opcode, self._parts = Opcode(frame.opcode), bytearray(frame.data)
            return None
        return Received(Opcode(frame.opcode), bytes(frame.data))
