"""How long nodes take, from what was measured, and how far a run is; pure, times are milliseconds."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from statistics import median

KEPT_DURATIONS = 20
MAX_KEYS = 10_000
MIN_BASIS = 0.01
"""Below this share of the work done there is no basis for an estimate."""


class DurationHistory:
    """The newest durations of successful nodes, by key (a type with its configuration) and by type."""

    def __init__(self) -> None:
        self._by_key: OrderedDict[object, deque[int]] = OrderedDict()

    def record(self, node_type: str, key: object, duration: int) -> None:
        """Notes that a node of this type and key took `duration` ms."""
        for entry in (key, node_type):
            durations = self._by_key.get(entry)
            if durations is None:
                durations = self._by_key[entry] = deque(maxlen=KEPT_DURATIONS)
                if len(self._by_key) > MAX_KEYS:
                    self._by_key.popitem(last=False)
            durations.append(duration)

    def expected(self, node_type: str, key: object) -> float | None:
        """The median for the key, else for the type, else None."""
        durations = self._by_key.get(key) or self._by_key.get(node_type)
        return max(1.0, median(durations)) if durations else None


class RunEstimate:
    """How far a run is: nodes weighed by expected duration; `weights` by node index."""

    def __init__(self, weights: Sequence[float]) -> None:
        self._weights = weights
        self._total = sum(weights) or 1.0
        self._done = 0.0
        self._partial: dict[int, float] = {}
        self._partial_sum = 0.0

    def advance(self, node: int, progress: float) -> None:
        """A running node is `progress` (0 to 1) far."""
        weighed = progress * self._weights[node]
        self._partial_sum += weighed - self._partial.get(node, 0.0)
        self._partial[node] = weighed

    def restart(self, node: int) -> None:
        """What a running node had done is lost."""
        self._partial_sum -= self._partial.pop(node, 0.0)

    def finish(self, node: int) -> None:
        """A node succeeded, failed or was skipped."""
        self.restart(node)
        self._done += self._weights[node]

    @property
    def progress(self) -> float:
        """How far the run is, 0 to 1."""
        return min(1.0, max(0.0, (self._done + self._partial_sum) / self._total))

    def remaining(self, active_ms: int) -> int | None:
        """Milliseconds to the end if the run goes on at the rate of its `active_ms` so far; None without a basis."""
        progress = self.progress
        if progress < MIN_BASIS or active_ms <= 0:
            return None
        return round(active_ms * (1.0 - progress) / progress)
