"""A child process is listened to, and ended even when it does not want to."""

import asyncio
import os
from pathlib import Path

import pytest

from tests.repository.layout import ROOT
from weftline_cli.stack.child import Child

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


class Echo:
    """Collects what a child says that is serious."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []
        self.said = asyncio.Event()

    def __call__(self, name: str, line: str) -> None:
        self.lines.append((name, line))
        self.said.set()


async def test_a_child_that_ignores_sigterm_is_killed_at_the_deadline(tmp_path: Path) -> None:
    echo = Echo()
    child = Child("stubborn", "tests.integration.cli.stubborn", ENVIRONMENT, tmp_path / "log", echo)
    await child.start()
    async with asyncio.timeout(30):
        await echo.said.wait()
    assert await child.stop(0.05) is False
    assert await child.ended() == -9
    assert echo.lines == [("stubborn", "WARNING it will not end")]
    assert (tmp_path / "log").read_text().splitlines() == ["INFO here", "WARNING it will not end"]


async def test_a_child_that_ends_by_itself_is_known_with_its_last_words(tmp_path: Path) -> None:
    child = Child("absent", "no_such_module_at_all", ENVIRONMENT, tmp_path / "log", Echo())
    await child.start()
    assert await child.ended() == 1
    assert "No module named no_such_module_at_all" in child.tail[-1]
    assert await child.stop(5) is True


async def test_a_child_that_was_not_started_can_be_stopped_but_not_awaited(tmp_path: Path) -> None:
    child = Child("idle", "no_such_module_at_all", ENVIRONMENT, tmp_path / "log", Echo())
    assert await child.stop(5) is True
    with pytest.raises(RuntimeError, match="idle was not started"):
        await child.ended()
