"""What the executor measures of itself, in a registry of its own."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

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
        self.nodes_ended = Counter(
            f"{prefix}_nodes_ended",
            "Attempts that ended, by node type and outcome.",
            ["type", "outcome"],
            registry=self.registry,
        )
        self.node_seconds = Histogram(
            f"{prefix}_node_duration_seconds",
            "Duration of successful attempts, by node type.",
            ["type"],
            registry=self.registry,
            buckets=_SECONDS,
        )
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
        self._nodes: dict[tuple[str, bool], tuple[Counter, Histogram]] = {}
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
        children = self._nodes.get((node_type, succeeded))
        if children is None:
            outcome = "success" if succeeded else "error"
            children = self.nodes_ended.labels(node_type, outcome), self.node_seconds.labels(node_type)
            self._nodes[node_type, succeeded] = children
        counter, histogram = children
        counter.inc()
        if succeeded:
            histogram.observe(seconds)
