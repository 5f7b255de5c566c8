"""Makes one set of metrics of those of several workers, in which no count ever falls, whoever of them dies."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from weftline_bridge.workers.messages import Family

WORKER_LABEL: Final = "worker"

_COUNTING: Final = frozenset({"counter", "histogram", "summary"})
_BEGINNING: Final = "_created"

Rule = Callable[[float, float], float]
_Key = tuple[str, tuple[tuple[str, str], ...]]


class Ledger:
    """What each worker last reported, and what those who are gone had counted.

    Counters and histograms are added up, and keep what the gone had counted. A gauge goes by its rule in `rules`, over
    the living; a metric about a process (`of_process`, by the beginnings of names) and a gauge without a rule are shown
    for each with the label `worker`.
    """

    def __init__(self, rules: Mapping[str, Rule], of_process: tuple[str, ...]) -> None:
        self._rules = rules
        self._of_process = of_process
        self._living: dict[str, list[Family]] = {}
        self._kept: dict[str, Family] = {}

    def report(self, worker: str, families: list[Family]) -> None:
        """Take what a living worker counted so far, in place of what it said before."""
        self._living[worker] = families

    def ended(self, worker: str) -> None:
        """Keep what a worker had counted; what it reports from now on is counted anew."""
        for family in self._living.pop(worker, ()):
            if self._rule(family) is None or family.type not in _COUNTING:
                continue
            kept = self._kept.get(family.name)
            both = [family] if kept is None else [kept, family]
            self._kept[family.name] = _joined(both, _add)

    def merged(self) -> list[Family]:
        """All metrics, as one set."""
        found: dict[str, list[tuple[str, Family]]] = {name: [("", family)] for name, family in self._kept.items()}
        for worker, families in self._living.items():
            for family in families:
                found.setdefault(family.name, []).append((worker, family))
        return [self._merge(each) for each in found.values()]

    def _merge(self, found: list[tuple[str, Family]]) -> Family:
        rule = self._rule(found[0][1])
        if rule is None:
            return _labelled(found)
        return _joined([family for _, family in found], rule)

    def _rule(self, family: Family) -> Rule | None:
        if family.name.startswith(self._of_process):
            return None
        return _add if family.type in _COUNTING else self._rules.get(family.name)


def total(families: Iterable[Family], name: str) -> float:
    """The sum of all samples of the metric `name`."""
    return sum(value for family in families if family.name == name for _, _, value in family.samples)


def _joined(families: list[Family], rule: Rule) -> Family:
    first = families[0]
    merged: dict[_Key, float] = {}
    for family in families:
        for key, value in _samples(family):
            # When a count began is told beside it; it began when its first part did.
            by = min if family.type in _COUNTING and key[0].endswith(_BEGINNING) else rule
            merged[key] = by(merged[key], value) if key in merged else value
    samples = [(name, dict(labels), value) for (name, labels), value in merged.items()]
    return Family(first.name, first.help, first.type, samples)


def _labelled(found: list[tuple[str, Family]]) -> Family:
    first = found[0][1]
    samples = [
        (name, {**labels, WORKER_LABEL: worker}, value)
        for worker, family in found
        for name, labels, value in family.samples
    ]
    return Family(first.name, first.help, first.type, samples)


def _samples(family: Family) -> Iterator[tuple[_Key, float]]:
    for name, labels, value in family.samples:
        yield (name, tuple(labels.items())), value


def _add(one: float, other: float) -> float:
    return one + other
