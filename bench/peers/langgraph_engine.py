"""LangGraph with its SQLite checkpointer and synchronous durability; runs in the peers' own environment."""

from __future__ import annotations

import asyncio
import json
import operator
from pathlib import Path
from typing import Annotated, Any, TypedDict

from langgraph.checkpoint.sqlite import SqliteSaver  # type: ignore[import-not-found]
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver  # type: ignore[import-not-found]
from langgraph.graph import START, StateGraph  # type: ignore[import-not-found]

from bench.engine import contender
from bench.engine.shapes import Graph, Work

STEPS = 1_000_000


class State(TypedDict):
    """How many nodes ran."""

    done: Annotated[int, operator.add]


def _noop(state: State) -> State:
    return {"done": 1}


async def _async_noop(state: State) -> State:
    return {"done": 1}


def _build(graph: Graph, node: Any) -> Any:
    built = StateGraph(State)
    for name in graph.nodes:
        built.add_node(name, node)
    for name, parents in graph.parents().items():
        # An edge from a list waits for all of them; one from a name does not need a barrier.
        built.add_edge(parents if len(parents) > 1 else (parents or [START])[0], name)
    return built


class LangGraph:
    """Runs one graph with threads and several at once with asyncio: each is the faster way."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._serial = 0

    def do(self, work: Work) -> int:
        """See Contender."""
        self._serial += 1
        path = str(self._folder / f"langgraph-{self._serial}.sqlite3")
        return self._one(work, path) if work.runs == 1 else asyncio.run(self._many(work, path))

    def _one(self, work: Work, path: str) -> int:
        with SqliteSaver.from_conn_string(path) as saver:
            app = _build(work.graph(), _noop).compile(checkpointer=saver)
            return int(app.invoke({"done": 0}, _config(0), durability="sync")["done"])

    async def _many(self, work: Work, path: str) -> int:
        async with AsyncSqliteSaver.from_conn_string(path) as saver:
            app = _build(work.graph(), _async_noop).compile(checkpointer=saver)
            runs = [app.ainvoke({"done": 0}, _config(number), durability="sync") for number in range(work.runs)]
            return sum([int(state["done"]) for state in await asyncio.gather(*runs)])


def _config(number: int) -> dict[str, Any]:
    return {"configurable": {"thread_id": str(number)}, "recursion_limit": STEPS}


if __name__ == "__main__":
    print(json.dumps(contender.compete(LangGraph)), flush=True)
