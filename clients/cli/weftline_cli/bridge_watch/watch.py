"""A watch by WebSocket: the socket, its deadlines and its errors, around what a session decides."""

import asyncio
import json
import logging
import ssl
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any, Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.typing import Subprotocol

from weftline_cli import text
from weftline_cli.bookmark import WatchPlan
from weftline_cli.bridge_watch.refusals import CloseCode, closed, turned_away
from weftline_cli.bridge_watch.session import BridgeSession
from weftline_cli.errors import BridgeUnavailableError, CliError
from weftline_cli.items import Item
from weftline_cli.token import TokenSource

SUBPROTOCOL: Final = "weftline.v1"
MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024
OPEN_S: Final = 10.0
CLOSE_S: Final = 2.0

_silent = logging.getLogger("weftline_cli.bridge_watch")
_silent.addHandler(logging.NullHandler())
_silent.propagate = False


@dataclass(frozen=True, slots=True)
class Bridge:
    """Where the bridge is (`url`, a ws or wss URL), who calls it, and by what it is known where that is TLS."""

    url: str
    token: TokenSource = field(default_factory=TokenSource)
    tls: ssl.SSLContext | None = None
    server_name: str = ""

    def watch(self, plan: WatchPlan) -> "BridgeWatch":
        """Return the watch of what `plan` asks for."""
        return BridgeWatch(self, plan)


class _Connect(connect):
    """Opens one connection, and follows nobody elsewhere: the token is for the bridge alone."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        """Take a redirect for the refusal that it is."""
        return exc


class BridgeWatch:
    """What `plan` asks for, from the bridge."""

    unavailable = BridgeUnavailableError

    def __init__(self, bridge: Bridge, plan: WatchPlan) -> None:
        self._bridge = bridge
        self._session = BridgeSession(plan, bridge.url)

    @property
    def address(self) -> str:
        """Where the bridge is."""
        return self._bridge.url

    async def open(self) -> AsyncGenerator[Item, None]:
        """Connect, ask for what follows the last connection, and yield what comes; it ends when the plan is done.

        Raises BridgeUnavailableError when the connection can't be made, breaks, or is silent for too long, OrderError
        when events are missing or repeated, RefusedError for what another try would not change, and UsageError for a
        token that can't be read.
        """
        token = self._bridge.token.read()
        try:
            async with self._connect(token) as socket:
                if socket.subprotocol != SUBPROTOCOL:
                    raise BridgeUnavailableError(self.address, f"it does not speak {SUBPROTOCOL}.")
                await socket.send(json.dumps(self._session.connected()))
                while not self._session.done:
                    for item in self._session.take(await self._receive(socket)):
                        yield item
        except ConnectionClosed as error:
            raise self._closed(error, token) from error
        except InvalidStatus as error:
            raise self._turned_away(error) from error
        except (OSError, WebSocketException) as error:
            problem = text.with_full_stop(text.one_line(str(error) or type(error).__name__))
            raise BridgeUnavailableError(self.address, problem) from error

    def _connect(self, token: str) -> connect:
        bridge = self._bridge
        tls: dict[str, Any] = {}
        if bridge.tls is not None:
            tls["ssl"] = bridge.tls
            if bridge.server_name:
                tls["server_hostname"] = bridge.server_name
        return _Connect(
            bridge.url,
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            additional_headers={"Authorization": f"Bearer {token}"} if token else None,
            compression=None,
            open_timeout=OPEN_S,
            close_timeout=CLOSE_S,
            ping_interval=None,
            max_size=MAX_MESSAGE_BYTES,
            logger=_silent,
            **tls,
        )

    async def _receive(self, socket: ClientConnection) -> object:
        """Return what the next frame holds; a bridge that lives says something before its time is over."""
        patience = self._session.silence_s
        try:
            async with asyncio.timeout(patience):
                frame = await socket.recv()
        except TimeoutError as error:
            raise BridgeUnavailableError(self.address, f"it was silent for {patience:.0f} s.") from error
        try:
            return text.load_json(frame) if isinstance(frame, str) else None
        except (ValueError, RecursionError):
            return None

    def _closed(self, error: ConnectionClosed, token: str) -> CliError:
        by_us = error.sent is not None and not error.rcvd_then_sent
        said = error.sent if by_us and error.sent else error.rcvd
        code, reason = (said.code, said.reason) if said is not None else (int(CloseCode.CONNECTION_LOST), "")
        if code == CloseCode.UNAUTHENTICATED and self._bridge.token.read() != token:
            return BridgeUnavailableError(self.address, "the token has expired, and there is a new one.")
        return closed(self.address, code, reason, self._session.advice_s)

    def _turned_away(self, error: InvalidStatus) -> CliError:
        answer = error.response
        said = bytes(answer.body or b"").decode(errors="replace")
        retry_after = answer.headers.get("Retry-After", "")
        return turned_away(self.address, answer.status_code, answer.reason_phrase, said, retry_after)
