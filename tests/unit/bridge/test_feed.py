"""The feed of one workflow: what it delivers to whom, whatever order things come in."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.bridge.messages import durable, log, telemetry
from weftline_bridge.frames import Batch, Delivery, Dialect, Message, Wire
from weftline_bridge.history import RingLimits
from weftline_bridge.hub.audience import WHOLE, Audience, Filter, View
from weftline_bridge.hub.feed import Feed
from weftline_bridge.hub.flushing import Flushable
from weftline_bridge.hub.group import MOST_READERS
from weftline_bridge.protocol.minting import Mint
from weftline_bridge.protocol.payloads import ProgressPayload
from weftline_bridge.protocol.state import WorkflowState
from weftline_bridge.recorder import Tape


class Turns:
    """Collects what is to be flushed, and flushes it when the test says that the turn is over."""

    def __init__(self) -> None:
        self.marked: list[Flushable] = []

    def mark(self, item: Flushable) -> None:
        self.marked.append(item)

    def queue(self, item: Flushable) -> None:
        self.marked.append(item)

    def share(self, batches: list[Batch]) -> Delivery:
        return Delivery(batches)

    def account(self, wire: Wire) -> None:
        wire.deliveries = 0

    def write(self, fd: int, data: bytes, /) -> int:
        raise AssertionError("nobody is written to straight")

    def end(self) -> None:
        while self.marked:
            self.marked.pop(0).flush()


class Recorder:
    """A reader that keeps what it is told, and takes nothing straight as its socket would."""

    straight = False
    fd = -1

    def __init__(self, dialect: Dialect = Dialect.V1) -> None:
        self.dialect = dialect
        self.tape = Tape(None, lambda: 0)
        self.messages: list[Message] = []
        self.cut_off: set[str] = set()

    def offer(self, batch: Batch) -> None:
        self.messages += batch.messages

    def take(self, delivery: Delivery) -> None:
        for batch in delivery.batches:
            self.offer(batch)

    def keep(self, data: bytes, written: int) -> None:
        raise AssertionError("nothing may be written to it")

    async def room(self) -> None:
        """There is always room."""

    def reopen(self, workflow_id: str) -> None:
        self.cut_off.discard(workflow_id)

    @property
    def seqs(self) -> list[int]:
        return [message.seq for message in self.messages if message.seq]

    @property
    def types(self) -> list[str]:
        return [message.type for message in self.messages]


class World:
    """A feed with all that it needs."""

    def __init__(self, head: int | None = 0, ring: RingLimits | None = None) -> None:
        self.turns = Turns()
        self.everyone = Audience(self.turns, lambda: 0)
        self.feed = Feed(
            "wf",
            everyone=self.everyone,
            turns=self.turns,
            limits=ring or RingLimits(),
            mint=Mint("m", lambda: 0),
        )
        if head is not None:
            self.feed.adopt_nothing("e", "")
            self.feed.head = head

    def take(self, messages: Iterable[Message]) -> bool:
        hole = self.feed.take(list(messages), 0.0)
        self.turns.end()
        return hole

    def reader(self, view: View = WHOLE, after: int = 0) -> Recorder:
        recorder = Recorder()
        self.feed.attach(recorder, view, after)
        return recorder


def state(seq: int, epoch: str = "e") -> WorkflowState:
    progress = ProgressPayload(1, 0, 0, 0, 1, "", 0.0)
    return WorkflowState("wf", "r", epoch, seq, "running", '{"nodes":[],"edges":[]}', "me", 0, [], progress)


@given(st.lists(st.lists(st.integers(1, 30), min_size=1, max_size=6), max_size=12), st.data())
def test_whatever_comes_in_whatever_order_readers_get_each_event_once_and_in_order(
    arrivals: list[list[int]], data: st.DataObject
) -> None:
    world = World()
    reader = world.reader()
    for arrival in arrivals:
        if world.take([durable(seq) for seq in sorted(set(arrival))]):
            assert world.feed.capturing
        if world.feed.capturing and data.draw(st.booleans()):
            first = (world.feed.head or 0) + 1
            upto = data.draw(st.integers(first, 31))
            world.feed.fill([durable(seq) for seq in range(first, upto)], 0.0)
            world.feed.release(0.0)
            world.turns.end()
    assert reader.seqs == list(range(1, (world.feed.head or 0) + 1))


def test_what_is_captured_is_delivered_once_the_hole_before_it_is_filled() -> None:
    world = World()
    reader = world.reader()
    assert world.take([durable(1), durable(4)])
    assert not world.take([durable(5)])
    assert reader.seqs == [1]
    world.feed.fill([durable(2), durable(3)], 0.0)
    assert world.feed.release(0.0)
    world.turns.end()
    assert reader.seqs == [1, 2, 3, 4, 5]
    assert not world.feed.capturing


def test_a_hole_that_is_still_there_after_a_repair_asks_for_another() -> None:
    world = World()
    world.take([durable(3)])
    world.feed.fill([durable(1)], 0.0)
    assert not world.feed.release(0.0)
    assert world.feed.capturing


def test_more_than_a_ring_of_captured_events_is_read_again_instead_of_kept() -> None:
    world = World(ring=RingLimits(events=10))
    reader = world.reader()
    world.take([durable(5)])
    world.take([durable(seq) for seq in range(6, 30)])
    world.feed.fill([durable(seq) for seq in range(1, 10)], 0.0)
    assert not world.feed.release(0.0)
    world.feed.fill([durable(seq) for seq in range(10, 30)], 0.0)
    assert world.feed.release(0.0)
    world.turns.end()
    assert reader.seqs == list(range(1, 30))


def test_several_arrivals_of_one_turn_are_one_delivery() -> None:
    world = World()
    deliveries: list[int] = []

    class Counting(Recorder):
        def take(self, delivery: Delivery) -> None:
            deliveries.append(len(delivery.batches))
            super().take(delivery)

    reader = Counting()
    world.feed.attach(reader, WHOLE, 0)
    for seq in range(1, 4):
        world.feed.take([durable(seq)], 0.0)
    world.turns.end()
    assert (deliveries, reader.seqs) == ([3], [1, 2, 3])


def test_a_reader_that_is_attached_in_mid_turn_does_not_get_what_came_before() -> None:
    world = World()
    early = world.reader()
    world.feed.take([durable(1)], 0.0)
    late = world.reader(after=1)
    world.feed.take([durable(2)], 0.0)
    world.turns.end()
    assert (early.seqs, late.seqs) == ([1, 2], [2])


def test_a_reader_that_knows_more_than_the_feed_gets_only_what_comes_after_that() -> None:
    world = World(head=None)
    ahead, other = world.reader(after=5), Recorder()
    world.everyone.add(other, WHOLE)
    world.take([durable(seq) for seq in range(3, 8)])
    world.take([durable(8)])
    assert (ahead.seqs, other.seqs) == ([6, 7, 8], [3, 4, 5, 6, 7, 8])
    assert world.feed.head_for(ahead) == 8


def test_one_of_all_readers_that_is_attached_by_name_gets_each_event_once() -> None:
    world = World()
    reader = world.reader()
    world.everyone.add(reader, WHOLE)
    world.take([durable(1)])
    world.feed.caster.detach(reader)
    world.take([durable(2)])
    assert reader.seqs == [1, 2]


def test_telemetry_that_repeats_what_is_known_is_suppressed_until_the_node_moves_on() -> None:
    world = World()
    reader = world.reader()
    world.take([telemetry("n", 0.5), telemetry("n", 0.5), telemetry("m", 0.5)])
    assert len(reader.messages) == 2
    assert world.feed.suppressed == 1
    moved = Message(b"{}", "node.success", "wf", 1, node_id="n")
    world.take([moved, telemetry("n", 0.5)])
    assert len(reader.messages) == 4


def test_a_state_that_is_ahead_is_told_to_all_readers_and_one_that_is_not_to_none() -> None:
    world = World(head=3)
    named, star, plain = world.reader(after=3), Recorder(), Recorder(Dialect.PLAIN)
    world.everyone.add(star, WHOLE)
    world.everyone.add(plain, WHOLE)
    world.feed.adopt(state(3), "")
    assert not named.messages
    world.feed.adopt(state(7), "compacted")
    assert named.types == star.types == ["workflow.subscribed", "workflow.snapshot"]
    assert plain.types == ["workflow.start", "execution.progress"]
    assert msgspec.json.decode(named.messages[0].data)["payload"] == {
        "epoch": "e",
        "seq": 7,
        "outcome": "snapshot",
        "reason": "compacted",
    }
    world.take([durable(7), durable(8)])
    assert named.seqs == star.seqs == plain.seqs == [8]


def test_a_late_reader_is_told_the_state_then_the_events_since_then_what_still_ticks() -> None:
    world = World()
    world.take([durable(seq) for seq in range(1, 4)])
    world.feed.remember(state(2))
    world.take([telemetry("n", 0.7)])
    reader = Recorder()
    after = world.feed.tell_state(reader)
    assert after == 3
    assert reader.types == ["workflow.subscribed", "workflow.snapshot", "node.success", "node.running"]


def test_one_of_all_readers_that_is_told_the_state_in_mid_turn_gets_each_event_once() -> None:
    world = World()
    reader = Recorder()
    world.everyone.add(reader, WHOLE)
    world.feed.caster.exempt.add(reader)
    world.feed.remember(state(0))
    world.feed.take([durable(1)], 0.0)
    world.feed.skip_to(reader, world.feed.tell_state(reader))
    world.feed.caster.exempt.discard(reader)
    world.turns.end()
    world.take([durable(2)])
    assert reader.seqs == [1, 2]


@pytest.mark.parametrize(("kept", "fresh"), [(2, True), (0, False)])
def test_a_kept_state_is_fresh_while_the_ring_reaches_back_to_it(kept: int, fresh: bool) -> None:
    world = World(ring=RingLimits(events=1))
    world.take([durable(1), durable(2), durable(3)])
    world.feed.remember(state(kept))
    assert world.feed.state_is_fresh is fresh


LEVELS = st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=6), max_size=10)


@given(LEVELS, st.integers(1, 4), st.booleans())
def test_a_filter_accounts_for_every_seq_exactly_once(batches: list[list[int]], level: int, ticks: bool) -> None:
    filter_ = Filter(View(ticks, level), "wf", Mint("m", lambda: 0))
    seq, passed = 0, []
    for batch in batches:
        messages = []
        for each in batch:
            seq += 1
            messages += [log(seq, each) if each else durable(seq), telemetry("n", seq / 100)]
        passed += filter_.apply(messages)
    passed += filter_.flush()
    assert filter_.flush() == []
    expected = 1
    for message in passed:
        if message.type == "stream.gap":
            gap = msgspec.json.decode(message.data)["payload"]
            assert gap["from"] == expected
            assert gap["dropped"] == {"execution.log": gap["to"] - gap["from"] + 1}
            expected = gap["to"] + 1
        elif message.seq:
            assert message.seq == expected
            assert message.level == 0 or message.level >= level
            expected += 1
    assert expected == seq + 1
    assert sum(message.key is not None for message in passed) == (seq if ticks else 0)


def test_a_large_audience_is_split_into_groups_and_all_get_everything() -> None:
    world = World()
    readers = [world.reader() for _ in range(2 * MOST_READERS + 1)]
    (groups,) = world.feed.caster.readers.views.values()
    assert [len(group.readers) for group in groups] == [MOST_READERS, MOST_READERS, 1]
    world.take([durable(1)])
    for reader in readers[:-1]:
        world.feed.caster.detach(reader)
    world.take([durable(2)])
    assert [reader.seqs for reader in readers] == [[1]] * (2 * MOST_READERS) + [[1, 2]]
    assert len(groups) == 1


def test_a_reader_that_is_attached_while_groups_wait_for_their_turn_gets_only_what_comes_then() -> None:
    world = World()
    early = world.reader()
    world.feed.take([durable(1)], 0.0)
    world.feed.caster.flush()
    late = world.reader(after=1)
    world.take([durable(2)])
    assert (early.seqs, late.seqs) == ([1, 2], [2])
