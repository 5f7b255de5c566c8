"""A WebSocket client on a bare socket: it reads only when told to, and sends whatever it is given."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
from collections.abc import Callable
from typing import Any

import msgspec

PATIENCE = 30.0
TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA


def frame(payload: bytes, opcode: int = TEXT, *, fin: bool = True, reserved: int = 0, masked: bool = True) -> bytes:
    """One frame as a client sends it; `reserved` are the three reserved bits, as a number up to 7."""
    first = (0x80 if fin else 0) | reserved << 4 | opcode
    mask = 0x80 if masked else 0
    if len(payload) < 126:
        header = bytes((first, mask | len(payload)))
    elif len(payload) < 1 << 16:
        header = bytes((first, mask | 126)) + len(payload).to_bytes(2, "big")
    else:
        header = bytes((first, mask | 127)) + len(payload).to_bytes(8, "big")
    if not masked:
        return header + payload
    key = os.urandom(4)
    stretched = (key * (len(payload) // 4 + 1))[: len(payload)]
    body = int.from_bytes(payload, "big") ^ int.from_bytes(stretched, "big")
    return header + key + body.to_bytes(len(payload), "big")


class RawClient:
    """One connection. `received` are all bytes after the handshake."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.received = bytearray()

    @classmethod
    async def connect(
        cls, address: tuple[str, int], *, protocol: str = "weftline.v1", buffer: int | None = 4096, early: bytes = b""
    ) -> RawClient:
        """Connect and shake hands, with `early` sent along; a small receive buffer is full soon."""
        loop = asyncio.get_running_loop()
        sock = socket.socket()
        if buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        sock.setblocking(False)
        client = cls(sock)
        try:
            async with asyncio.timeout(PATIENCE):
                await loop.sock_connect(sock, address)
                lines = [
                    "GET / HTTP/1.1",
                    "Host: 127.0.0.1",
                    "Upgrade: websocket",
                    "Connection: Upgrade",
                    "Sec-WebSocket-Version: 13",
                    f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
                ]
                if protocol:
                    lines.append(f"Sec-WebSocket-Protocol: {protocol}")
                await loop.sock_sendall(sock, ("\r\n".join(lines) + "\r\n\r\n").encode() + early)
                while b"\r\n\r\n" not in client.received:
                    if not await client.read():
                        raise ConnectionError("the server closed during the handshake")
        except BaseException:
            sock.close()
            raise
        head, _, rest = bytes(client.received).partition(b"\r\n\r\n")
        if b" 101 " not in head.partition(b"\r\n")[0]:
            sock.close()
            raise ConnectionError(head.decode(errors="replace"))
        client.received = bytearray(rest)
        return client

    async def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        await asyncio.get_running_loop().sock_sendall(self.sock, data)

    async def send_text(self, text: str) -> None:
        """Send one text message."""
        await self.send(frame(text.encode()))

    async def read(self, most: int = 1 << 16) -> int:
        """Read once; how many bytes came, 0 when the server closed."""
        try:
            chunk = await asyncio.get_running_loop().sock_recv(self.sock, most)
        except ConnectionError:
            return 0
        self.received += chunk
        return len(chunk)

    async def read_until(self, condition: Callable[[], object]) -> None:
        """Read until `condition` holds, from now on as fast as it goes."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        async with asyncio.timeout(PATIENCE):
            while not condition():
                if not await self.read():
                    raise ConnectionError(f"the server closed: {self.frames()[-1:]}")

    async def read_to_end(self) -> tuple[list[bytes], int]:
        """Read until the server closes: the text payloads, and the close code (0 when there was none)."""
        async with asyncio.timeout(PATIENCE):
            while not self.close_code() and await self.read():
                pass
        return self.texts(), self.close_code()

    def frames(self) -> list[tuple[int, bytes]]:
        """The whole frames that came: opcode and payload."""
        data, at = memoryview(self.received), 0
        found: list[tuple[int, bytes]] = []
        while at + 2 <= len(data):
            size, start = data[at + 1], at + 2
            if size in (126, 127):
                width = 2 if size == 126 else 8
                size, start = int.from_bytes(data[start : start + width], "big"), start + width
            if start + size > len(data):
                break
            found.append((data[at] & 0xF, bytes(data[start : start + size])))
            at = start + size
        data.release()
        return found

    def texts(self) -> list[bytes]:
        """The payloads of the text frames that came."""
        return [payload for opcode, payload in self.frames() if opcode == TEXT]

    def close_code(self) -> int:
        """The code of the close frame that came, 0 when none did."""
        codes = [int.from_bytes(payload[:2], "big") for opcode, payload in self.frames() if opcode == CLOSE]
        return codes[-1] if codes else 0

    def messages(self) -> list[dict[str, Any]]:
        """The messages that came."""
        found: list[dict[str, Any]] = []
        for text in self.texts():
            decoded = msgspec.json.decode(text)
            found += decoded if isinstance(decoded, list) else [decoded]
        return found

    def close(self) -> None:
        """Close the socket, without a word."""
        self.sock.close()
