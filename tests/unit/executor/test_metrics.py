"""Facts about the metrics of attempts, which are kept as plain numbers until somebody asks."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from weftline_executor.metrics import _SECONDS, Metrics

ENDS = [
    ("noop", 0.0, True),
    ("noop", 0.0005, True),
    ("noop", 0.02, True),
    ("http.request", 0.05, False),
    ("http.request", 7.0, True),
    ("http.request", 4000.0, True),
    ("fail", 0.001, False),
]


def samples(registry: CollectorRegistry) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """All samples of attempts as they are served, by name and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
        if "_node_duration_" in sample.name or "_nodes_ended_" in sample.name
        if not sample.name.endswith("_created")
    }


def test_attempts_are_shown_as_a_counter_and_a_histogram_would_show_them() -> None:
    metrics, reference = Metrics(), CollectorRegistry()
    counter = Counter("weftline_executor_nodes_ended", "Ends.", ["type", "outcome"], registry=reference)
    histogram = Histogram(
        "weftline_executor_node_duration_seconds", "Durations.", ["type"], registry=reference, buckets=_SECONDS
    )
    for node_type, seconds, succeeded in ENDS:
        metrics.node_ended(node_type, seconds, succeeded)
        counter.labels(node_type, "success" if succeeded else "error").inc()
        histogram.labels(node_type)
        if succeeded:
            histogram.labels(node_type).observe(seconds)
    assert samples(metrics.registry) == samples(reference)


def test_no_attempts_are_no_samples() -> None:
    assert samples(Metrics().registry) == {}
