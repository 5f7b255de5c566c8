"""Every test of artifacts runs over every kind of place."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.support.s3_server import S3Server, s3_server
from weftline_executor.artifacts import Artifacts, Files
from weftline_executor.artifacts.files import MEMORY


# Not on demand, or the test that is first to ask would seem to leave it behind.
@pytest.fixture(scope="session", autouse=True)
def s3() -> Iterator[S3Server]:
    """A server that speaks S3."""
    with s3_server() as server:
        yield server


@pytest.fixture(params=["memory", "directory", "file-url", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path, s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Path | str:
    """A place for files where there are none yet."""
    match request.param:
        case "memory":
            return MEMORY
        case "directory":
            return tmp_path / "data" / "artifacts"
        case "file-url":
            return f"file://{tmp_path}/with a space"
        case _:
            for name, value in s3.environment.items():
                monkeypatch.setenv(name, value)
            return f"s3://{s3.make_bucket()}/some/prefix"


@pytest.fixture
async def files(place: Path | str) -> AsyncIterator[Files]:
    """Files that are open and empty."""
    made = Files(place)
    await made.open("log-1")
    yield made
    await made.close()


@pytest.fixture
def artifacts(files: Files) -> Artifacts:
    """Artifacts over the files."""
    return Artifacts(files)
