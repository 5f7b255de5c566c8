"""What nodes keep as artifacts and pass on by reference, from whatever isolation."""

import hashlib
import json
from pathlib import Path

import pytest

from tests.support.executor_checks import check_run, ends
from tests.support.executor_client import Client, Event, is_node
from tests.support.executor_engine import RunningExecutor, running_executor
from tests.support.executor_graphs import chain, node
from weftline_executor.errors import ArtifactsUnavailable


def output(events: list[Event], node_id: str) -> object:
    """What a node gave."""
    return json.loads(next(event.node.data_json for event in events if is_node(node_id, "success")(event)))


def failure(events: list[Event], node_id: str = "a") -> tuple[str, str]:
    """With which code and which words a node failed."""
    failed = next(event.node for event in events if is_node(node_id, "error")(event))
    return failed.error_code, failed.error


@pytest.mark.parametrize("look", ["test.look", "process.look_at"])
async def test_a_reference_is_json_by_which_others_read_the_bytes(client: Client, look: str) -> None:
    drawn = node("a", "test.draw", size=100_000)
    events = await client.run(chain(drawn, node("b", look, picture="{{ nodes.a.output }}")))
    check_run(events)
    reference = output(events, "a")
    assert isinstance(reference, dict)
    body = await client.artifact(reference["uri"])
    assert reference == {
        "uri": f"weftline:{events[0].run_id}/{hashlib.sha256(body).hexdigest()}",
        "size": len(body),
        "sha256": hashlib.sha256(body).hexdigest(),
        "contentType": "image/x-test",
    }
    assert output(events, "b") == len(body) == 100_000


@pytest.mark.parametrize("node_type", ["test.draw_async", "process.draw"])
async def test_coroutines_and_worker_processes_write_and_read_too(client: Client, node_type: str) -> None:
    events = await client.run(chain(node("a", node_type, size=500_000)))
    found = output(events, "a")
    assert isinstance(found, list)
    assert (found[0]["size"], found[1]) == (500_000, 500_000)


async def test_artifacts_of_other_runs_can_be_read_while_they_are_there(executor: RunningExecutor) -> None:
    client = executor.client
    events = await client.run(chain(node("a", "test.draw", size=1000)))
    looked = chain(node("a", "test.look", picture=output(events, "a")), node("b", "process.look_at", picture="x"))
    assert output(await client.run(looked, "other"), "a") == 1000
    await executor.engine.artifacts.delete_run(events[0].run_id)
    code, error = failure(await client.run(looked, "other"))
    assert code == "artifact_not_found"
    assert "deleted with its run" in error


@pytest.mark.parametrize("look", ["test.look", "process.look_at"])
@pytest.mark.parametrize("picture", ["../../etc/passwd", "weftline:run/abc", {}, {"uri": 7}, None, 7])
async def test_what_is_no_reference_is_refused(client: Client, look: str, picture: object) -> None:
    assert failure(await client.run(chain(node("a", look, picture=picture))))[0] == "bad_artifact"


async def test_an_artifact_over_the_limit_is_refused(tmp_path: Path) -> None:
    async with running_executor(tmp_path, max_artifact_bytes=10_000, max_output_bytes=10_000) as executor:
        client = executor.client
        for node_type in ("test.draw", "test.draw_async", "process.draw"):
            events = await client.run(chain(node("a", node_type, size=10_001)))
            assert failure(events)[0] == "artifact_too_large"
        assert await executor.engine.artifacts.runs() == []
        # What was written when the limit was another is not read into memory either.
        uri = (await executor.engine.artifacts.put("run", bytes(20_000))).uri
        assert failure(await client.run(chain(node("a", "test.look", picture=uri))))[0] == "artifact_too_large"


async def test_a_secret_is_not_kept(executor: RunningExecutor) -> None:
    events = await executor.client.run(chain(node("a", "test.draw_secret", name="TOKEN")))
    assert failure(events) == ("secret_in_artifact", "the artifact holds a secret")
    assert await executor.engine.artifacts.runs() == []


async def test_a_coroutine_that_would_block_its_loop_is_told_what_to_write(client: Client) -> None:
    code, error = failure(await client.run(chain(node("a", "test.draw_wrongly"))))
    assert code == "node_raised"
    assert "await ctx.artifacts.awrite" in error


@pytest.mark.parametrize("node_type", ["test.draw", "test.draw_async", "process.draw"])
async def test_what_cannot_be_stored_fails_the_attempt_without_saying_where(
    executor: RunningExecutor, monkeypatch: pytest.MonkeyPatch, node_type: str
) -> None:
    async def fail(_name: str, _body: bytes) -> None:
        raise ArtifactsUnavailable("/some/path: no space left on device")

    monkeypatch.setattr(executor.files, "write", fail)
    events = await executor.client.run(
        chain(node("a", node_type, size=10, policy={"retry": {"attempts": 2, "delay": 0}}))
    )
    assert ends(events) == {"a": "error artifact_failed"}
    assert "/some/path" not in failure(events)[1]
    assert [event.node.attempt for event in events if is_node("a", "running")(event)] == [1, 2]
