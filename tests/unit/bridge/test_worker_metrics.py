"""The metrics of several workers as one: sums that never fall, gauges by their rules, a text for Prometheus."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.parser import text_string_to_metric_families

from weftline_bridge.metrics import GAUGES, OF_PROCESS, Metrics
from weftline_bridge.workers.exposition import collect, exposition
from weftline_bridge.workers.merging import Ledger
from weftline_bridge.workers.messages import Family

WORKERS = ("1", "2", "3")
CODES = ("a", "b", "c")
BUCKETS = (1.0, 10.0)

Values = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@dataclass
class Worker:
    """A worker that counts."""

    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    def __post_init__(self) -> None:
        self.counter = Counter("things_total", "Things.", ["code"], registry=self.registry)
        self.histogram = Histogram("sizes", "Sizes.", buckets=BUCKETS, registry=self.registry)
        self.gauge = Gauge("open_things", "Open things.", registry=self.registry)

    def count(self, code: str, size: float) -> None:
        self.counter.labels(code).inc()
        self.histogram.observe(size)
        self.gauge.inc()


def values(families: list[Family]) -> Values:
    return {
        (name, tuple(sorted(labels.items()))): value
        for family in families
        for name, labels, value in family.samples
        if not name.endswith("_created")
    }


STEPS = st.one_of(
    st.tuples(st.just("count"), st.sampled_from(WORKERS), st.sampled_from(CODES), st.floats(0, 20)),
    st.tuples(st.just("report"), st.sampled_from(WORKERS), st.none(), st.none()),
    st.tuples(st.just("die"), st.sampled_from(WORKERS), st.none(), st.none()),
)


@given(st.lists(STEPS, max_size=60))
def test_counts_never_fall_and_hold_all_that_was_reported_whoever_dies_and_gauges_hold_the_living(
    steps: list[tuple[str, str, str | None, float | None]],
) -> None:
    ledger = Ledger({"open_things": lambda one, other: one + other}, ())
    workers = {name: Worker() for name in WORKERS}
    counted = dict.fromkeys(WORKERS, (0, 0.0))
    reported: dict[str, tuple[int, float]] = {}
    gone, gone_sum = 0, 0.0
    before: Values = {}
    for step, name, code, size in steps:
        if step == "count" and code is not None and size is not None:
            workers[name].count(code, size)
            counted[name] = (counted[name][0] + 1, counted[name][1] + size)
        elif step == "report":
            ledger.report(name, collect(workers[name].registry))
            reported[name] = counted[name]
        elif step == "die":
            ledger.ended(name)
            last = reported.pop(name, (0, 0.0))
            gone, gone_sum = gone + last[0], gone_sum + last[1]
            workers[name], counted[name] = Worker(), (0, 0.0)
        now = values(ledger.merged())
        counts = {key: value for key, value in now.items() if key[0] != "open_things"}
        assert all(counts[key] >= value - 1e-9 for key, value in before.items())
        before = counts
        total = gone + sum(each[0] for each in reported.values())
        assert sum(value for (metric, _), value in now.items() if metric == "things_total") == total
        assert now.get(("sizes_bucket", (("le", "+Inf"),)), 0) == total
        assert now.get(("sizes_count", ()), 0) == total
        whole = gone_sum + sum(each[1] for each in reported.values())
        assert math.isclose(now.get(("sizes_sum", ()), 0), whole, abs_tol=1e-6)
        assert now.get(("open_things", ()), 0) == sum(each[0] for each in reported.values())


def test_the_text_is_read_back_as_what_was_merged() -> None:
    ledger = Ledger({"open_things": max}, ())
    for name, number in (("1", 3), ("2", 5)):
        worker = Worker()
        for _ in range(number):
            worker.count(f'odd "{name}"\\\n', 2.0)
        ledger.report(name, collect(worker.registry))
    families = list(text_string_to_metric_families(exposition(ledger.merged()).decode()))
    samples = {(each.name, *each.labels.values()): each.value for family in families for each in family.samples}
    assert samples["things_total", 'odd "1"\\\n'] == 3
    assert samples["things_total", 'odd "2"\\\n'] == 5
    assert samples["open_things",] == 5
    assert [samples["sizes_bucket", bound] for bound in ("1.0", "10.0", "+Inf")] == [0, 8, 8]
    assert {family.name: family.type for family in families}["sizes"] == "histogram"


def test_what_is_about_one_process_is_told_for_each() -> None:
    ledger = Ledger({}, ("process_",))
    for name in ("1", "2", "supervisor"):
        seconds = Family("process_cpu_seconds", "CPU.", "counter", [("process_cpu_seconds_total", {}, 7.0)])
        ledger.report(name, [seconds])
    ledger.ended("2")
    assert [labels for family in ledger.merged() for _, labels, _ in family.samples] == [
        {"worker": "1"},
        {"worker": "supervisor"},
    ]


def test_a_count_began_when_its_first_part_did() -> None:
    ledger = Ledger({}, ())
    for name, began in (("1", 20.0), ("2", 10.0)):
        ledger.report(name, [Family("things", "Things.", "counter", [("things_created", {}, began)])])
    ledger.ended("2")
    ledger.report("2", [Family("things", "Things.", "counter", [("things_created", {}, 30.0)])])
    assert [sample for family in ledger.merged() for sample in family.samples] == [("things_created", {}, 10.0)]


def test_every_gauge_of_the_bridge_says_how_those_of_two_workers_become_one() -> None:
    gauges = {family.name for family in collect(Metrics("0").registry) if family.type in ("gauge", "info")}
    assert {name for name in gauges if not name.startswith(OF_PROCESS)} <= set(GAUGES)
