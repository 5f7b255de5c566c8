"""Whatever happens to a watch over the bridge, each durable event is shown once or accounted for."""

from collections.abc import Iterator
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.cli import events as make
from tests.unit.cli.bridge_messages import Json, gap, log, seqs, state, subscribed
from weftline.v1 import workflow_service_pb2 as ws
from weftline_cli.bookmark import WatchPlan
from weftline_cli.bridge_watch.session import BridgeSession
from weftline_cli.cursor import OrderError
from weftline_cli.items import Item, Replaced, Skipped

ONE = WatchPlan(make.WORKFLOW)
PAST = WatchPlan(make.WORKFLOW, ws.WATCH_FROM_CURSOR, make.EPOCH, 0)
Damage = st.sampled_from(["none", "drop", "repeat"])


@dataclass
class ModelBridge:
    """What a bridge of a workflow with events 1 to `head` says; it may shed logs, fall back to the state, and err."""

    head: int
    shed: set[int]
    compacted: int = 0

    def answer(self, subscribe: Json) -> list[Json]:
        cursor = subscribe["payload"].get("cursor")
        if cursor is None or cursor["seq"] < self.compacted:
            at = max(self.compacted, 1)
            return [subscribed("snapshot", at, why="compacted" if cursor else ""), state(at), *self.after(at)]
        return [subscribed("resumed", cursor["seq"]), *self.after(cursor["seq"])]

    def after(self, seq: int) -> Iterator[Json]:
        while seq < self.head:
            first = seq + 1
            while seq < self.head and seq + 1 in self.shed:
                seq += 1
            if seq >= first:
                yield gap(first, seq)
            else:
                seq += 1
                yield log(seq)


@given(
    head=st.integers(min_value=1, max_value=30),
    shed=st.sets(st.integers(min_value=1, max_value=30)),
    cuts=st.lists(st.tuples(st.integers(min_value=0, max_value=12), Damage, st.integers(min_value=0, max_value=11))),
    compacted=st.integers(min_value=0, max_value=10),
    start=st.sampled_from([ONE, PAST]),
)
def test_whatever_is_cut_lost_or_repeated_each_event_is_shown_once_or_accounted_for(
    head: int, shed: set[int], cuts: list[tuple[int, str, int]], compacted: int, start: WatchPlan
) -> None:
    bridge = ModelBridge(head, shed, min(compacted, head))
    found = BridgeSession(start, "ws://there/")
    covered = 0
    for length, damage, at in [*cuts, (1000, "none", 0)]:
        (subscribe,) = found.connected()
        frame = bridge.answer(subscribe)[:length]
        durable = [place for place, message in enumerate(frame) if "seq" in message]
        if damage != "none" and durable:
            place = durable[at % len(durable)]
            frame[place : place + 1] = [frame[place]] * 2 if damage == "repeat" else []
        try:
            for item in found.take(frame):
                covered = _covers(item, covered)
        except OrderError:
            assert damage != "none"
    assert covered == head


def _covers(item: Item, covered: int) -> int:
    """The last seq that was shown or accounted for; fails when `item` repeats one or leaves one out."""
    if isinstance(item, Replaced):
        return item.snapshot.seq
    if isinstance(item, Skipped):
        assert item.first == covered + 1
        return item.last
    for seq in seqs([item]):
        assert seq == covered + 1
        covered = seq
    return covered
