"""Ids that the engine mints."""

from __future__ import annotations

import os
import uuid


def new_run_id(now: int) -> str:
    """A UUID of version 7 (RFC 9562, section 5.7): `now` in ms since the Unix epoch, then random bits."""
    value = (now & (1 << 48) - 1) << 80 | int.from_bytes(os.urandom(10))
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=value))
