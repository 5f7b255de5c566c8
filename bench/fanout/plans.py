"""How events are sent in a measurement: how many, how fast, how many at once; uses only the standard library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Plan:
    """`count` events, `batch` of them at once.

    With an `interval` (in seconds) a batch is sent at each; with 0 as fast as all clients take them: no more than
    `window` events are then on their way to the slowest client.
    """

    count: int
    batch: int
    interval: float = 0.0
    window: int = 0

    def __post_init__(self) -> None:
        if self.count % self.batch:
            raise ValueError(f"{self.count} events can't be sent in batches of {self.batch}")
        if not self.interval and self.window < self.batch:
            raise ValueError("without an interval the window has to hold a batch")

    def as_json(self) -> dict[str, Any]:
        """The plan as it is told to a server."""
        return asdict(self)

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Plan:
        """The plan that a server was told."""
        return Plan(value["count"], value["batch"], value["interval"], value["window"])
