"""What the tests of the command line share: a fake executor that is served, and a workflow file."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.cli.fake_executor import FakeExecutor, serving
from tests.unit.cli import events as make


@pytest.fixture
async def executor() -> AsyncIterator[FakeExecutor]:
    async with serving(FakeExecutor()) as fake:
        yield fake


@pytest.fixture
def flow(tmp_path: Path) -> str:
    file = tmp_path / "demo.json"
    file.write_text(make.definition("a", "b"))
    return str(file)
