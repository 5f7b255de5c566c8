"""Facts about compiling definitions, and about the graphs that are kept."""

from __future__ import annotations

import asyncio
import gc
import json

import pytest

from weftline_executor.engine import compiler
from weftline_executor.engine.compiler import LARGE_DEFINITION, Compiler
from weftline_executor.errors import InvalidWorkflow
from weftline_executor.graph import Limits
from weftline_executor.nodes import Registry


def noops(count: int, prefix: str = "n") -> bytes:
    """A definition of nodes that do nothing."""
    return json.dumps({"nodes": [{"id": f"{prefix}{number}", "type": "noop"} for number in range(count)]}).encode()


@pytest.fixture
def made() -> Compiler:
    return Compiler(Registry.with_builtins(), Limits())


async def test_runs_of_one_definition_share_a_graph_and_its_nodes_made_ready(made: Compiler) -> None:
    graph = await made.compile(noops(2))
    assert await made.compile(noops(2)) is graph
    assert await made.compile(noops(3)) is not graph
    assert made.prepared(graph) is made.prepared(graph)
    assert [each.type.name for each in made.prepared(graph)] == ["noop", "noop"]


async def test_a_definition_with_a_fault_is_refused_each_time(made: Compiler) -> None:
    for _ in range(2):
        with pytest.raises(InvalidWorkflow):
            await made.compile(b'{"nodes":[]}')


async def test_the_graphs_that_were_wanted_longest_ago_are_let_go_when_they_are_too_large_together(
    made: Compiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiler, "MAX_KEPT_BYTES", 2 * len(noops(4)))
    monkeypatch.setattr(compiler, "LARGEST_SHARE", 1)
    first, second = await made.compile(noops(4, "a")), await made.compile(noops(4, "b"))
    assert await made.compile(noops(4, "a")) is first
    await made.compile(noops(4, "c"))
    assert await made.compile(noops(4, "a")) is first
    assert await made.compile(noops(4, "b")) is not second
    await made.compile(noops(4, "c"))
    assert await made.compile(noops(4, "a")) is not first


async def test_what_is_kept_is_bounded_also_where_few_nodes_hold_much(made: Compiler) -> None:
    for number in range(20):
        data = {"id": "a", "type": "output", "data": {"value": f"{number}" * 50_000}}
        await made.compile(json.dumps({"nodes": [data]}).encode())
    assert 0 < sum(len(definition) for definition in made._graphs) <= compiler.MAX_KEPT_BYTES


async def test_a_graph_that_was_compiled_in_a_thread_is_kept_too_and_counted_once(made: Compiler) -> None:
    large = noops(LARGE_DEFINITION // 20)
    assert LARGE_DEFINITION < len(large) <= compiler.MAX_KEPT_BYTES // compiler.LARGEST_SHARE
    await asyncio.gather(made.compile(large), made.compile(large))
    assert await made.compile(large) is await made.compile(large)
    assert made._kept_bytes == len(large)


async def test_a_graph_that_would_push_out_many_others_is_not_kept_when_its_run_is_over(made: Compiler) -> None:
    small = await made.compile(noops(2))
    large = noops(compiler.MAX_KEPT_BYTES // compiler.LARGEST_SHARE // 20)
    graph = await made.compile(large)
    assert await made.compile(large) is not graph
    made.prepared(graph)
    assert len(made._prepared) == 1
    del graph
    gc.collect()
    assert len(made._prepared) == 0
    assert await made.compile(noops(2)) is small
