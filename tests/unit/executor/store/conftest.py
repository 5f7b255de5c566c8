"""Every test of the store runs over every adapter."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from weftline_executor.store import MemoryStore, SqliteStore, Store


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """An open store without events."""
    made: Store = MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "data")
    await made.open()
    yield made
    await made.close()
