"""What the integration tests of the executor share."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.support.engine_lives import Lives
from tests.support.executor_client import Client
from tests.support.executor_engine import RunningExecutor, running_executor
from tests.support.executor_gates import Gate, Marks, Notes


@pytest.fixture
async def executor() -> AsyncIterator[RunningExecutor]:
    """An executor in this process that keeps its log in memory."""
    async with running_executor() as running:
        yield running


@pytest.fixture
def client(executor: RunningExecutor) -> Client:
    """A client of the executor in this process."""
    return executor.client


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    """A gate for nodes, closed at first."""
    return Gate(tmp_path / "gate")


@pytest.fixture
def marks(tmp_path: Path) -> Marks:
    """Where nodes leave their marks."""
    return Marks(tmp_path / "marks")


@pytest.fixture
def notes(tmp_path: Path) -> Notes:
    """Where nodes in worker processes write something down."""
    return Notes(tmp_path / "notes")


@pytest.fixture
def lives() -> Iterator[Lives]:
    """An engine that lives again and again over one store."""
    made = Lives()
    made.begin()
    yield made
    made.die()
