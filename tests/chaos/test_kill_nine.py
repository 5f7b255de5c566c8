"""Either service may die at any instant, again and again: every run ends, and nobody misses or repeats an event."""

import asyncio
import os
from pathlib import Path

import pytest

from tests.support.chaos_course import Course, keep_running, kill_again_and_again
from tests.support.stack import running_stack

KILLS = int(os.environ.get("WEFTLINE_CHAOS_KILLS", "30"))
"""How often a service is killed; `make chaos` does so a thousand times."""

SEED = int(os.environ.get("WEFTLINE_CHAOS_SEED", "20261122"))
LANES = 3


@pytest.mark.timeout(120 + 6 * KILLS)
async def test_kills_of_either_service_lose_repeat_or_reorder_nothing_and_every_run_ends(tmp_path: Path) -> None:
    async with running_stack(tmp_path, WEFTLINE_EXECUTOR_NODES="tests.support.test_nodes") as stack:
        course = Course(stack, stack.http, SEED)
        lanes = [asyncio.create_task(keep_running(course, lane), name=f"lane-{lane}") for lane in range(LANES)]
        await kill_again_and_again(course, KILLS, lanes)
        course.enough.set()
        await asyncio.gather(*lanes)
    print(f"{KILLS} kills: {course.totals}")
    assert course.totals.runs >= LANES
    assert course.totals.reconnections >= KILLS / 4
