"""Ends one connection: says why, waits for the client's answer, and lets go of the socket whatever it does."""

from __future__ import annotations

import asyncio
import contextlib

from weftline_bridge.frames import Opcode, frame

CLOSE_SECONDS = 5.0

_MAX_REASON_BYTES = 120


async def end_connection(transport: asyncio.WriteTransport, code: int, reason: str, hung_up: asyncio.Event) -> None:
    """Send a close frame, wait until the client has hung up, at most `CLOSE_SECONDS`, and end the connection.

    A reason that is too long for the frame is cut off.
    """
    # aiohttp would close the socket without waiting for the client's answer, since another task reads from it;
    # what the client was sending then resets the connection, and it never sees the code.
    text = reason.encode()[:_MAX_REASON_BYTES].decode(errors="ignore").encode()
    if not transport.is_closing():
        transport.write(frame(code.to_bytes(2, "big") + text, Opcode.CLOSE))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CLOSE_SECONDS):
            await hung_up.wait()
    # A client that takes nothing would keep the socket, and all that waits in it, for ever.
    transport.abort()
