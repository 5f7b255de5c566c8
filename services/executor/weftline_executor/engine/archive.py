"""States of runs that have ended, folded from the log when asked for and kept for a while."""

from __future__ import annotations

from collections import OrderedDict

from weftline_executor.engine.outcome import MAX_ERROR
from weftline_executor.engine.verdict import clean
from weftline_executor.model.events import Event, NodeFailed, RunFailed
from weftline_executor.model.records import Batch, RunRecord
from weftline_executor.replay import RunProjection
from weftline_executor.store import Store

KEPT_PROJECTIONS = 32
INTERRUPTED = "the executor stopped while the node ran"


async def load_projection(store: Store, record: RunRecord) -> RunProjection:
    """Folds a run from the log, up to its last event there."""
    projection = RunProjection(record.workflow_id, record.run_id)
    after = record.first_seq - 1
    while after < record.last_seq:
        batches = await store.read(record.workflow_id, after)
        if not batches:
            break
        for batch in batches:
            if batch.run_id != record.run_id:
                return projection
            for event in batch.events:
                projection.apply(event)
            after = batch.last_seq
    return projection


def given_up(projection: RunProjection, error: str, now: int) -> Batch:
    """The batch that ends a run which can no longer be run, for example because a node type is gone."""
    seq = projection.seq
    events: list[Event] = []
    for node_id in projection.in_flight():
        seq += 1
        attempt = projection.nodes[node_id].attempt
        events.append(NodeFailed(seq, now, node_id, attempt, 0, INTERRUPTED, "interrupted"))
    events.append(RunFailed(seq + 1, now, clean(error, MAX_ERROR), "not_recoverable"))
    return Batch(projection.workflow_id, projection.run_id, tuple(events))


class Archive:
    """The newest ended run of each workflow; the last 32 that were asked for are kept in memory."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._kept: OrderedDict[str, RunProjection] = OrderedDict()

    async def newest(self, workflow_id: str) -> RunProjection | None:
        """The state of a workflow's newest run; None when none is kept in the log."""
        record = await self._store.newest_run(workflow_id)
        if record is None:
            return None
        projection = self._kept.pop(record.run_id, None)
        # A run that ended can have been retried since.
        if projection is None or not projection.state.final or projection.seq != record.last_seq:
            projection = await load_projection(self._store, record)
        self._kept[record.run_id] = projection
        while len(self._kept) > KEPT_PROJECTIONS:
            self._kept.popitem(last=False)
        return projection
