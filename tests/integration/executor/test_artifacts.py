"""Outputs that are too large for an event: stored once, shown as a preview, read whole by whoever needs them."""

import asyncio
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.support.executor_checks import check_run, ends
from tests.support.executor_client import Client, Event, is_node, is_terminal, refused
from tests.support.executor_engine import RunningExecutor, running_executor
from tests.support.executor_gates import Gate
from tests.support.executor_graphs import chain, definition, node
from weftline.v1 import events_pb2, workflow_service_pb2
from weftline_executor.errors import ArtifactsUnavailable

ROWS = 5000
WHOLE = {"rows": [{"n": number, "text": f"row {number}"} for number in range(ROWS)]}
MISSING = f"weftline:01234567-89ab-7def-8123-456789abcdef/{'0' * 64}"


@dataclass(frozen=True, slots=True)
class Storing:
    """The writing of artifacts, which begins and then waits until it may end."""

    begun: asyncio.Event = field(default_factory=asyncio.Event)
    may_end: asyncio.Event = field(default_factory=asyncio.Event)


@pytest.fixture
def storing(executor: RunningExecutor, monkeypatch: pytest.MonkeyPatch) -> Storing:
    """No artifact is written before it may."""
    write, made = executor.files.write, Storing()

    async def held(name: str, body: bytes) -> None:
        made.begun.set()
        await made.may_end.wait()
        await write(name, body)

    monkeypatch.setattr(executor.files, "write", held)
    return made


def big(node_id: str = "big", **data: Any) -> dict[str, Any]:
    """A node whose output is about 150 kB."""
    return node(node_id, "test.rows", count=ROWS, **data)


def success(events: list[Event], node_id: str) -> events_pb2.NodeTransition:
    """How a node succeeded."""
    return next(event.node for event in events if is_node(node_id, "success")(event))


async def test_a_large_output_is_a_preview_in_the_event_and_whole_by_its_name(client: Client) -> None:
    events = await client.run(chain(big()))
    check_run(events)
    told = success(events, "big")
    assert len(told.data_json) <= 4096
    assert json.loads(told.data_json)["rows"][0] == WHOLE["rows"][0]
    body = await client.artifact(told.artifact.uri)
    assert json.loads(body) == WHOLE
    assert (told.artifact.size_bytes, told.artifact.content_type) == (len(body), "application/json")
    assert told.artifact.uri == f"weftline:{events[0].run_id}/{told.artifact.sha256}"


async def test_a_snapshot_shows_a_large_output_as_its_event_did(client: Client) -> None:
    events = await client.run(chain(big()))
    (shown,) = (await client.snapshot()).nodes
    told = success(events, "big")
    assert (shown.data_json, shown.artifact) == (told.data_json, told.artifact)


async def test_an_output_of_just_the_limit_is_in_its_event(client: Client) -> None:
    events = await client.run(chain(node("a", "test.big", size=32 * 1024 - 2), node("b", "test.big", size=32 * 1024)))
    fits, does_not = success(events, "a"), success(events, "b")
    assert (len(fits.data_json), fits.HasField("artifact")) == (32 * 1024, False)
    assert does_not.HasField("artifact")


async def test_whoever_comes_after_a_large_output_sees_all_of_it(client: Client) -> None:
    nodes = [
        big(),
        node(
            "row",
            "set",
            values={"n": "{{ nodes.big.output.rows[4321].n }}", "rows": "{{ inputs.input.rows | length }}"},
        ),
        node("inputs", "test.inputs"),
        node("far", "template", template="{{ nodes.big.output.rows | map(attribute='n') | sum }}"),
    ]
    events = await client.run(definition(nodes, "big>row", "big>inputs", "row>far"))
    check_run(events)
    assert json.loads(success(events, "row").data_json) == {"n": 4321, "rows": ROWS}
    assert json.loads(success(events, "far").data_json) == str(sum(range(ROWS)))
    passed_on = success(events, "inputs").artifact
    assert json.loads(await client.artifact(passed_on.uri)) == {"input": WHOLE}


async def test_several_large_outputs_arrive_together(client: Client) -> None:
    nodes = [big("a"), big("b"), node("small", "set", values={"x": 1}), node("all", "test.inputs"), node("m", "merge")]
    edges = ("a>all:both", "b>all:both", "small>all:small", "b>m")
    events = await client.run(definition(nodes, *edges))
    found = json.loads(await client.artifact(success(events, "all").artifact.uri))
    assert found == {"both": [WHOLE, WHOLE], "small": {"x": 1}}
    assert success(events, "m").artifact.sha256 == success(events, "b").artifact.sha256


