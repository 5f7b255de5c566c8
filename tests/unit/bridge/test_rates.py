"""Rates: as many at once and as many over time as they say, by whatever clock."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weftline_bridge.rates import Appointments, CommandRate, RateLimit, Verdict


def test_a_burst_may_happen_at_once_and_then_as_often_as_the_rate() -> None:
    limit = RateLimit(rate=10.0, burst=3)
    assert [limit.take(5.0) for _ in range(4)] == [True, True, True, False]
    assert limit.pause == pytest.approx(0.1)
    assert [limit.take(5.11), limit.take(5.12), limit.take(5.22)] == [True, False, True]


def test_a_long_silence_allows_no_more_than_a_burst() -> None:
    limit = RateLimit(rate=10.0, burst=3)
    assert sum(limit.take(0.0) for _ in range(9)) == 3
    assert sum(limit.take(1e6) for _ in range(9)) == 3


@given(
    st.floats(0.1, 1000),
    st.integers(1, 50),
    st.lists(st.floats(0, 3) | st.just(0.0), min_size=1, max_size=200),
)
def test_no_span_of_time_holds_more_than_its_share_and_a_burst(rate: float, burst: int, gaps: list[float]) -> None:
    limit = RateLimit(rate, burst)
    now, taken = 100.0, []
    for gap in gaps:
        now += gap
        if limit.take(now):
            taken.append(now)
    for first, begins in enumerate(taken):
        for last in range(first, len(taken)):
            assert last - first + 1 <= burst + (taken[last] - begins) * rate + 1e-6


def test_a_clock_that_goes_back_gives_nothing_away() -> None:
    limit = RateLimit(rate=1.0, burst=1)
    assert limit.take(100.0)
    assert not any(limit.take(now) for now in (50.0, 99.0, 50.0, 100.5))


@given(st.floats(0.1, 1000), st.lists(st.floats(0, 3) | st.just(0.0), min_size=1, max_size=200))
def test_appointments_are_in_the_future_and_no_closer_to_each_other_than_the_rate(
    rate: float, gaps: list[float]
) -> None:
    appointments = Appointments(rate, longest=20.0)
    now, given_out = 100.0, [100.0]
    for gap in gaps:
        now += gap
        pause = appointments.next(now)
        assert 0 < pause <= 20.0
        if pause < 20.0:
            assert now + pause - given_out[-1] >= 1 / rate - 1e-9
            given_out.append(now + pause)


def test_who_would_have_to_wait_too_long_takes_no_appointment_from_others() -> None:
    appointments = Appointments(rate=1.0, longest=2.0)
    assert [appointments.next(0.0) for _ in range(4)] == [1.0, 2.0, 2.0, 2.0]
    assert appointments.next(1.5) == pytest.approx(1.5)


def test_a_client_that_goes_on_although_it_is_refused_is_disconnected() -> None:
    rate = CommandRate(rate=10.0, burst=5)
    verdicts = [rate.take(0.0) for _ in range(11)]
    assert Counter(verdicts) == {Verdict.CARRY_OUT: 5, Verdict.REFUSE: 5, Verdict.DISCONNECT: 1}
    assert verdicts[-1] is Verdict.DISCONNECT


def test_a_client_that_waits_when_it_is_told_to_is_never_disconnected() -> None:
    rate = CommandRate(rate=10.0, burst=5)
    now = 0.0
    for _ in range(1000):
        if rate.take(now) is not Verdict.CARRY_OUT:
            now += rate.pause + 1e-6
            assert rate.take(now) is Verdict.CARRY_OUT
