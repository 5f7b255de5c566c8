"""What follows from a failed attempt."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weftline_executor.engine.failing import decide, retry_delay
from weftline_executor.engine.outcome import Failure
from weftline_executor.graph.policy import OnError, Policy, Retry
from weftline_executor.model.states import Handling

FAILURE = Failure("out of paper", "paper")


def test_without_a_policy_a_failure_is_not_handled() -> None:
    assert decide(Policy(), FAILURE, 0, lambda: 0.5).handling is Handling.NONE


@pytest.mark.parametrize("on_error", [error for error in OnError if error is not OnError.FAIL])
def test_each_word_of_on_error_has_its_handling(on_error: OnError) -> None:
    assert decide(Policy(on_error=on_error), FAILURE, 0, lambda: 0.5).handling == on_error.value


def test_a_node_is_tried_as_often_as_its_policy_says_and_then_its_failure_is_handled() -> None:
    policy = Policy(Retry(attempts=3), on_error=OnError.FAIL_BRANCH)
    handled = [decide(policy, FAILURE, failures, lambda: 0.5).handling for failures in range(3)]
    assert handled == [Handling.RETRY, Handling.RETRY, Handling.FAIL_BRANCH]


def test_a_failure_that_trying_again_cannot_mend_is_not_retried() -> None:
    assert decide(Policy(Retry()), Failure("bad", "bad_config", retryable=False), 0, lambda: 0.5).handling == ""


@given(
    st.builds(
        Retry,
        attempts=st.just(1000),
        delay=st.floats(0, 1e6),
        factor=st.floats(1, 1e3),
        cap=st.floats(0, 1e6),
    ),
    st.integers(0, 998),
    st.floats(0, 1),
    st.floats(0, 1e5),
)
def test_the_delay_stays_under_the_cap_and_is_never_shorter_than_what_was_asked_for(
    retry: Retry, failures: int, random: float, asked: float
) -> None:
    delay = retry_delay(retry, Failure("", "", retry_after=asked), failures, lambda: random)
    assert asked <= delay <= max(asked, retry.cap)


def test_the_longest_delay_grows_by_the_factor_up_to_the_cap() -> None:
    retry = Retry(delay=1, factor=2, cap=10)
    assert [retry_delay(retry, FAILURE, failures, lambda: 1.0) for failures in range(5)] == [1, 2, 4, 8, 10]
