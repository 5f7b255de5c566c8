"""Join rules: when a node with several parents runs, and when it is skipped."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

DEFAULT_RULE = "none_failed_min_one_success"

RULES = (
    DEFAULT_RULE,
    "all_success",
    "all_done",
    "one_success",
    "one_failed",
    "none_failed",
    "always",
    "n_of",
)
"""The named rules; they mean what they mean in Apache Airflow's trigger rules, `n_of` takes a number."""


_EARLY = frozenset(("one_success", "one_failed", "always", "n_of"))


class Verdict(Enum):
    """What a join rule says of a node."""

    WAIT = "wait"
    RUN = "run"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class Join:
    """A join rule; `count` is the k of `n_of: k`."""

    rule: str = DEFAULT_RULE
    count: int = 0

    @property
    def early(self) -> bool:
        """Whether the rule may decide before all edges have arrived."""
        return self.rule in _EARLY

    def decide(self, *, edges: int, taken: int, failed: int, skipped: int) -> Verdict:
        """Says what follows from the edges that have arrived so far, of all `edges` that lead to the node.

        `taken`, `failed` and `skipped` count them by what became of their source. A skip is decided only when every
        edge has arrived, so that its reason can name the weightiest cause.
        """
        resolved = taken + failed + skipped == edges
        match self.rule:
            case "always":
                runs = True
            case "one_success":
                runs = taken >= 1
            case "one_failed":
                runs = failed >= 1
            case "n_of":
                runs = taken >= self.count
            case "all_success":
                runs = taken == edges
            case "all_done":
                runs = resolved
            case "none_failed":
                runs = resolved and not failed
            case _:
                runs = resolved and not failed and taken >= 1
        if runs:
            return Verdict.RUN
        return Verdict.SKIP if resolved else Verdict.WAIT


DEFAULT_JOIN = Join()
