"""What a measurement claims: a figure, what it is compared with, the target, and whether it is met."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any, Literal

Verdict = Literal["met", "not met", "void", "no peer", ""]


@dataclass(frozen=True, slots=True)
class Target:
    """A bound: on the ratio of ours to the peer's figure, or on our figure where there is no peer."""

    bound: float
    kind: Literal["at most", "at least"]

    def holds(self, value: float) -> bool:
        """Whether a value is within the bound."""
        return value <= self.bound if self.kind == "at most" else value >= self.bound

    def __str__(self) -> str:
        return f"{'≤' if self.kind == 'at most' else '≥'} {self.bound:,g}"


def at_most(bound: float) -> Target:
    """A target that is met by no more than this."""
    return Target(bound, "at most")


def at_least(bound: float) -> Target:
    """A target that is met by no less than this."""
    return Target(bound, "at least")


@dataclass(frozen=True, slots=True)
class Claim:
    """One line of the table.

    `ours` and `theirs` are None where there is no valid figure. Without a `peer` the target bounds `ours` itself.
    """

    load: str
    measure: str
    unit: str
    ours: float | None
    peer: str = ""
    theirs: float | None = None
    target: Target | None = None

    @property
    def ratio(self) -> float | None:
        """Ours by theirs."""
        if not self.peer or self.ours is None or not self.theirs:
            return None
        return self.ours / self.theirs

    @property
    def verdict(self) -> Verdict:
        """Whether the target is met; `void` without a figure of ours, `no peer` without one of theirs."""
        if self.ours is None:
            return "void"
        if self.peer and self.theirs is None:
            return "no peer"
        if self.target is None:
            return ""
        value = self.ratio if self.peer else self.ours
        return "met" if value is not None and self.target.holds(value) else "not met"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one benchmark gives: its claims, all single figures behind them, and notes for the reader."""

    name: str
    claims: list[Claim]
    figures: Mapping[str, Any]
    notes: list[str] = field(default_factory=list)

    def without_targets(self) -> Outcome:
        """The same with nothing to be met."""
        return replace(self, claims=[replace(claim, target=None) for claim in self.claims])


def middle(values: Iterable[float | None]) -> float | None:
    """The median; None when there is no value, or one of them is void."""
    found = list(values)
    valid = [value for value in found if value is not None]
    return median(valid) if valid and len(valid) == len(found) else None


def least(values: Iterable[float | None]) -> float | None:
    """The least; None when there is no value, or one of them is void."""
    found = list(values)
    valid = [value for value in found if value is not None]
    return min(valid) if valid and len(valid) == len(found) else None
