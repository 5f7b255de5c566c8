"""The client's side of WebSocket, only as much as it takes to count what thousands of connections receive."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from enum import IntEnum

_SEQ = b'"seq":'
_MESSAGE = re.compile(rb'"seq":(\d+)')
_SENT = re.compile(rb'"sentUs":(\d+)')
_LEN_16 = 126
_LEN_64 = 127
_KEY = "d2VmdGxpbmUtYmVuY2gtMQ=="


class Opcode(IntEnum):
    """What a frame carries."""

    TEXT = 0x1
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


class StreamBroken(Exception):
    """A connection did not bring what it should; says what."""


def handshake(port: int, path: str, subprotocol: str) -> bytes:
    """The request that opens a WebSocket."""
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {_KEY}",
        "Sec-WebSocket-Version: 13",
        *([f"Sec-WebSocket-Protocol: {subprotocol}"] if subprotocol else []),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def client_frame(payload: bytes, opcode: Opcode = Opcode.TEXT) -> bytes:
    """A masked frame of less than 64 KiB; the mask is zero, so that the payload stays as it is."""
    size = len(payload)
    length = bytes((0x80 | size,)) if size < _LEN_16 else bytes((0x80 | _LEN_16,)) + size.to_bytes(2, "big")
    return bytes((0x80 | opcode,)) + length + bytes(4) + payload


class Stream(ABC):
    """What one connection receives after its handshake.

    `received` is how many events came, `joined` whether the server has let the client in. A stream with `samples`
    looks at every event and notes how long it took, in microseconds; one without looks only at what it must to count.
    Replies to be written are in `replies`. Raises StreamBroken when an event is missing, double or out of order.
    """

    def __init__(self, samples: list[int] | None) -> None:
        self.received = 0
        self.joined = False
        self.replies: list[bytes] = []
        self._samples = samples
        self._rest = b""

    def feed(self, buffer: bytearray, size: int, now_us: int) -> None:
        """Take the first `size` bytes of `buffer`, which came at `now_us`."""
        data, end = buffer, size
        if self._rest:
            data = bytearray(self._rest)
            data += memoryview(buffer)[:size]
            end = len(data)
        position = 0
        while True:
            start = position + 2
            if start > end:
                break
            length = data[position + 1]
            if length == _LEN_16:
                start += 2
                if start > end:
                    break
                length = (data[start - 2] << 8) | data[start - 1]
            elif length == _LEN_64:
                start += 8
                if start > end:
                    break
                length = int.from_bytes(data[start - 8 : start], "big")
            if start + length > end:
                break
            if data[position] == 0x81:
                self.take(data, start, start + length, now_us)
            else:
                self._control(data[position] & 0x0F, bytes(data[start : start + length]))
            position = start + length
        self._rest = bytes(data[position:end]) if position < end else b""

    def opened(self) -> None:  # noqa: B027 - most streams have nothing to do here
        """The handshake is done."""

    @abstractmethod
    def take(self, data: bytearray, start: int, end: int, now_us: int) -> None:
        """One text frame came, its payload is data[start:end]."""

    def _control(self, opcode: int, payload: bytes) -> None:
        if opcode == Opcode.PING:
            self.replies.append(client_frame(payload, Opcode.PONG))
        elif opcode == Opcode.CLOSE:
            raise StreamBroken(f"closed by the server: {int.from_bytes(payload[:2], 'big')} {payload[2:].decode()}")

    def _look_at_each(self, data: bytearray, start: int, end: int, now_us: int) -> None:
        for found in _MESSAGE.finditer(data, start, end):
            if int(found[1]) != self.received + 1:
                raise StreamBroken(f"event {int(found[1])} came after {self.received}")
            self.received += 1
        if self._samples is not None:
            self._samples.extend([now_us - int(found[1]) for found in _SENT.finditer(data, start, end)])


class ArrayStream(Stream):
    """The bridge's `weftline.v1`: a frame is an array of messages, durable ones with a contiguous `seq`."""

    def take(self, data: bytearray, start: int, end: int, now_us: int) -> None:
        """See Stream."""
        first = data.find(_SEQ, start, end)
        if not self.joined:
            self.joined = data.find(b'"workflow.subscribed"', start, end) >= 0
            return
        if first < 0:
            return
        if self._samples is not None:
            self._look_at_each(data, start, end, now_us)
            return
        # Seqs are contiguous in every stream that looks at each; here the frame's first and last tell how many.
        if _number(data, first) != self.received + 1:
            raise StreamBroken(f"event {_number(data, first)} came after {self.received}")
        self.received = _number(data, data.rfind(_SEQ, start, end))


class CountedArrayStream(ArrayStream):
    """As ArrayStream, and every message of a frame is counted: for few clients that get much."""

    def take(self, data: bytearray, start: int, end: int, now_us: int) -> None:
        """See Stream."""
        before, was_joined = self.received, self.joined
        super().take(data, start, end, now_us)
        if was_joined and self.received - before != data.count(_SEQ, start, end):
            raise StreamBroken(f"a frame has not all events from {before + 1} to {self.received}")


class ObjectStream(Stream):
    """One message a frame; who has shaken hands is in."""

    def opened(self) -> None:
        """See Stream."""
        self.joined = True

    def take(self, data: bytearray, start: int, end: int, now_us: int) -> None:
        """See Stream."""
        if self._samples is not None:
            self._look_at_each(data, start, end, now_us)
        elif data.find(_SEQ, start, end) >= 0:
            self.received += 1


class SocketIoStream(ObjectStream):
    """socket.io 4 on engine.io's WebSocket transport: `42` is an event, `2` a ping."""

    def opened(self) -> None:
        """See Stream: the server says itself when the client is in."""

    def take(self, data: bytearray, start: int, end: int, now_us: int) -> None:
        """See Stream."""
        kind = bytes(data[start : min(end, start + 2)])
        if kind == b"42":
            super().take(data, start, end, now_us)
        elif kind == b"2":
            self.replies.append(client_frame(b"3"))
        elif kind[:1] == b"0":
            self.replies.append(client_frame(b"40"))
        elif kind == b"40":
            self.joined = True


def _number(data: bytearray, at: int) -> int:
    start = at + len(_SEQ)
    end = start
    while 48 <= data[end] <= 57:
        end += 1
    return int(data[start:end])
