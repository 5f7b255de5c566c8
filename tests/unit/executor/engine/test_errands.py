"""Errands are heard when they fail, and none outlives its engine."""

import asyncio

import pytest

from weftline_executor.engine.errands import Errands


@pytest.fixture
async def errands() -> Errands:
    """Errands of this loop."""
    return Errands(asyncio.get_running_loop())


async def _fail() -> None:
    raise RuntimeError("lost the way")


async def test_a_failure_is_logged_and_told(errands: Errands, caplog: pytest.LogCaptureFixture) -> None:
    told = asyncio.Event()
    errands.run("fetch the paper", _fail(), told.set)
    await asyncio.wait_for(told.wait(), 5)
    errands.run("fetch the ink", _fail())
    await errands.close(5)
    assert [record.getMessage() for record in caplog.records] == ["fetch the paper failed", "fetch the ink failed"]


async def test_what_ends_well_or_is_cancelled_is_no_failure(errands: Errands) -> None:
    failed: list[str] = []
    errands.run("nothing", asyncio.sleep(0), lambda: failed.append("nothing"))
    errands.run("forever", asyncio.Event().wait(), lambda: failed.append("forever"))  # type: ignore[arg-type]
    await errands.close(0.05)
    assert failed == []


async def test_the_end_waits_for_what_is_nearly_done_and_takes_nothing_more(errands: Errands) -> None:
    done: list[str] = []

    async def work(name: str) -> None:
        await asyncio.sleep(0)
        done.append(name)

    errands.run("first", work("first"))
    await errands.close(5)
    errands.run("late", work("late"))
    await asyncio.sleep(0)
    assert done == ["first"]
