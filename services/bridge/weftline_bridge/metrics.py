"""The bridge's Prometheus metrics; label children are looked up once and counted per batch."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, GCCollector, Histogram, PlatformCollector
from prometheus_client import ProcessCollector as _ProcessCollector

_FAST_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_TURN_BUCKETS = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25)
_DEPTH_BUCKETS = (0, 1024, 4096, 16384, 65536, 262144, 524288, 1048576)

GAUGES: Final[Mapping[str, Callable[[float, float], float]]] = {
    "weftline_bridge_connections": operator.add,
    "weftline_bridge_slow_connections": operator.add,
    "weftline_bridge_feeds": operator.add,
    "weftline_bridge_upstream_watches": operator.add,
    "weftline_bridge_upstream_connected": min,
    "weftline_bridge_upstream_lag_seconds": max,
    "weftline_bridge_info": max,
    "weftline_bridge_workers": operator.add,
    "python_info": max,
}
"""How the gauges of two workers become one, by name; counters and histograms are added up."""

OF_PROCESS: Final = ("process_", "python_gc_")
"""How the names of metrics begin that are about one process, and are shown for each worker."""


class ChildCache:
    """The children of a metric with one label, by that label's value."""

    def __init__(self, metric: Counter, **fixed: str) -> None:
        self._metric = metric
        self._fixed = fixed
        self._children: dict[str, Counter] = {}

    def add(self, value: str, amount: float, *, label: str = "type") -> None:
        """Count `amount` under `value`."""
        child = self._children.get(value)
        if child is None:
            child = self._children[value] = self._metric.labels(**{label: value}, **self._fixed)
        child.inc(amount)


class Metrics:
    """All metrics, in a registry of their own."""

    def __init__(self, version: str) -> None:
        registry = self.registry = CollectorRegistry()
        _ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        self._connection_metrics(registry)
        self._delivery_metrics(registry)
        self._upstream_metrics(registry)
        info = Gauge("weftline_bridge_info", "The bridge that runs; always 1.", ["version"], registry=registry)
        info.labels(version).set(1)

    def _connection_metrics(self, registry: CollectorRegistry) -> None:
        self.connections = Gauge(
            "weftline_bridge_connections", "Open WebSocket connections.", ["dialect"], registry=registry
        )
        self.connects = Counter(
            "weftline_bridge_connects_total", "WebSocket connections accepted.", ["dialect"], registry=registry
        )
        self.disconnects = Counter(
            "weftline_bridge_disconnects_total",
            "WebSocket connections ended, by close code.",
            ["code"],
            registry=registry,
        )
        self.refused = Counter(
            "weftline_bridge_connections_refused_total", "Connections not accepted.", ["reason"], registry=registry
        )
        self.tokens = Counter(
            "weftline_bridge_tokens_total", "Tokens of clients that were checked.", ["outcome"], registry=registry
        )
        messages = Counter(
            "weftline_bridge_messages_total",
            "Messages to and from clients.",
            ["direction", "type"],
            registry=registry,
        )
        self.messages_out = ChildCache(messages, direction="out")
        self.messages_in = ChildCache(messages, direction="in")
        size = Counter(
            "weftline_bridge_message_bytes_total",
            "Bytes of WebSocket frames to and of messages from clients.",
            ["direction"],
            registry=registry,
        )
        self.bytes_out = size.labels("out")
        self.bytes_in = size.labels("in")
        self.bad_messages = Counter(
            "weftline_bridge_bad_messages_total",
            "Messages of clients that could not be used.",
            ["code"],
            registry=registry,
        )
        self.rtt = Histogram(
            "weftline_bridge_heartbeat_rtt_seconds",
            "Round trip between bridge and client.",
            buckets=_FAST_BUCKETS,
            registry=registry,
        )
        self.commands = Counter(
            "weftline_bridge_commands_total", "Commands of clients.", ["type", "outcome"], registry=registry
        )

    def _delivery_metrics(self, registry: CollectorRegistry) -> None:
        self.latency = Histogram(
            "weftline_bridge_event_to_socket_seconds",
            "From an event (`executor`: by its timestamp; `arrival`: here) to the write to the last client's socket.",
            ["since"],
            buckets=_FAST_BUCKETS,
            registry=registry,
        )
        self.latency_executor = self.latency.labels("executor")
        self.latency_arrival = self.latency.labels("arrival")
        self.fanout = Histogram(
            "weftline_bridge_fanout_seconds",
            "Time to write what one turn of the loop brought to all its readers.",
            buckets=_TURN_BUCKETS,
            registry=registry,
        )
        self.queue_depth = Histogram(
            "weftline_bridge_outbox_bytes",
            "Bytes that wait for a slow connection, sampled while it is slow.",
            buckets=_DEPTH_BUCKETS,
            registry=registry,
        )
        self.slow = Gauge("weftline_bridge_slow_connections", "Connections that are behind.", registry=registry)
        self.conflated = Counter(
            "weftline_bridge_conflated_total", "Messages replaced by a newer one for a slow client.", registry=registry
        )
        shed = Counter(
            "weftline_bridge_shed_total",
            "Logs left out for a slow client, by their level.",
            ["level"],
            registry=registry,
        )
        self.shed = {number: shed.labels(name) for number, name in ((1, "debug"), (2, "info"))}
        self.gaps = Counter(
            "weftline_bridge_gaps_total", "Gaps told to slow clients in place of logs.", registry=registry
        )
        self.replaced = Counter(
            "weftline_bridge_replaced_total",
            "Times that the events of a workflow made way for its state, for a slow client.",
            registry=registry,
        )
        self.suppressed = Counter(
            "weftline_bridge_suppressed_total", "Telemetry that repeated what was known.", registry=registry
        )
        self.joins = Counter(
            "weftline_bridge_subscriptions_total", "Subscriptions, by how they began.", ["outcome"], registry=registry
        )
        self.feeds = Gauge("weftline_bridge_feeds", "Workflows whose events are kept.", registry=registry)

    def _upstream_metrics(self, registry: CollectorRegistry) -> None:
        self.watches = Gauge(
            "weftline_bridge_upstream_watches", "Streams of events from the executor that are open.", registry=registry
        )
        self.connected = Gauge(
            "weftline_bridge_upstream_connected", "Whether the executor is reachable: 1 or 0.", registry=registry
        )
        self.reconnects = Counter(
            "weftline_bridge_upstream_reconnects_total", "Streams of events opened again.", registry=registry
        )
        self.events = Counter(
            "weftline_bridge_upstream_events_total", "Events that came from the executor.", registry=registry
        )
        self.quarantined = Counter(
            "weftline_bridge_quarantined_events_total", "Events that could not be translated.", registry=registry
        )
        self.lag = Gauge(
            "weftline_bridge_upstream_lag_seconds", "Age of the newest event when it came in.", registry=registry
        )
        self.reads = Counter(
            "weftline_bridge_upstream_reads_total", "Reads besides the streams.", ["kind"], registry=registry
        )

    def sent(self, types: Mapping[str, int], size: int, deliveries: int) -> None:
        """Count one write's messages and bytes, made to `deliveries` clients."""
        for kind, number in types.items():
            self.messages_out.add(kind, number * deliveries)
        self.bytes_out.inc(size * deliveries)
