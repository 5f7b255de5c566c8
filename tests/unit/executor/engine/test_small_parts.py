"""Facts about ids, locks, and what a run comes to."""

import asyncio
import json
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from weftline_executor.engine.ids import new_run_id
from weftline_executor.engine.locks import KeyedLocks
from weftline_executor.engine.verdict import (
    NodeFault,
    OutputNode,
    clean,
    first_fault,
    json_object,
    nests_too_deep,
    output_nodes,
)
from weftline_executor.graph import Graph
from weftline_executor.graph.definition import NodeDef, RunConfig
from weftline_executor.model import events as model
from weftline_executor.replay import RunProjection

LATEST = (1 << 48) - 1


@given(st.integers(0, LATEST))
def test_a_run_id_is_a_uuid_of_version_7_that_tells_its_time(now: int) -> None:
    run_id = uuid.UUID(new_run_id(now))
    assert (run_id.version, run_id.variant) == (7, uuid.RFC_4122)
    assert run_id.int >> 80 == now


@given(st.integers(0, LATEST), st.integers(0, LATEST))
def test_run_ids_sort_by_their_time(one: int, other: int) -> None:
    if one != other:
        assert (new_run_id(one) < new_run_id(other)) == (one < other)


def test_run_ids_of_one_moment_differ() -> None:
    assert len({new_run_id(1_700_000_000_000) for _ in range(10_000)}) == 10_000


async def test_work_on_one_key_is_done_one_after_the_other_and_other_keys_go_on() -> None:
    locks, log = KeyedLocks(), []
    release = asyncio.Event()

    async def work(name: str, key: str) -> None:
        async with locks.hold(key):
            log.append(f"{name} in")
            if name == "first":
                await release.wait()
            log.append(f"{name} out")

    tasks = [asyncio.create_task(work(name, key)) for name, key in (("first", "a"), ("second", "a"), ("other", "b"))]
    await tasks[2]
    assert log == ["first in", "other in", "other out"]
    release.set()
    await asyncio.gather(*tasks)
    assert log[3:] == ["first out", "second in", "second out"]
    assert locks._locks == {}


async def test_a_key_is_free_again_after_an_error_or_a_cancellation() -> None:
    locks = KeyedLocks()
    with pytest.raises(ValueError, match="x"):
        async with locks.hold("a"):
            raise ValueError("x")
    async with locks.hold("a"):
        waiting = asyncio.create_task(locks.hold("a").__aenter__())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    async with asyncio.timeout(5), locks.hold("a"):
        pass
    assert locks._locks == {}


def graph(*nodes: tuple[str, str]) -> Graph:
    """A graph without edges."""
    return Graph([NodeDef(name, kind, {}, at) for at, (name, kind) in enumerate(nodes)], [], RunConfig())


def ended(*ends: tuple[str, str]) -> RunProjection:
    """A run whose nodes ended so, in this order: with this JSON text, or with an error when it begins with "!"."""
    events: list[model.Event] = [model.RunStarted(1, 1, Raw(b"{}"), len(ends))]
    for name, value in ends:
        seq = len(events) + 1
        events.append(model.NodeRunning(seq, seq, name, 1))
        if value.startswith("!"):
            events.append(model.NodeFailed(seq + 1, seq, name, 1, 1, value[1:], "node_failed"))
        else:
            output = Raw(value.encode()) if value else model.NO_JSON
            events.append(model.NodeSucceeded(seq + 1, seq, name, 1, 1, output))
    return RunProjection.of("w", "r", events)


def test_the_outputs_of_a_run_are_those_of_its_output_nodes() -> None:
    nodes = graph(("a", "output"), ("b", "noop"), ("c", "output"), ("d", "output"), ("e", "output"))
    projection = ended(("c", "[1]"), ("b", "2"), ("a", ""), ("d", "!no"))
    assert output_nodes(nodes, projection) == [OutputNode("a", b"", None), OutputNode("c", b"[1]", None)]


def test_a_run_is_remembered_by_the_first_failure_in_the_order_of_its_definition() -> None:
    nodes = graph(("a", "noop"), ("b", "noop"), ("c", "noop"))
    assert first_fault(nodes, ended(("c", "!late"), ("b", "!early"))) == NodeFault("b", "early", "node_failed")
    assert first_fault(nodes, ended(("a", "1"))) is None


def test_a_nodes_context_is_kept_as_json_whatever_it_holds() -> None:
    assert bytes(json_object({"n": 1}, 100)) == b'{"n":1}'
    assert json.loads(bytes(json_object({"o": object, "n": 1}, 1000))) == {"o": "<class 'object'>", "n": "1"}
    assert bytes(json_object({"text": "x" * 100}, 50)) == b'{"truncated":true}'
    assert json.loads(bytes(json_object({"half": "\ud800", "k\ud800": 1}, 1000))) == {"half": "'\\ud800'", "k?": "1"}
    loop: list[object] = []
    loop.append(loop)
    assert json.loads(bytes(json_object({"loop": loop}, 1000))) == {"loop": "[[...]]"}


@given(st.text(alphabet=st.characters(exclude_categories=[])), st.integers(0, 50))
def test_cleaned_text_can_be_written_and_is_not_longer(text: str, limit: int) -> None:
    cleaned = clean(text, limit)
    assert len(cleaned) == min(len(text), limit)
    assert cleaned.encode().decode() == cleaned
    assert all(kept == given or (kept, given.isprintable()) == ("?", False) for kept, given in zip(cleaned, text))  # noqa: B905


@pytest.mark.parametrize("depth", [1, 63, 64, 65, 2000])
def test_depth_of_json_text_is_told_also_where_it_cannot_be_read(depth: int) -> None:
    assert nests_too_deep(b"[" * depth + b"]" * depth) == (depth > 64)


def test_many_brackets_are_not_taken_for_depth() -> None:
    assert not nests_too_deep(json.dumps([[{"a": 1}]] * 1000).encode())
    assert not nests_too_deep(json.dumps("[" * 1000).encode())