async def test_outputs_of_a_run_that_are_too_large_for_its_last_event_are_an_artifact(client: Client) -> None:
    nodes = [big(), node("out", "output"), node("small", "output", value=7)]
    events = await client.run(definition(nodes, "big>out", "big>small"))
    check_run(events)
    complete = events[-1].complete
    assert complete.status == events_pb2.RUN_STATE_SUCCESS
    assert len(complete.outputs_json) <= 4096
    assert json.loads(complete.outputs_json)["small"] == 7
    assert json.loads(await client.artifact(complete.artifact.uri)) == {"out": WHOLE, "small": 7}
    snapshot = await client.snapshot()
    assert (snapshot.outputs_json, snapshot.outputs_artifact) == (complete.outputs_json, complete.artifact)


async def test_many_small_outputs_are_an_artifact_when_they_are_large_together(client: Client) -> None:
    nodes = [node(f"n{number}", "output", value="x" * 3000) for number in range(20)]
    complete = (await client.run(definition(nodes)))[-1].complete
    found = json.loads(await client.artifact(complete.artifact.uri))
    assert found == {each["id"]: "x" * 3000 for each in nodes}


async def test_outputs_that_are_larger_together_than_an_output_may_be_fail_the_run() -> None:
    async with running_executor(max_output_bytes=200_000) as executor:
        nodes = [big(), node("one", "output"), node("two", "output")]
        events = await executor.client.run(definition(nodes, "big>one", "big>two"))
        check_run(events)
        assert events[-1].error.code == "outputs_too_large"
        assert set(ends(events).values()) == {"success"}


async def test_an_output_over_the_limit_fails_its_node() -> None:
    async with running_executor(max_output_bytes=100_000) as executor:
        events = await executor.client.run(chain(big()))
        assert ends(events) == {"big": "error output_too_large"}


async def test_secrets_are_taken_out_before_an_output_is_stored(client: Client) -> None:
    events = await client.run(chain(node("a", "test.tell_large_secret", name="TOKEN")))
    told = success(events, "a")
    body = await client.artifact(told.artifact.uri)
    assert b"s3cr3t" not in body + told.data_json.encode()
    assert json.loads(body)[-1] == "***"


async def test_a_large_output_of_an_inline_type_is_stored_too(client: Client) -> None:
    events = await client.run(chain(node("a", "set", values={"text": "x" * 50_000})))
    assert json.loads(await client.artifact(success(events, "a").artifact.uri)) == {"text": "x" * 50_000}


async def test_a_branch_with_a_large_output_still_branches(client: Client) -> None:
    nodes = [node("if", "test.large_branch", handle="right"), node("left"), node("right")]
    events = await client.run(definition(nodes, "if:left>left", "if:right>right"))
    assert ends(events) == {"if": "success", "left": "skipped branch_not_taken", "right": "success"}
    assert success(events, "if").handle == "right"
    assert success(events, "if").HasField("artifact")


