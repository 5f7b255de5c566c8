"""What all adapters do with batches: cutting them to a cursor, and reading what they change of a run."""

from __future__ import annotations

from dataclasses import dataclass, replace

from weftline_executor.model.events import RunCompleted, RunFailed, RunPaused, RunResumed, RunStarted, RunStopping
from weftline_executor.model.records import Batch
from weftline_executor.model.states import RunState


@dataclass(frozen=True, slots=True)
class RunChange:
    """What a batch changes of its run's record: the state it ends in and, if it ended, when."""

    state: RunState
    ended_at: int | None


def cut(batch: Batch, after_seq: int) -> Batch:
    """The batch without the events up to `after_seq`."""
    if batch.first_seq > after_seq:
        return batch
    return replace(batch, events=batch.events[after_seq + 1 - batch.first_seq :])


def started(batch: Batch) -> RunStarted | None:
    """The start of the run, if the batch begins with it."""
    first = batch.events[0]
    return first if isinstance(first, RunStarted) else None


def run_change(batch: Batch) -> RunChange | None:
    """The last change of the run's state in the batch; None when it has none."""
    for event in reversed(batch.events):
        if isinstance(event, RunPaused | RunResumed | RunStopping):
            return RunChange(event.state, None)
        if isinstance(event, RunCompleted):
            return RunChange(event.status, event.at)
        if isinstance(event, RunFailed):
            return RunChange(RunState.ERROR, event.at)
    return None
