"""Facts about the numbered graph: its order, its heights, its cycles, and what can be reached."""

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.executor.graph.canvas import graph_of
from weftline_executor.graph.forecast import tails


@st.composite
def edges_of(draw: st.DrawFn, *, acyclic: bool) -> tuple[int, list[tuple[int, int]]]:
    """A number of nodes with edges between them, numbered so that the order of the definition says nothing."""
    size = draw(st.integers(1, 9))
    ends = st.integers(0, size - 1)
    pairs = draw(st.lists(st.tuples(ends, ends), max_size=20))
    if not acyclic:
        return size, pairs
    rank = draw(st.permutations(range(size)))
    return size, [(rank[min(pair)], rank[max(pair)]) for pair in pairs if pair[0] != pair[1]]


def longest_path(size: int, edges: list[tuple[int, int]], node: int) -> int:
    """Nodes on the longest path from here, by trying all."""
    return 1 + max((longest_path(size, edges, target) for source, target in edges if source == node), default=0)


def reached(edges: list[tuple[int, int]], node: int) -> set[int]:
    """What can be reached, by going on until nothing is new."""
    found: set[int] = set()
    while new := {target for source, target in edges if source in found | {node}} - found:
        found |= new
    return found


@given(edges_of(acyclic=True))
def test_the_order_puts_every_node_after_its_parents(graph: tuple[int, list[tuple[int, int]]]) -> None:
    size, edges = graph
    built = graph_of(size, edges)
    assert sorted(built.order) == list(range(size))
    place = {node: at for at, node in enumerate(built.order)}
    assert all(place[source] < place[target] for source, target in edges)
    assert built.acyclic
    assert built.find_cycle() == []
    assert len(built) == size


@given(edges_of(acyclic=True))
def test_a_nodes_tail_is_the_length_of_the_longest_path_ahead(graph: tuple[int, list[tuple[int, int]]]) -> None:
    size, edges = graph
    assert tails(graph_of(size, edges), [1.0] * size) == [longest_path(size, edges, node) for node in range(size)]


@given(edges_of(acyclic=False))
def test_a_cycle_is_found_if_there_is_one_and_follows_the_edges(graph: tuple[int, list[tuple[int, int]]]) -> None:
    size, edges = graph
    built = graph_of(size, edges)
    cycle = built.find_cycle()
    assert bool(cycle) == any(node in reached(edges, node) for node in range(size))
    assert built.acyclic == (not cycle)
    assert len(set(cycle)) == len(cycle)
    for source, target in zip(cycle, [*cycle[1:], *cycle[:1]], strict=True):
        assert (source, target) in edges


@given(edges_of(acyclic=False))
def test_descendants_are_what_can_be_reached(graph: tuple[int, list[tuple[int, int]]]) -> None:
    size, edges = graph
    built = graph_of(size, edges)
    for node in range(size):
        assert built.descendants(node) == reached(edges, node)


@given(edges_of(acyclic=False))
def test_edges_are_listed_at_both_of_their_ends(graph: tuple[int, list[tuple[int, int]]]) -> None:
    size, edges = graph
    built = graph_of(size, edges)
    for node in range(size):
        assert built.outgoing[node] == tuple(at for at, (source, _) in enumerate(edges) if source == node)
        assert built.incoming[node] == tuple(at for at, (_, target) in enumerate(edges) if target == node)
