"""The connection of a client that speaks WebSocket: frames go out, and messages come in."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Sequence
from typing import Protocol

from weftline_bridge.frames import Incoming, Received


class Listener(Protocol):
    """Whom a socket tells what becomes of it."""

    def received(self, messages: Sequence[Received], incoming: Incoming) -> None:
        """Messages have come, maybe none; `incoming` says whether the client has closed, or broken the rules."""

    def filled(self) -> None:
        """The kernel takes no more: what is written is kept."""

    def emptied(self) -> None:
        """Nothing is kept any more."""

    def ended(self) -> None:
        """The connection is gone."""


class ClientSocket(asyncio.Protocol):
    """Writes to its client straight through the kernel, and has its transport keep what that does not take.

    `fd` is the descriptor of the socket, -1 once the connection is gone. Who writes to it must ask first whether the
    socket is `full`, and hand what is left to `keep`.
    """

    # A transport writes with a good deal of memory of its own, which no cache holds for thousands of them, so that
    # this is a tenth cheaper. That is safe because a transport calls `connection_lost` before it closes the descriptor.
    __slots__ = ("_listener", "_transport", "fd", "full", "incoming")

    def __init__(self, transport: asyncio.Transport, max_message_bytes: int) -> None:
        self.incoming = Incoming(max_message_bytes)
        self.full = False
        self.fd: int = transport.get_extra_info("socket").fileno()
        self._listener: Listener | None = None
        self._transport = transport
        transport.set_protocol(self)
        # So it says when it begins to keep something, and when it does no more.
        transport.set_write_buffer_limits(high=0)

    def listen(self, listener: Listener) -> None:
        """Tell `listener` what comes from now on."""
        self._listener = listener

    def write(self, data: bytes) -> None:
        """Write `data` after all that was written; nothing happens where the connection is gone."""
        written = 0
        if not self.full:
            with contextlib.suppress(OSError):
                written = os.write(self.fd, data)
            if written == len(data):
                return
        self.keep(data, written)

    def keep(self, data: bytes, written: int) -> None:
        """Take what the kernel did not, which is all but the first `written` bytes; what is wrong shows then."""
        if self.fd >= 0:
            self._transport.write(data[written:])

    def buffered(self) -> int:
        """How many bytes are kept."""
        return self._transport.get_write_buffer_size()

    def is_closing(self) -> bool:
        """Whether the connection ends, or has ended."""
        return self._transport.is_closing()

    def finish(self) -> None:
        """Tell the client that nothing more comes, after all that was written; what it sends is still taken."""
        self._transport.write_eof()

    def abort(self) -> None:
        """End the connection at once, with what is kept."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        messages = self.incoming.feed(data)
        if self._listener is not None:
            self._listener.received(messages, self.incoming)

    def pause_writing(self) -> None:
        """See asyncio.Protocol."""
        self.full = True
        if self._listener is not None:
            self._listener.filled()

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        self.full = False
        if self._listener is not None:
            self._listener.emptied()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self.fd = -1
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.ended()
