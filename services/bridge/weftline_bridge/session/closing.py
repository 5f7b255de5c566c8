"""Ends one connection: says why, waits for the client's answer, and lets go of the socket whatever it does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from weftline_bridge.frames import Incoming, Opcode, Received
from weftline_bridge.session.socket import ClientSocket

CLOSE_SECONDS = 5.0

_MAX_REASON_BYTES = 120


class Leaving:
    """Listens to a client that is turned away, of which nothing matters but that it hangs up."""

    def __init__(self) -> None:
        self.hung_up = asyncio.Event()

    def received(self, messages: Sequence[Received], incoming: Incoming) -> None:
        """See Listener."""
        if incoming.failure is not None or any(message.opcode is Opcode.CLOSE for message in messages):
            self.hung_up.set()
        else:
            # Nobody is answered any more, so nothing may pile up.
            incoming.answers()

    def filled(self) -> None:
        """See Listener."""

    def emptied(self) -> None:
        """See Listener."""

    def ended(self) -> None:
        """See Listener."""
        self.hung_up.set()


async def end_connection(socket: ClientSocket, code: int, reason: str, hung_up: asyncio.Event) -> None:
    """Send a close frame, wait until the client has hung up, at most `CLOSE_SECONDS`, and end the connection.

    A reason that is too long for the frame is cut off.
    """
    # Who closes without waiting resets the connection by what the client is just sending, and it never sees the code.
    text = reason.encode()[:_MAX_REASON_BYTES].decode(errors="ignore")
    try:
        if not socket.is_closing():
            socket.write(socket.incoming.farewell(code, text))
            if socket.incoming.failure is not None:
                # What the client sends is not understood any more, so that its answer is not either.
                socket.finish()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await hung_up.wait()
    finally:
        # A client that takes nothing would keep the socket, and all that waits in it, for ever.
        socket.abort()
