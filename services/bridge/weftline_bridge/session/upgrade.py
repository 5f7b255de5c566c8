"""Answers a client that asks to speak WebSocket, and takes its connection over from aiohttp."""

from __future__ import annotations

from typing import NamedTuple, cast

from aiohttp import web
from aiohttp.http import WebSocketReader
from websockets.datastructures import Headers
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from weftline_bridge.session.socket import ClientSocket


class Upgraded(NamedTuple):
    """A connection that is taken over; `early` is what the client sent before it was answered."""

    response: web.StreamResponse
    socket: ClientSocket
    early: bytes


class _Early:
    """Takes from aiohttp what came after the client's request."""

    def __init__(self) -> None:
        self.data = b""

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self.data += data
        return False, b""

    def feed_eof(self) -> None:
        pass


async def upgrade(request: web.Request, subprotocol: str, max_message_bytes: int) -> Upgraded | web.Response:
    """Answer a request for a WebSocket; an answer that refuses it where it is malformed.

    `subprotocol` is chosen for the client, which has to offer it; none when it is empty. Raises ConnectionError when
    the client has gone.
    """
    subprotocols = [Subprotocol(subprotocol)] if subprotocol else None
    version = f"HTTP/{request.version.major}.{request.version.minor}"
    asked = Request(request.raw_path, Headers(request.headers.items()), request.method, version)
    answer = ServerProtocol(subprotocols=subprotocols).accept(asked)
    if answer.status_code != 101:
        return web.Response(status=answer.status_code, body=answer.body, headers=dict(answer.headers.raw_items()))
    response = web.StreamResponse(status=101, headers=list(answer.headers.raw_items()))
    await response.prepare(request)
    transport = request.transport
    if transport is None or transport.is_closing():
        raise ConnectionResetError
    early = _Early()
    request.protocol.set_parser(cast(WebSocketReader, early))
    # For as long as a connection lasts aiohttp would keep the request and all that it serves requests with, which is
    # more than all that the bridge itself keeps of a client. To it the connection is at an end, with none to close.
    request.protocol.transport = None
    request.protocol.connection_lost(None)
    return Upgraded(response, ClientSocket(transport, max_message_bytes), early.data)
