"""The fold: a run's state is what its events, applied in order, make of it."""

from weftline_executor.replay.projection import NodeState, RunProjection

__all__ = ["NodeState", "RunProjection"]
