"""Pings that carry the time at which they were sent, so that their answer tells how long the way was."""

from __future__ import annotations

import struct

from weftline_bridge.frames import Opcode, frame

_TIME = struct.Struct("!d")
_LONGEST = 3600


def ping_frame(now: float) -> bytes:
    """A ping that is sent at `now`, in seconds."""
    return frame(_TIME.pack(now), Opcode.PING)


def round_trip(payload: bytes, now: float) -> float | None:
    """For how long an answer that came at `now` was on its way, in seconds; None when it answers no ping of ours."""
    if len(payload) != _TIME.size:
        return None
    (sent,) = _TIME.unpack(payload)
    took = float(now - sent)
    return took if 0 <= took < _LONGEST else None