async def test_an_output_that_cannot_be_stored_fails_the_attempt_which_is_tried_again(
    executor: RunningExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, failures = executor.files.write, iter([True, False])

    async def fail_once(name: str, body: bytes) -> None:
        if next(failures, False):
            raise ArtifactsUnavailable("/some/path: no space left on device")
        await write(name, body)

    monkeypatch.setattr(executor.files, "write", fail_once)
    events = await executor.client.run(chain(big(policy={"retry": {"attempts": 2, "delay": 0}})))
    check_run(events)
    failed = next(event.node for event in events if is_node("big", "error")(event))
    assert (failed.error_code, failed.handled) == ("artifact_failed", "retry")
    assert "/some/path" not in failed.error
    assert success(events, "big").attempt == 2


async def test_a_run_ends_when_its_outputs_can_be_stored_again(
    executor: RunningExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, put = executor.files.write, 0

    async def fail_the_second(name: str, body: bytes) -> None:
        nonlocal put
        put += 1
        if put == 2:
            raise ArtifactsUnavailable("not now")
        await write(name, body)

    monkeypatch.setattr(executor.files, "write", fail_the_second)
    monkeypatch.setattr("weftline_executor.engine.finale.RETRY_SECONDS", 0.01)
    nodes = [node(f"n{number}", "output", value="x" * 20_000) for number in range(2)]
    events = await executor.client.run(definition([big(), *nodes], "big>n0", "big>n1"))
    assert events[-1].complete.status == events_pb2.RUN_STATE_SUCCESS
    assert put == 3


async def test_an_output_that_is_gone_fails_who_reads_it_and_is_not_tried_again(
    executor: RunningExecutor, gate: Gate
) -> None:
    nodes = [big(), node("wait", "test.step", gate=str(gate)), node("late", "test.inputs", policy={"retry": True})]
    async with executor.client.watch(start_from=workflow_service_pb2.WATCH_FROM_NOW) as watch:
        await executor.client.start(definition(nodes, "big>late", "wait>late"))
        told = (await watch.until(is_node("big", "success"))).node.artifact
        await executor.engine.artifacts.delete_run(told.uri.removeprefix("weftline:").partition("/")[0])
        gate.open()
        await watch.until(is_terminal)
        events = watch.durable
    check_run(events)
    assert ends(events)["late"] == "error artifact_failed"


async def test_a_stop_does_not_wait_for_an_output_that_is_being_stored_when_told_to_end_at_once(
    executor: RunningExecutor, storing: Storing
) -> None:
    async with executor.client.watch(start_from=workflow_service_pb2.WATCH_FROM_NOW) as watch:
        await executor.client.start(chain(big()))
        await storing.begun.wait()
        await executor.client.stop(mode=workflow_service_pb2.STOP_MODE_TERMINATE)
        await watch.until(is_terminal)
        storing.may_end.set()
    assert ends(watch.durable) == {"big": "error cancelled"}


async def test_a_graceful_stop_lets_an_output_be_stored(executor: RunningExecutor, storing: Storing) -> None:
    async with executor.client.watch(start_from=workflow_service_pb2.WATCH_FROM_NOW) as watch:
        await executor.client.start(chain(big(), node("next")))
        await storing.begun.wait()
        await executor.client.stop()
        storing.may_end.set()
        await watch.until(is_terminal)
    check_run(watch.durable)
    assert ends(watch.durable) == {"big": "success", "next": "skipped run_stopped"}


async def test_an_attempt_takes_too_long_when_storing_its_output_does(
    executor: RunningExecutor, storing: Storing
) -> None:
    large = node("large", "set", values={"text": "x" * 50_000}, policy={"timeout": 0.3})
    events = await executor.client.run(chain(large))
    assert storing.begun.is_set()
    storing.may_end.set()
    assert ends(events) == {"large": "error attempt_timeout"}


async def test_an_immediate_pause_begins_anew_what_was_being_stored(
    executor: RunningExecutor, storing: Storing
) -> None:
    client = executor.client
    async with client.watch(start_from=workflow_service_pb2.WATCH_FROM_NOW) as watch:
        await client.start(chain(big()))
        await storing.begun.wait()
        await client.pause(mode=workflow_service_pb2.PAUSE_MODE_IMMEDIATE)
        storing.may_end.set()
        await client.resume()
        await watch.until(is_terminal)
    check_run(watch.durable)
    assert success(watch.durable, "big").attempt == 2


@pytest.mark.parametrize("uri", ["", "weftline:x", f"weftline:../{'0' * 64}", "../../etc/passwd", "s3://bucket/key"])
async def test_only_the_uri_of_an_artifact_can_be_read(client: Client, uri: str) -> None:
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "invalid_argument") as refusal:
        await client.artifact(uri)
    assert refusal.violations[0][0] == "uri"


async def test_an_artifact_that_is_not_there_has_a_named_refusal(client: Client) -> None:
    with refused(grpc.StatusCode.NOT_FOUND, "artifact_not_found"):
        await client.artifact(MISSING)


async def test_an_artifact_is_streamed_in_pieces_of_64_kib(client: Client) -> None:
    events = await client.run(chain(node("a", "test.big", size=3_000_000)))
    request = workflow_service_pb2.ReadArtifactRequest(uri=success(events, "a").artifact.uri)
    sizes = [len(piece.data) async for piece in client.stub.ReadArtifact(request, timeout=20)]
    assert max(sizes) == 64 * 1024
    assert sum(sizes) == 3_000_002


async def test_an_artifact_that_was_cut_off_is_data_loss(tmp_path: Path) -> None:
    async with running_executor(tmp_path) as executor:
        uri = success(await executor.client.run(chain(big())), "big").artifact.uri
        size = await executor.engine.artifacts.size(uri)

        async def longer(_name: str) -> int:
            return size + 1

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(executor.files, "size", longer)
            with refused(grpc.StatusCode.DATA_LOSS, "artifact_damaged"):
                await executor.client.artifact(uri)


async def test_artifacts_outlive_the_executor(tmp_path: Path) -> None:
    async with running_executor(tmp_path) as executor:
        uri = success(await executor.client.run(chain(big())), "big").artifact.uri
    async with running_executor(tmp_path) as executor:
        assert json.loads(await executor.client.artifact(uri)) == WHOLE
