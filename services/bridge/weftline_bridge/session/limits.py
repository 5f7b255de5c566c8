"""What one connection may cost."""

from __future__ import annotations

from dataclasses import dataclass

_PATIENCE_PARTS = 6


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """Bytes that may wait for it, and seconds without taking any of them."""

    outbox_bytes: int
    stall_seconds: float

    @property
    def blocked_seconds(self) -> float:
        """Seconds without taking anything after which a client counts as slow, however little waits."""
        return self.stall_seconds / _PATIENCE_PARTS
