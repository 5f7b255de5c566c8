"""Results that are kept for nodes which opted in: found again in any run, and worked out once at a time."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support import executor_engine
from tests.support.executor_checks import check_run, ends
from tests.support.executor_client import Client, Event, Watch, is_node, is_terminal
from tests.support.executor_engine import RunningExecutor, running_executor
from tests.support.executor_gates import Gate, Marks
from tests.support.executor_graphs import chain, definition, node
from weftline.v1 import events_pb2
from weftline.v1 import workflow_service_pb2 as pb
from weftline_executor.errors import ArtifactsUnavailable

HOUR_MS = 3_600_000


def cached(node_id: str, node_type: str = "test.step", ttl: float | None = None, **data: Any) -> dict[str, Any]:
    """A node that takes a kept result."""
    policy = {"cache": True if ttl is None else {"ttl": ttl}, **data.pop("policy", {})}
    return node(node_id, node_type, **data, policy=policy)


def success(events: list[Event], node_id: str = "a") -> events_pb2.NodeTransition:
    """How a node succeeded."""
    return next(event.node for event in events if is_node(node_id, "success")(event))


async def reasons(client: Client, *definitions: str) -> list[str]:
    """Runs workflows one after the other, and says how the node `a` succeeded in each."""
    found = []
    for each in definitions:
        events = await client.run(each)
        check_run(events)
        found.append(success(events).reason)
    return found


async def kept(executor: RunningExecutor, results: int = 1) -> None:
    """Waits until so many results are kept."""
    async with asyncio.timeout(20):
        while len(await executor.files.files("cache")) < results:
            await asyncio.sleep(0.01)


async def test_a_result_takes_the_place_of_another_run_of_the_node(executor: RunningExecutor, marks: Marks) -> None:
    text = chain(
        cached("a", value={"n": 1}, marks=str(marks)), node("b", "set", values={"n": "{{ nodes.a.output.n }}"})
    )
    first = await executor.client.run(text)
    await kept(executor)
    second = await executor.client.run(text, "another")
    check_run(second)
    assert [success(events).reason for events in (first, second)] == ["", "cached"]
    assert success(first).data_json == success(second).data_json
    assert json.loads(success(second, "b").data_json) == {"n": 1}
    assert marks.attempts() == ["a 1"]
    assert executor.metrics.cache_hits._value.get() == 1
    assert executor.metrics.cache_misses._value.get() == 1


async def test_without_the_policy_nothing_is_kept_and_nothing_taken(executor: RunningExecutor) -> None:
    plain, keeps = chain(node("a", "test.step", value=1)), chain(cached("a", value=1))
    assert await reasons(executor.client, keeps) == [""]
    await kept(executor)
    off = chain(cached("b", value=2, policy={"cache": False}), node("a", "test.step", value=1))
    assert await reasons(executor.client, plain, plain, off) == ["", "", ""]
    assert len(await executor.files.files("cache")) == 1


async def test_what_differs_in_what_it_is_given_is_another_result(executor: RunningExecutor) -> None:
    def given(value: object, arrived: object, **params: object) -> str:
        nodes = [node("in", "test.echo", value=arrived), cached("a", "test.given", value=value)]
        return definition(nodes, "in>a", params=params)

    base = given({"x": 1, "y": 2}, [1], p=1)
    others = [given({"x": 1, "y": 3}, [1], p=1), given({"x": 1, "y": 2}, [2], p=1), given({"x": 1, "y": 2}, [1], p=2)]
    assert await reasons(executor.client, base, *others) == [""] * 4
    await kept(executor, 4)
    same = given({"y": 2, "x": 1}, [1], p=1)
    assert await reasons(executor.client, base, same, *others) == ["cached"] * 5


async def test_another_type_or_another_version_of_it_is_another_result(
    executor: RunningExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = executor.client
    assert await reasons(client, chain(cached("a", "test.echo", value=1)), chain(cached("a", value=1))) == ["", ""]
    await kept(executor, 2)
    assert await reasons(client, chain(cached("a", "test.echo", value=1))) == ["cached"]
    found = executor.types.get("test.echo")
    assert found is not None
    monkeypatch.setattr(executor.types, "get", lambda _name: replace(found, version="2"))
    # Labels make it another definition, of which no graph is kept, and change nothing else.
    assert await reasons(client, chain(cached("a", "test.echo", value=1), labels={"of": "the new version"})) == [""]


async def test_an_expression_is_judged_by_its_value_and_one_for_each_item_by_what_it_reads(
    executor: RunningExecutor,
) -> None:
    def filtering(least: int, unused: int) -> str:
        nodes = [
            node("n", "test.echo", value={"least": least, "unused": unused}),
            cached("a", "filter", items="{{ params.items }}", where="item > nodes.n.output.least"),
            cached("b", value="{{ nodes.n.output.least }}"),
        ]
        return definition(nodes, "n>a", "n>b", params={"items": [1, 2, 3]})

    client = executor.client
    runs = [await client.run(filtering(*each)) for each in ((1, 1), (2, 1))]
    await kept(executor, 4)
    runs += [await client.run(filtering(*each)) for each in ((1, 1), (1, 2))]
    assert [success(events).reason for events in runs] == ["", "", "cached", ""]
    assert [json.loads(success(events).data_json) for events in runs] == [[2, 3], [3], [2, 3], [2, 3]]
    assert [success(events, "b").reason for events in runs] == ["", "", "cached", "cached"]


async def test_a_branch_is_kept_with_the_handle_that_fired(executor: RunningExecutor) -> None:
    nodes = [cached("a", "test.branch", handle="right"), node("left"), node("right")]
    text = definition(nodes, "a:left>left", "a:right>right")
    first = await executor.client.run(text)
    await kept(executor)
    second = await executor.client.run(text)
    assert (success(second).reason, success(second).handle) == ("cached", "right")
    assert ends(second) == ends(first) | {"a": "success cached"}


@pytest.mark.parametrize("config", [("noop", {}), ("test.rows", {"count": 5000})], ids=["no output", "large"])
async def test_any_output_is_kept(executor: RunningExecutor, config: tuple[str, dict[str, Any]]) -> None:
    text = chain(cached("a", config[0], **config[1]))
    first = await executor.client.run(text)
    await kept(executor)
    second = await executor.client.run(text, "another")
    assert success(second).reason == "cached"
    assert success(second).data_json == success(first).data_json
    assert success(second).artifact.sha256 == success(first).artifact.sha256
    if first[0].run_id in success(first).artifact.uri:
        assert second[0].run_id in success(second).artifact.uri


async def test_a_failure_is_not_kept(executor: RunningExecutor, marks: Marks) -> None:
    text = chain(cached("a", "test.flaky", marks=str(marks), failures=1, policy={"retry": {"delay": 0}}))
    assert await reasons(executor.client, text) == [""]
    await kept(executor)
    assert await reasons(executor.client, text) == ["cached"]
    assert marks.attempts() == ["a 1", "a 2"]


async def test_secrets_are_not_kept(executor: RunningExecutor) -> None:
    await executor.client.run(chain(cached("a", "test.tell_secret", name="TOKEN")))
    await kept(executor)
    [file] = await executor.files.files("cache")
    body = await executor.files.read(f"cache/{file.name}")
    assert body is not None
    assert b"s3cr3t" not in body


async def test_results_outlive_the_executor(tmp_path: Path) -> None:
    text = chain(cached("a", value=1))
    async with running_executor(tmp_path) as executor:
        assert await reasons(executor.client, text) == [""]
        await kept(executor)
    async with running_executor(tmp_path) as executor:
        assert await reasons(executor.client, text) == ["cached"]


class Clock:
    """The wall clock of an executor, which can be set."""

    def __init__(self) -> None:
        self.ahead = 0

    def now(self) -> int:
        """Milliseconds since the Unix epoch."""
        return _real_now() + self.ahead


_real_now = executor_engine.now


@asynccontextmanager
async def clocked(monkeypatch: pytest.MonkeyPatch, **settings: Any) -> AsyncIterator[tuple[RunningExecutor, Clock]]:
    """An executor with a clock of its own."""
    clock = Clock()
    monkeypatch.setattr(executor_engine, "now", clock.now)
    async with running_executor(**settings) as executor:
        yield executor, clock


async def test_a_result_will_do_for_as_long_as_the_node_says(monkeypatch: pytest.MonkeyPatch) -> None:
    hour, two, ever = (chain(cached("a", ttl=ttl, value=1)) for ttl in (3600, 7200, None))
    async with clocked(monkeypatch) as (executor, clock):
        assert await reasons(executor.client, ever) == [""]
        await kept(executor)
        clock.ahead += HOUR_MS + 60_000
        assert await reasons(executor.client, two, ever) == ["cached", "cached"]
        # That which runs again is the newest from now on.
        assert await reasons(executor.client, hour, hour) == ["", "cached"]


async def test_no_result_will_do_for_longer_than_the_setting_says(monkeypatch: pytest.MonkeyPatch) -> None:
    text = chain(cached("a", ttl=30 * 86_400, value=1))
    async with clocked(monkeypatch, cache_days=1) as (executor, clock):
        assert await reasons(executor.client, text) == [""]
        await kept(executor)
        clock.ahead += 25 * HOUR_MS
        assert await reasons(executor.client, text) == [""]


async def test_where_kept_results_cannot_be_read_or_written_nodes_run(
    executor: RunningExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise ArtifactsUnavailable("not today")

    monkeypatch.setattr(executor.files, "read", fail)
    monkeypatch.setattr(executor.files, "write", fail)
    text = chain(cached("a", value=1))
    assert await reasons(executor.client, text, text) == ["", ""]


class Many:
    """Runs of one workflow under several names, at one time."""

    def __init__(self, client: Client, text: str) -> None:
        self.client = client
        self.text = text
        self.watches: dict[str, Watch] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> "Many":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def start(self, name: str, status: str = "running") -> None:
        """Starts a run, and waits until its node has this status."""
        watch = await self._stack.enter_async_context(self.client.watch(name, start_from=pb.WATCH_FROM_NOW))
        self.watches[name] = watch
        await self.client.start(self.text, name)
        await watch.until(is_node("a", status))

    async def end(self, name: str) -> list[Event]:
        """Waits for the end of a run and gives its events."""
        await self.watches[name].until(is_terminal)
        check_run(self.watches[name].durable)
        return self.watches[name].durable


async def test_of_several_that_are_given_the_same_one_runs_and_all_get_its_result(
    executor: RunningExecutor, gate: Gate, marks: Marks
) -> None:
    async with Many(executor.client, chain(cached("a", value=[1], gate=str(gate), marks=str(marks)))) as many:
        for name in ("one", "two", "three"):
            await many.start(name)
        await marks.wait(1)
        gate.open()
        ended = [await many.end(name) for name in ("one", "two", "three")]
    assert [success(events).reason for events in ended] == ["", "cached", "cached"]
    assert {success(events).data_json for events in ended} == {"[1]"}
    assert marks.attempts() == ["a 1"]


async def test_within_one_run_too(client: Client, gate: Gate, marks: Marks) -> None:
    gate.open()
    nodes = [cached(f"n{number}", value=1, gate=str(gate), marks=str(marks)) for number in range(20)]
    events = await client.run(definition(nodes))
    check_run(events)
    assert len(marks.attempts()) == 1
    told = [success(events, each["id"]).reason for each in nodes]
    assert sorted(told) == ["", *["cached"] * 19]


async def test_when_the_one_that_runs_fails_the_next_one_runs(
    executor: RunningExecutor, gate: Gate, marks: Marks
) -> None:
    text = chain(cached("a", "test.fail_later", gate=str(gate), marks=str(marks)))
    async with Many(executor.client, text) as many:
        for name in ("one", "two"):
            await many.start(name)
        await marks.wait(1)
        gate.open()
        ended = [await many.end(name) for name in ("one", "two")]
    assert [ends(events) for events in ended] == [{"a": "error node_failed"}] * 2
    assert marks.attempts() == ["a 1", "a 1"]


@pytest.mark.parametrize("mode", [pb.STOP_MODE_GRACEFUL, pb.STOP_MODE_TERMINATE])
async def test_when_the_one_that_runs_is_stopped_the_next_one_runs(
    executor: RunningExecutor, gate: Gate, marks: Marks, mode: pb.StopMode.ValueType
) -> None:
    async with Many(executor.client, chain(cached("a", value=1, gate=str(gate), marks=str(marks)))) as many:
        await many.start("one")
        await marks.wait(1)
        for name in ("two", "three"):
            await many.start(name)
        await executor.client.stop("one", mode=mode)
        assert ends(await many.end("one")) == {"a": "error cancelled"}
        await marks.wait(2)
        gate.open()
        ended = [await many.end(name) for name in ("two", "three")]
    assert [success(events).reason for events in ended] == ["", "cached"]
    assert marks.attempts() == ["a 1", "a 1"]


async def test_one_that_waits_can_be_stopped_and_the_others_still_get_the_result(
    executor: RunningExecutor, gate: Gate, marks: Marks
) -> None:
    async with Many(executor.client, chain(cached("a", value=1, gate=str(gate), marks=str(marks)))) as many:
        await many.start("one")
        await marks.wait(1)
        for name in ("two", "three"):
            await many.start(name)
        await executor.client.stop("two")
        assert ends(await many.end("two")) == {"a": "error cancelled"}
        gate.open()
        ended = [await many.end(name) for name in ("one", "three")]
    assert [success(events).reason for events in ended] == ["", "cached"]
    assert marks.attempts() == ["a 1"]


async def test_one_that_waits_can_be_paused_at_once_and_takes_the_result_when_it_is_resumed(
    executor: RunningExecutor, gate: Gate, marks: Marks
) -> None:
    async with Many(executor.client, chain(cached("a", value=1, gate=str(gate), marks=str(marks)))) as many:
        await many.start("one")
        await marks.wait(1)
        await many.start("two")
        await executor.client.pause("two", mode=pb.PAUSE_MODE_IMMEDIATE)
        gate.open()
        await many.end("one")
        await kept(executor)
        await executor.client.resume("two")
        ended = await many.end("two")
    assert success(ended).reason == "cached"
    assert marks.attempts() == ["a 1"]


async def test_one_that_waits_counts_as_running_for_its_time_limit(
    executor: RunningExecutor, gate: Gate, marks: Marks
) -> None:
    config: dict[str, Any] = {"value": 1, "gate": str(gate), "marks": str(marks)}
    async with Many(executor.client, chain(cached("a", **config))) as many:
        await many.start("one")
        await marks.wait(1)
        events = await executor.client.run(chain(cached("a", **config, policy={"timeout": 0.2})), "two")
        assert ends(events) == {"a": "error attempt_timeout"}
        gate.open()
        assert success(await many.end("one")).reason == ""


async def test_a_process_node_keeps_its_result_too(executor: RunningExecutor) -> None:
    text = chain(cached("a", "process.give", value={"n": 1}))
    assert await reasons(executor.client, text) == [""]
    await kept(executor)
    assert await reasons(executor.client, text) == ["cached"]


@pytest.mark.parametrize(
    ("node_type", "cache", "path", "code"),
    [
        ("test.unsafe", True, "cache", "invalid_value"),
        ("test.step", "yes", "cache", "wrong_type"),
        ("test.step", {"ttl": 0}, "cache.ttl", "invalid_value"),
        ("test.step", {"ttl": "1h"}, "cache.ttl", "invalid_value"),
        ("test.step", {"tll": 5}, "cache.tll", "unknown_key"),
    ],
)
async def test_what_cannot_be_is_a_fault(client: Client, node_type: str, cache: object, path: str, code: str) -> None:
    [fault] = (await client.validate(chain(node("a", node_type, policy={"cache": cache})))).faults
    assert (fault.path, fault.code) == (f"nodes[0].data.policy.{path}", code)


async def test_a_node_with_a_body_keeps_no_result_of_its_own(client: Client) -> None:
    body = {"nodes": [node("x")], "edges": []}
    faults = (await client.validate(chain(node("a", "workflow", workflow=body, policy={"cache": True})))).faults
    assert ("nodes[0].data.policy.cache", "invalid_value") in [(fault.path, fault.code) for fault in faults]
