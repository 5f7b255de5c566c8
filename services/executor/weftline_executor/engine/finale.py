"""The end of a run: its one terminal event, written once what its `output` nodes gave is where the event says."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from weftline_executor.artifacts import Artifacts, preview
from weftline_executor.engine.journal import Journal
from weftline_executor.engine.runtime import Runtime
from weftline_executor.engine.verdict import Counts, NodeFault, OutputNode, output_nodes, terminal_event
from weftline_executor.errors import ArtifactDamaged, ArtifactError, ArtifactNotFound
from weftline_executor.graph import Graph
from weftline_executor.model.artifact import Artifact
from weftline_executor.model.states import RunState
from weftline_executor.replay import RunProjection

RETRY_SECONDS = 1.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ends: `stopping` or by itself, by a `fault` or without, and with its nodes in which states.

    `age` gives how long the run has taken, in ms.
    """

    stopping: bool
    fault: NodeFault | None
    age: Callable[[], int]
    counts: Counts


def write_end(runtime: Runtime, journal: Journal, graph: Graph, projection: RunProjection, ending: Ending) -> RunState:
    """Writes the run's terminal event and gives the state that it ends in.

    Where the outputs are too large for an event, it is written later, when they are stored; until then the run stands,
    also over the executor's death. When they are larger together than one output may be, the run fails.
    """
    given = [] if ending.fault else output_nodes(graph, projection)
    fault = ending.fault or _too_large(given, runtime.outputs.max_bytes)
    state = RunState.ERROR if fault else RunState.STOPPED if ending.stopping else RunState.SUCCESS

    def write(outputs: bytes = b"{}", artifact: Artifact | None = None, fault: NodeFault | None = fault) -> None:
        seq, now = journal.next_seq(), runtime.now()
        duration, raw = ending.age(), msgspec.Raw(outputs)
        event = terminal_event(seq, now, graph, state, fault, duration, ending.counts, raw, artifact)
        journal.append(event, len(outputs))

    async def store() -> None:
        try:
            body, artifact = await _store(runtime.artifacts, projection.run_id, given)
        except (ArtifactNotFound, ArtifactDamaged) as error:
            write(fault=NodeFault("", f"the run's outputs can't be read: {error}", "artifact_failed"))
        else:
            write(await asyncio.to_thread(preview, body), artifact)

    if fault is not None:
        write()
    elif any(node.artifact for node in given) or _size(given) > runtime.outputs.limit:
        runtime.errands.run(f"store the outputs of {projection.run_id}", store())
    else:
        write(_object_of([(node.id, node.output) for node in given]))
    return state


def _too_large(given: Sequence[OutputNode], limit: int) -> NodeFault | None:
    size = _size(given)
    if size <= limit:
        return None
    return NodeFault("", f"the run's outputs are {size} bytes together, over the limit of {limit}", "outputs_too_large")


def _size(given: Sequence[OutputNode]) -> int:
    """How large the JSON object of the outputs is, or a little more."""
    values = sum(node.artifact.size if node.artifact else max(len(node.output), 4) for node in given)
    return 2 + values + sum(len(msgspec.json.encode(node.id)) + 2 for node in given)


async def _store(artifacts: Artifacts, run_id: str, given: Sequence[OutputNode]) -> tuple[bytes, Artifact]:
    """Stores the outputs of a run as one object, and gives that with where it is; tries until it can be done."""
    told = False
    while True:
        try:
            parts = [
                (node.id, await artifacts.read(node.artifact.uri) if node.artifact else node.output) for node in given
            ]
            body = await asyncio.to_thread(_object_of, parts)
            return body, await artifacts.put(run_id, body)
        except (ArtifactNotFound, ArtifactDamaged):
            raise
        except ArtifactError as error:
            if not told:
                _log.error("run %s can't end, trying again every %.0f s: %s", run_id, RETRY_SECONDS, error)
            told = True
            await asyncio.sleep(RETRY_SECONDS)


def _object_of(parts: Sequence[tuple[str, bytes]]) -> bytes:
    """The JSON object of these names and JSON texts, where an empty one is null."""
    return msgspec.json.encode({name: msgspec.Raw(body) if body else None for name, body in parts})
