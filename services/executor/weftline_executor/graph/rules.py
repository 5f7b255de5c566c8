"""What validation asks of node types, which know what their configuration may hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol


class ConfigProblem(Protocol):
    """A fault in a node's configuration; `path` is relative to its `data`."""

    @property
    def path(self) -> str:
        """Where."""

    @property
    def code(self) -> str:
        """Its name for a program."""

    @property
    def message(self) -> str:
        """One sentence for a person."""


class NodeReference(Protocol):
    """An expression at `path` (relative to `data`) that names a node, or an input handle."""

    @property
    def path(self) -> str:
        """Where."""

    @property
    def node_id(self) -> str:
        """The node that is named; empty for a handle."""

    @property
    def handle(self) -> str:
        """The input handle that is named; empty for a node."""


class NodeTypeRules(Protocol):
    """What validation must know of a node type."""

    def handles(self, data: Mapping[str, Any]) -> tuple[str, ...]:
        """The output handles of a node that is configured so."""

    def check(self, data: Mapping[str, Any]) -> Sequence[ConfigProblem]:
        """What is wrong with the configuration."""

    def references(self, data: Mapping[str, Any]) -> Sequence[NodeReference]:
        """The nodes and input handles that its expressions name."""


class NodeTypes(Protocol):
    """The node types that exist."""

    def get(self, name: str) -> NodeTypeRules | None:
        """The type of this name."""

    def nearest(self, name: str) -> str | None:
        """The known name that is most like this one."""

    def why_off(self, name: str) -> str | None:
        """Why a type that there is can't be used, as a sentence; None where there is none, or it can."""
