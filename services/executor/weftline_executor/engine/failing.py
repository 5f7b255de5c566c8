"""What follows from a failed attempt: another one, a branch, a default value, a pause, or the end; pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from weftline_executor.engine.outcome import Failure
from weftline_executor.graph.policy import OnError, Policy, Retry
from weftline_executor.model.states import Handling

_HANDLING = {
    OnError.FAIL: Handling.NONE,
    OnError.FAIL_BRANCH: Handling.FAIL_BRANCH,
    OnError.DEFAULT_VALUE: Handling.DEFAULT_VALUE,
    OnError.PAUSE: Handling.PAUSE,
}


@dataclass(frozen=True, slots=True)
class Decision:
    """How a failure is handled; with RETRY the next attempt begins after `delay` seconds."""

    handling: Handling
    delay: float = 0.0


def decide(policy: Policy, failure: Failure, failures: int, random: Callable[[], float]) -> Decision:
    """Says how the failure of a node with this policy is handled, which has failed `failures` times before.

    `random` gives numbers of 0 to 1 for the jitter.
    """
    retry = policy.retry
    if retry is not None and failure.retryable and failures + 1 < retry.attempts:
        return Decision(Handling.RETRY, retry_delay(retry, failure, failures, random))
    return Decision(_HANDLING[policy.on_error])


def retry_delay(retry: Retry, failure: Failure, failures: int, random: Callable[[], float]) -> float:
    """Seconds until the next attempt: exponential back-off with full jitter, and never before what a server asked for.

    Full jitter is that of "Exponential Backoff And Jitter" (M. Brooker, 2015): anywhere from 0 to the back-off.
    """
    try:
        longest = min(retry.cap, retry.delay * retry.factor**failures)
    except OverflowError:
        longest = retry.cap
    return max(longest * random(), failure.retry_after)
