"""The executor as a process, with its artifacts in a bucket of a server that speaks S3."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.executor_client import Client, is_node, is_terminal
from tests.support.executor_graphs import chain, node
from tests.support.executor_process import ExecutorProcess, executor_process
from tests.support.s3_server import S3Server, s3_server
from weftline.v1 import events_pb2
from weftline.v1 import workflow_service_pb2 as pb


# Not on demand, or the test that is first to ask would seem to leave it behind.
@pytest.fixture(scope="module", autouse=True)
def s3() -> Iterator[S3Server]:
    """A server that speaks S3."""
    with s3_server() as server:
        yield server


@pytest.fixture
def bucket(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty bucket that executors reach by their environment."""
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    return s3.make_bucket()


async def test_large_outputs_and_kept_results_are_in_the_bucket_and_outlive_the_executor(
    tmp_path: Path, bucket: str
) -> None:
    text = chain(node("a", "test.rows", count=5000, policy={"cache": True}), node("b", "output"))
    with executor_process(tmp_path, artifacts_url=f"s3://{bucket}/some/prefix") as process:
        first = await _run(process, text)
        process.restart()
        second = await _run(process, text)
    assert [each.reason for each in (first, second)] == ["", "cached"]
    assert first.artifact.sha256 == second.artifact.sha256
    assert not (tmp_path / "data" / "artifacts").exists()
    events = (tmp_path / "data" / "events.sqlite3").read_bytes()
    assert bucket.encode() not in events


async def _run(process: ExecutorProcess, text: str) -> events_pb2.NodeTransition:
    """Runs the workflow, and gives how its first node succeeded."""
    client = Client(process.address)
    try:
        async with client.watch(start_from=pb.WATCH_FROM_NOW) as watch:
            await client.start(text)
            told = (await watch.until(is_node("a", "success"))).node
            complete = (await watch.until(is_terminal)).complete
        assert json.loads(await client.artifact(complete.artifact.uri))["b"]["rows"][-1]["n"] == 4999
        assert json.loads(await client.artifact(told.artifact.uri))["rows"][-1]["n"] == 4999
        return told
    finally:
        await client.channel.close()


@pytest.mark.parametrize("url", ["s3://no-such-bucket/x", "nowhere://x"])
def test_a_place_that_cannot_be_used_ends_the_start_with_a_sentence_that_names_the_setting(
    tmp_path: Path, bucket: str, url: str
) -> None:
    process = ExecutorProcess(tmp_path, {"ARTIFACTS_URL": url})
    try:
        process.launch()
        assert process.wait() == 1
    finally:
        process.close()
    [last] = [line for line in process.log.read_text().splitlines() if line.startswith("weftline-executor: ")]
    assert "WEFTLINE_EXECUTOR_ARTIFACTS_URL" in last
