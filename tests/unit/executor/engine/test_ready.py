"""The queue of ready nodes against a list that is searched each time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from weftline_executor.engine.ready import ReadyQueue

AHEAD = [2.0, 1.0, 3.0, 1.0, 2.0, 2.0]
STEPS = st.lists(
    st.tuples(st.sampled_from(["push", "pop", "take_out", "announce"]), st.integers(0, len(AHEAD) - 1)), max_size=40
)


@given(st.permutations(range(len(AHEAD))))
def test_nodes_with_as_long_a_path_go_in_the_order_in_which_they_came(order: list[int]) -> None:
    queue = ReadyQueue(AHEAD)
    for node in order:
        queue.push(node)
    expected = sorted(order, key=lambda node: -AHEAD[node])
    assert queue.first(4) == expected[:4]
    assert queue.line() == expected
    assert [queue.pop() for _ in order] == expected
    assert not queue


@given(st.permutations(range(len(AHEAD))), st.integers(1, 4), st.sets(st.sampled_from(range(len(AHEAD)))))
def test_nodes_are_announced_once_in_the_order_in_which_they_came(
    order: list[int], limit: int, taken: set[int]
) -> None:
    queue = ReadyQueue(AHEAD)
    for node in order:
        queue.push(node)
    for node in taken:
        queue.take_out(node)
    announced: list[int] = []
    while some := queue.announce(limit):
        assert len(some) <= limit
        announced += some
    assert announced == [node for node in order if node not in taken]


@given(STEPS)
def test_nodes_that_come_and_go_are_there_once(steps: list[tuple[str, int]]) -> None:
    queue = ReadyQueue(AHEAD)
    waiting: set[int] = set()
    unannounced: set[int] = set()
    for step, node in steps:
        if step == "push" and node not in waiting:
            queue.push(node)
            waiting.add(node)
            unannounced.add(node)
        elif step == "take_out":
            assert queue.take_out(node) is (node in waiting)
            waiting.discard(node)
        elif step == "pop" and waiting:
            first = queue.pop()
            assert AHEAD[first] == max(AHEAD[each] for each in waiting)
            waiting.remove(first)
        elif step == "announce":
            unannounced &= waiting
            announced = queue.announce(2)
            assert len(announced) == len(set(announced)) == min(2, len(unannounced))
            assert set(announced) <= unannounced
            unannounced.difference_update(announced)
        unannounced &= waiting
        assert len(queue) == len(waiting)
        assert sorted(queue.line()) == sorted(waiting)
    assert sorted(queue.clear()) == sorted(waiting)
    assert not queue
    assert queue.announce(1) == []
