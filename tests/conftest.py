"""Rules that hold for every test: none is skipped unseen, and none leaves a task or a process behind."""

import asyncio
import os
from collections.abc import AsyncIterator, Generator, Iterator

import psutil
import pytest
from hypothesis import HealthCheck, settings
from pytest_asyncio import is_async_test

# How long an example takes says something about the machine, not about the code.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")

LEFTOVER_SECONDS = 5.0
"""How long what a test has cancelled or ended may take to be gone."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    expected_failure = hasattr(report, "wasxfail")
    if report.skipped and not expected_failure and os.environ.get("CI"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped where nothing may be missing: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if report.outcome == "skipped" and os.environ.get("CI"):
        report.outcome = "failed"
        report.longrepr = f"{collector.nodeid} was skipped where nothing may be missing: {report.longrepr}"
    return report


@pytest.fixture(autouse=True)
def leaves_nothing_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails the test that leaves an asyncio task or a child process running."""
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    if is_async_test(request.node):
        request.getfixturevalue("leaves_no_task_behind")
    yield
    started = [child for child in psutil.Process().children(recursive=True) if child.pid not in before]
    _, alive = psutil.wait_procs(started, timeout=LEFTOVER_SECONDS)
    if alive:
        names = [" ".join(child.cmdline()) for child in alive if child.is_running()]
        for child in alive:
            child.kill()
        pytest.fail(f"left processes running: {names}")


@pytest.fixture
async def leaves_no_task_behind() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    if not left:
        return
    _, running = await asyncio.wait(left, timeout=LEFTOVER_SECONDS)
    if running:
        pytest.fail(f"left tasks running: {sorted(task.get_name() for task in running)}")
