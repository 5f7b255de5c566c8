"""Whatever happens to a watch over the bridge, each durable event is shown once or accounted for."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.cli import events as make
from tests.unit.cli.bridge_messages import Json, answered, gap, log, seqs, state, subscribed
from weftline.v1 import workflow_service_pb2 as ws
from weftline_cli.bookmark import WatchPlan
from weftline_cli.bridge_watch.session import BridgeSession
from weftline_cli.cursor import OrderError
from weftline_cli.items import Arrived, Item, Replaced, Skipped

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
    told = Told()
    for length, damage, at in [*cuts, (1000, "none", 0)]:
        subscribe, last = found.connected()
        frame = [*bridge.answer(subscribe), answered([last])][:length]
        durable = [place for place, message in enumerate(frame) if "seq" in message]
        if damage != "none" and durable:
            place = durable[at % len(durable)]
            frame[place : place + 1] = [frame[place]] * 2 if damage == "repeat" else []
        try:
            for item in found.take(frame):
                told.take(item)
        except OrderError:
            assert damage != "none"
    assert told.seqs == set(range(1, head + 1))


class Told:
    """The seqs that were shown, were part of a state that was, or were said to be left out; none may come twice."""

    def __init__(self) -> None:
        self.seqs: set[int] = set()
        self._last = 0

    def take(self, item: Item) -> None:
        if isinstance(item, Replaced):
            self.seqs = set(range(1, item.snapshot.seq + 1))
            self._last = item.snapshot.seq
            self.take(Arrived(item.since))
        elif isinstance(item, Skipped):
            self._add(range(item.first, item.last + 1))
        for seq in seqs([item]):
            assert seq > self._last
            self._last = seq
            self._add([seq])

    def _add(self, seqs: Iterable[int]) -> None:
        assert self.seqs.isdisjoint(seqs)
        self.seqs |= set(seqs)
