"""DBOS on SQLite, a step for each node; runs in the peers' own environment."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from dbos import DBOS  # type: ignore[import-not-found]

from bench.engine import contender
from bench.engine.shapes import Work


@DBOS.step()  # type: ignore[untyped-decorator]
async def noop(node: str) -> str:
    """A node that does nothing."""
    return node


@DBOS.workflow()  # type: ignore[untyped-decorator]
async def run_graph(shape: str, size: int) -> int:
    """Runs a graph: all steps that are ready at once, then those that became ready."""
    graph = Work(shape, size).graph()
    children = graph.children()
    waiting = {node: len(parents) for node, parents in graph.parents().items()}
    ready = [node for node, parents in waiting.items() if not parents]
    done = 0
    while ready:
        finished = await asyncio.gather(*(noop(node) for node in ready)) if len(ready) > 1 else [await noop(ready[0])]
        ready = []
        for node in finished:
            done += 1
            for child in children[node]:
                waiting[child] -= 1
                if not waiting[child]:
                    ready.append(child)
    return done


class Dbos:
    """Runs each graph as a workflow, several at once with asyncio."""

    def __init__(self, folder: Path) -> None:
        DBOS(
            config={
                "name": "bench",
                "system_database_url": f"sqlite:///{folder / 'dbos.sqlite3'}",
                "log_level": "ERROR",
                "run_admin_server": False,
            }
        )
        self._runner = asyncio.Runner()
        self._runner.run(self._launch())

    def do(self, work: Work) -> int:
        """See Contender."""
        return self._runner.run(self._do(work))

    async def _launch(self) -> None:
        DBOS.launch()

    async def _do(self, work: Work) -> int:
        runs = [await DBOS.start_workflow_async(run_graph, work.shape, work.size) for _ in range(work.runs)]
        return sum([await run.get_result() for run in runs])


if __name__ == "__main__":
    print(json.dumps(contender.compete(Dbos)), flush=True)
