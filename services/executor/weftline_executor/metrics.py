"""What the executor measures of itself, in a registry of its own."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import accumulate

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096)


class Metrics:
    """All metrics; names begin with `weftline_executor_`, times are in seconds, sizes in bytes."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        prefix = "weftline_executor"
        self.runs_started = Counter(f"{prefix}_runs_started", "Runs that began.", registry=self.registry)
        self.runs_ended = Counter(
            f"{prefix}_runs_ended", "Runs that ended, by outcome.", ["outcome"], registry=self.registry
        )
        self.runs_recovered = Counter(
            f"{prefix}_runs_recovered", "Runs that went on after a restart.", registry=self.registry
        )
        self.runs_active = Gauge(f"{prefix}_runs_active", "Runs that have not ended.", registry=self.registry)
        self.run_seconds = Histogram(
            f"{prefix}_run_duration_seconds", "From start to end of a run.", registry=self.registry, buckets=_SECONDS
        )
        self._attempts = _Attempts(prefix)
        self.registry.register(self._attempts)
        self.nodes_running = Gauge(f"{prefix}_nodes_running", "Nodes that run now.", registry=self.registry)
        self.runs_waiting = Gauge(
            f"{prefix}_runs_waiting", "Runs with nodes that wait for a slot of the executor.", registry=self.registry
        )
        self.nodes_waiting = Gauge(
            f"{prefix}_nodes_waiting", "Nodes that could run and wait for a slot or a resume.", registry=self.registry
        )
        self.process_workers = Gauge(
            f"{prefix}_process_workers", "Worker processes that there are.", registry=self.registry
        )
        self.process_waiting = Gauge(
            f"{prefix}_process_waiting", "Attempts that wait for a worker process.", registry=self.registry
        )
        self.process_workers_lost = Counter(
            f"{prefix}_process_workers_lost",
            "Worker processes that ended without being told to.",
            registry=self.registry,
        )
        self.events = Counter(f"{prefix}_events", "Durable events that were committed.", registry=self.registry)
        self.commit_seconds = Histogram(
            f"{prefix}_commit_duration_seconds", "Time of one commit.", registry=self.registry, buckets=_SECONDS
        )
        self.commit_events = Histogram(
            f"{prefix}_commit_events", "Events in one commit.", registry=self.registry, buckets=_COUNTS
        )
        self.commit_failures = Counter(
            f"{prefix}_commit_failures", "Commits that the store refused.", registry=self.registry
        )
        self._make_watch_metrics(prefix)
        self.commands = Counter(
            f"{prefix}_commands", "Commands, by name and outcome.", ["command", "outcome"], registry=self.registry
        )

    def _make_cache_metrics(self, prefix: str) -> None:
        self.cache_hits = Counter(
            f"{prefix}_result_cache_hits", "Nodes that a result was there for already.", registry=self.registry
        )
        self.cache_misses = Counter(
            f"{prefix}_result_cache_misses", "Nodes that asked for a kept result and ran.", registry=self.registry
        )

    def _make_watch_metrics(self, prefix: str) -> None:
        self._make_cache_metrics(prefix)
        self.watchers = Gauge(f"{prefix}_watchers", "Streams of events that are open.", registry=self.registry)
        self.watch_events = Counter(
            f"{prefix}_watch_events", "Durable events sent to all watchers.", registry=self.registry
        )
        self.watch_lags = Counter(
            f"{prefix}_watch_lags",
            "Times that a watcher was too slow for memory and was read to from the log.",
            registry=self.registry,
        )
        self.watch_lag_seconds = Histogram(
            f"{prefix}_watch_lag_seconds",
            "From an event's timestamp to its sending to a watcher that follows.",
            registry=self.registry,
            buckets=_SECONDS,
        )

    def node_ended(self, node_type: str, seconds: float, succeeded: bool) -> None:
        """Counts an attempt that ended; only the duration of a success is observed."""
        self._attempts.ended(node_type, seconds, succeeded)


@dataclass(slots=True)
class _Ends:
    """How the attempts of one node type ended: successes by bucket of duration, and what they took together."""

    buckets: list[int] = field(default_factory=lambda: [0] * (len(_SECONDS) + 1))
    seconds: float = 0.0
    failed: int = 0


class _Attempts(Collector):
    """The attempts that ended, as plain numbers that become metrics when somebody asks for them.

    There is one for each node of each run, and what a counter and a histogram do for one costs several times as much.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._types: dict[str, _Ends] = {}

    def ended(self, node_type: str, seconds: float, succeeded: bool) -> None:
        """See Metrics.node_ended."""
        ends = self._types.get(node_type)
        if ends is None:
            ends = self._types[node_type] = _Ends()
        if succeeded:
            ends.buckets[bisect_left(_SECONDS, seconds)] += 1
            ends.seconds += seconds
        else:
            ends.failed += 1

    def collect(self) -> Iterable[Metric]:
        """See Collector; called in the thread of whoever asks."""
        ended = CounterMetricFamily(
            f"{self._prefix}_nodes_ended", "Attempts that ended, by node type and outcome.", labels=["type", "outcome"]
        )
        durations = HistogramMetricFamily(
            f"{self._prefix}_node_duration_seconds", "Duration of successful attempts, by node type.", labels=["type"]
        )
        for node_type, ends in self._types.copy().items():
            counts = list(accumulate(ends.buckets))
            for outcome, count in (("success", counts[-1]), ("error", ends.failed)):
                if count:
                    ended.add_metric([node_type, outcome], count)
            bounds = (*map(floatToGoString, _SECONDS), "+Inf")
            durations.add_metric([node_type], list(zip(bounds, counts, strict=True)), ends.seconds)
        return ended, durations
