"""Random graphs with an end for each node, and a reference that looks at a whole graph at once, all ends known."""

from collections.abc import Callable
from dataclasses import dataclass

from hypothesis import strategies as st

from tests.unit.executor.graph.canvas import graph_of
from weftline_executor.graph import Graph
from weftline_executor.graph.joins import RULES, Join
from weftline_executor.model.states import SkipReason

FAILS = "fails"
HANDLES = ("", "left", "right")

# What each rule asks of the numbers of in-edges: all of them, and those taken, failed and skipped.
REFERENCE_RULES: dict[str, Callable[[int, int, int, int, int], bool]] = {
    "none_failed_min_one_success": lambda k, edges, taken, failed, skipped: not failed and taken >= 1,
    "all_success": lambda k, edges, taken, failed, skipped: taken == edges,
    "all_done": lambda k, edges, taken, failed, skipped: True,
    "one_success": lambda k, edges, taken, failed, skipped: taken >= 1,
    "one_failed": lambda k, edges, taken, failed, skipped: failed >= 1,
    "none_failed": lambda k, edges, taken, failed, skipped: not failed,
    "always": lambda k, edges, taken, failed, skipped: True,
    "n_of": lambda k, edges, taken, failed, skipped: taken >= k,
}
WEIGHT = [
    SkipReason.UPSTREAM_SKIPPED,
    SkipReason.BRANCH_NOT_TAKEN,
    SkipReason.CONDITION_FALSE,
    SkipReason.UPSTREAM_FAILED,
]


@dataclass(frozen=True, slots=True)
class Case:
    """A graph, and what becomes of each node if it runs: a handle fires (empty: all), or it fails.

    `order` lists the nodes so that each comes after its parents; their numbers say nothing of it.
    """

    size: int
    order: tuple[int, ...]
    edges: tuple[tuple[int, int], ...]
    handles: tuple[str, ...]
    joins: dict[int, Join]
    outcomes: tuple[str, ...]

    def graph(self) -> Graph:
        """The graph."""
        return graph_of(self.size, self.edges, self.joins, dict(enumerate(self.handles)))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Small graphs with every join rule, parallel edges and branching nodes."""
    size = draw(st.integers(1, 7))
    order = tuple(draw(st.permutations(range(size))))
    pairs = [(order[source], order[target]) for target in range(size) for source in range(target)]
    edges = tuple(draw(st.lists(st.sampled_from(pairs), min_size=size - 1, max_size=2 * size))) if pairs else ()
    rules = st.sampled_from(RULES).map(lambda rule: Join(rule, 2 if rule == "n_of" else 0))
    return Case(
        size,
        order,
        edges,
        tuple(draw(st.lists(st.sampled_from(HANDLES), min_size=len(edges), max_size=len(edges)))),
        draw(st.dictionaries(st.integers(0, size - 1), rules, max_size=size)),
        tuple(draw(st.lists(st.sampled_from((*HANDLES, FAILS)), min_size=size, max_size=size))),
    )


def reference(case: Case) -> dict[int, SkipReason | None]:
    """What becomes of each node: None when it runs, else why it is skipped."""
    decided: dict[int, SkipReason | None] = {}
    for node in case.order:
        arrived = [
            edge_outcome(case, decided, number) for number, (_, target) in enumerate(case.edges) if target == node
        ]
        join = case.joins.get(node, Join())
        failed = arrived.count(SkipReason.UPSTREAM_FAILED)
        taken = arrived.count(None)
        runs = REFERENCE_RULES[join.rule](join.count, len(arrived), taken, failed, len(arrived) - taken - failed)
        heaviest = max((WEIGHT.index(reason) for reason in arrived if reason is not None), default=0)
        decided[node] = None if runs or not arrived else WEIGHT[heaviest]
    return decided


def edge_outcome(case: Case, decided: dict[int, SkipReason | None], number: int) -> SkipReason | None:
    """None when the edge is taken, else the reason that it gives for a skip."""
    source, handle = case.edges[number][0], case.handles[number]
    if decided[source] is not None:
        failed = decided[source] is SkipReason.UPSTREAM_FAILED
        return SkipReason.UPSTREAM_FAILED if failed else SkipReason.UPSTREAM_SKIPPED
    outcome = case.outcomes[source]
    if outcome == FAILS:
        return SkipReason.UPSTREAM_FAILED
    return None if not outcome or not handle or handle == outcome else SkipReason.BRANCH_NOT_TAKEN
