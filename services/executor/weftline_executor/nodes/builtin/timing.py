"""Nodes that wait."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from weftline_executor.nodes.context import Context
from weftline_executor.nodes.decorator import node

_STEPS = 10
_MIN_STEP = 0.1


_YEAR = 365 * 24 * 3600

Seconds = Annotated[float, Field(ge=0, le=_YEAR, allow_inf_nan=False, description="How long, in seconds.")]


def _expected(data: Mapping[str, object]) -> float | None:
    seconds = data.get("seconds", 1.0)
    return seconds * 1000 if isinstance(seconds, int | float) else None


@node("delay", title="Wait", expects=_expected)
async def delay(ctx: Context, seconds: Seconds = 1.0) -> None:
    """Waits, also over a restart of the executor: only what is left of the time is waited after it."""
    # The engine passes on ten reports a second at most, so a short wait is not cut into smaller steps.
    steps = max(1, min(_STEPS, int(seconds / _MIN_STEP)))
    for done in range(1, steps + 1):
        await ctx.sleep(seconds / steps)
        ctx.progress(done / steps)
