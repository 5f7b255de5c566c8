"""When a worker that ended is started again, and when no more."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from weftline_bridge.workers.restarts import (
    FIRST_PAUSE,
    LONGEST_PAUSE,
    MAX_FAILED_STARTS,
    STEADY_SECONDS,
    Restarts,
)


def test_a_steady_worker_is_started_again_at_once() -> None:
    restarts = Restarts()
    assert [restarts.ended(STEADY_SECONDS, served=True) for _ in range(100)] == [0.0] * 100


def test_one_that_ends_quickly_waits_longer_each_time_but_never_for_ever() -> None:
    restarts = Restarts()
    pauses = [restarts.ended(1.0, served=True) for _ in range(5000)]
    assert pauses[:3] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE]
    assert set(pauses[20:]) == {LONGEST_PAUSE}
    assert restarts.ended(STEADY_SECONDS, served=True) == 0.0
    assert restarts.ended(1.0, served=True) == FIRST_PAUSE


def test_starts_in_a_row_that_lead_to_nothing_are_the_end_and_one_that_serves_begins_the_row_anew() -> None:
    restarts = Restarts()
    for _ in range(3):
        assert None not in [restarts.ended(0.5, served=False) for _ in range(MAX_FAILED_STARTS - 1)]
        assert restarts.ended(0.5, served=True) is not None
    pauses = [restarts.ended(0.5, served=False) for _ in range(MAX_FAILED_STARTS)]
    assert pauses[-1] is None
    assert None not in pauses[:-1]


@given(st.lists(st.tuples(st.floats(0, 2 * STEADY_SECONDS), st.booleans())))
def test_a_pause_is_within_its_bounds_and_only_a_worker_that_serves_long_shortens_it(
    lives: list[tuple[float, bool]],
) -> None:
    restarts = Restarts()
    pauses = []
    for lived, served in lives:
        pause = restarts.ended(lived, served=served)
        if pause is None:
            break
        pauses.append((pause, served and lived >= STEADY_SECONDS))
    assert all(0 <= pause <= LONGEST_PAUSE for pause, _ in pauses)
    for (earlier, _), (later, steady) in pairwise(pauses):
        assert steady or later >= earlier
