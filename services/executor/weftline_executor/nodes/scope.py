"""What the expressions of one node can read."""

from collections.abc import Mapping

EMPTY: Mapping[str, object] = {}


class Scope:
    """The values behind the names of an expression; the mappings may be lazy.

    `nodes` maps a node's id to `{"output": value}`, `inputs` maps a handle to what arrived there, `params` are the
    parameters of the run, `run` says how that stands: `id`, `workflowId`, `status`, `error`, `failedNode`.
    """

    __slots__ = ("inputs", "nodes", "params", "run")

    def __init__(
        self,
        nodes: Mapping[str, object] = EMPTY,
        inputs: Mapping[str, object] = EMPTY,
        params: Mapping[str, object] = EMPTY,
        run: Mapping[str, object] = EMPTY,
    ) -> None:
        self.nodes = nodes
        self.inputs = inputs
        self.params = params
        self.run = run

    def variables(self) -> dict[str, object]:
        """Give the values by the names that expressions use."""
        return {"nodes": self.nodes, "inputs": self.inputs, "params": self.params, "run": self.run}
