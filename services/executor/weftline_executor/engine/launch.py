"""What it takes to launch an attempt: the node made ready, what it is given, and who is told how it ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from msgspec import Struct

from weftline_executor.engine.attempt import Attempt, Reporter
from weftline_executor.engine.outcome import Result
from weftline_executor.graph import NodeDef
from weftline_executor.nodes import Body, Idempotency, NodeType, PreparedCall, Scope


class Catalog(Protocol):
    """The node types that exist."""

    def get(self, name: str) -> NodeType | None:
        """The type of this name."""

    def nearest(self, name: str) -> str | None:
        """The known name that is most like this one."""

    def why_off(self, name: str) -> str | None:
        """Why a type that there is can't be used, as a sentence."""


@dataclass(frozen=True, slots=True)
class PreparedNode:
    """A node made ready to be launched: its type, its call, the output handles it has, and whether it may run twice."""

    type: NodeType
    call: PreparedCall
    handles: tuple[str, ...]
    idempotency: Idempotency

    @classmethod
    def all(cls, nodes: Sequence[NodeDef], catalog: Catalog) -> list[PreparedNode]:
        """Prepares the nodes of a valid graph; those that are configured alike share one."""
        made: dict[tuple[str, bytes], PreparedNode] = {}
        for node in nodes:
            if node.kind in made:
                continue
            node_type = catalog.get(node.type)
            if node_type is None:
                raise LookupError(f"the graph was compiled with a node type {node.type!r} that is gone")
            made[node.kind] = cls(
                node_type,
                node_type.prepare(node.data),
                node_type.handles(node.data),
                node_type.idempotency_for(node.data),
            )
        return [made[node.kind] for node in nodes]


class Owner(Reporter, Protocol):
    """Whose attempt it is; called in the engine's event loop only."""

    def finish(self, attempt: Attempt, result: Result) -> None:
        """The attempt ended, or has come to where it waits."""


class Launch(Struct, frozen=True):
    """All that is needed to run one attempt.

    What is `heavy` has more to read than may be worked on in the engine's event loop. `trace` is that of the run.
    """

    attempt: Attempt
    node: PreparedNode
    inputs: Mapping[str, object]
    scope: Scope
    workflow_id: str
    run_id: str
    owner: Owner
    heavy: bool = False
    body: Body | None = None
    trace: str = ""

    @property
    def where(self) -> str:
        """Which node of which run it is, for the executor's log."""
        return f"run {self.run_id}, node {self.attempt.node_id!r} ({self.node.type.name})"
