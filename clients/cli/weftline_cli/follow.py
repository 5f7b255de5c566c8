"""Follows a watch across broken connections: the same place, a back-off, and a limit to its patience."""

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass

from weftline_cli.cursor import OrderError
from weftline_cli.errors import UnavailableError
from weftline_cli.items import Arrived, Connected, Item, Lost, Replaced, Skipped, Watch


@dataclass(frozen=True, slots=True)
class ReconnectPolicy:
    """How to come back: for `patience_s` seconds after a break, with full jitter under a ceiling that doubles."""

    patience_s: float = 60.0
    first_s: float = 0.25
    ceiling_s: float = 5.0

    def delay_s(self, attempt: int, luck: float) -> float:
        """Return how long to wait before the `attempt`-th try (from 1); `luck` is a random number from 0 to 1."""
        ceiling = min(self.ceiling_s, self.first_s * 2.0 ** min(attempt - 1, 30))
        return ceiling * (0.1 + 0.9 * luck)


async def follow(
    watch: Watch,
    policy: ReconnectPolicy,
    *,
    until_head: bool = False,
    reached: bool = False,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    luck: Callable[[], float] = random.random,
) -> AsyncGenerator[Item, None]:
    """Yield what a watch brings, opening it again whenever it breaks.

    It ends only with `until_head`, at the head. A first connection that can't be made raises UnavailableError at once
    unless the other end was `reached` before, or asks to come again; a broken one does when `policy.patience_s`
    seconds bring nothing. Who says when to come again is obeyed.
    """
    attempt, broke_at = 0, 0.0
    while True:
        advice_s: float | None = None
        try:
            async with aclosing(watch.open()) as items:
                async for item in items:
                    reached = reached or isinstance(item, Connected)
                    if isinstance(item, Arrived | Replaced | Skipped):
                        attempt = 0
                    yield item
            if until_head:
                return
            problem = "it ended the stream."
        except UnavailableError as error:
            if not (reached or error.asks_again):
                raise
            problem, advice_s = error.problem, error.advice_s
        except OrderError as error:
            problem = error.problem
        if attempt == 0:
            broke_at = clock()
        attempt += 1
        delay_s = policy.delay_s(attempt, luck()) if advice_s is None else advice_s
        if clock() + delay_s - broke_at > policy.patience_s:
            raise watch.unavailable(watch.address, f"gave up after {policy.patience_s:g} s: {problem}")
        yield Lost(problem, attempt, delay_s, watch.unavailable.peer)
        await sleep(delay_s)
