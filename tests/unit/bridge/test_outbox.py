"""The outbox: order is kept, what is left out is accounted for, only the newest telemetry stays, all is bounded."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.unit.bridge.messages import answer, durable, log, snapshot, telemetry
from weftline_bridge.frames import Batch, Message
from weftline_bridge.outbox import GAP_WEIGHT, Gap, Ladder, Mode, Outbox

WIDE = Ladder.up_to(1 << 20)
STATES = frozenset({"workflow.snapshot", "stream.gap"})


class PlainOutboxMachine(RuleBasedStateMachine):
    """Pushes, holds and takes in any order, against a plain list as the model; nothing is ever shed."""

    def __init__(self) -> None:
        super().__init__()
        self.outbox = Outbox(Ladder.up_to(100))
        self.waiting: list[Message] = []
        self.seq = 0
        self.conflated = 0

    @rule(count=st.integers(1, 4), ticks=st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 1)), max_size=4))
    def push(self, count: int, ticks: list[tuple[str, float]]) -> None:
        messages = [durable(self.seq + 1 + n, level=1) for n in range(count)]
        self.seq += count
        messages[1:1] = [telemetry(node, progress) for node, progress in ticks]
        assert not self.outbox.push(Batch(messages), 0.0)
        for message in messages:
            self.expect(message)

    def expect(self, message: Message) -> None:
        if self.outbox.holding and message.key is not None:
            older = [each for each in self.waiting if each.key == message.key]
            self.conflated += len(older)
            self.waiting = [each for each in self.waiting if each.key != message.key]
        self.waiting.append(message)

    @rule()
    def hold(self) -> None:
        if not self.outbox.holding:
            waiting, self.waiting = self.waiting, []
            self.outbox.hold(0.0)
            for message in waiting:
                self.expect(message)

    @rule(room=st.integers(0, 100))
    def take(self, room: int) -> None:
        taken: list[Message | Gap] = []
        if self.outbox.holding:
            taken = self.outbox.take_held(room)
            assert len(taken) <= 1 or sum(len(item.data) for item in taken if isinstance(item, Message)) <= room
            assert taken or not self.waiting
        else:
            taken += [message for batch in self.outbox.take_batches() for message in batch.messages]
            assert len(taken) == len(self.waiting)
        assert taken == self.waiting[: len(taken)]
        del self.waiting[: len(taken)]

    @rule()
    def clear(self) -> None:
        self.outbox.clear()
        self.waiting.clear()

    @invariant()
    def weighs_what_waits(self) -> None:
        assert self.outbox.weight == sum(len(message.data) for message in self.waiting)
        assert self.outbox.full == (self.outbox.weight > 100)
        assert len(self.outbox) == len(self.waiting)
        assert self.outbox.tally.conflated == self.conflated
        assert self.outbox.mode is (Mode.CONFLATING if self.outbox.holding else Mode.NORMAL)


TestPlainOutbox = PlainOutboxMachine.TestCase


class SheddingOutboxMachine(RuleBasedStateMachine):
    """Two workflows write into a small outbox; a client folds what is taken by the gap rule, beside the whole log."""

    def __init__(self) -> None:
        super().__init__()
        self.ladder = Ladder.up_to(6_000)
        self.outbox = Outbox(self.ladder, STATES)
        self.log: dict[str, list[Message]] = {"one": [], "two": []}
        self.had: dict[str, list[int]] = {"one": [], "two": []}
        self.accounted: dict[str, Counter[int]] = {"one": Counter(), "two": Counter()}
        self.last = {"one": 0, "two": 0}
        self.asked = self.answered = 0
        self.shed = 0

    @rule(
        workflow_id=st.sampled_from(["one", "two"]),
        levels=st.lists(st.integers(0, 4), min_size=1, max_size=6),
        size=st.integers(20, 700),
    )
    def happen(self, workflow_id: str, levels: list[int], size: int) -> None:
        messages = []
        for level in levels:
            seq = len(self.log[workflow_id]) + 1
            kind = "execution.log" if level else "node.success"
            message = durable(seq, kind=kind, level=level, size=size, workflow_id=workflow_id)
            self.log[workflow_id].append(message)
            messages += [message, telemetry("a", seq, workflow_id)]
        self.push(messages)

    @rule(workflow_id=st.sampled_from(["one", "two"]))
    def answer_a_command(self, workflow_id: str) -> None:
        self.asked += 1
        self.push([answer(workflow_id)])

    @rule()
    def hold(self) -> None:
        self.outbox.hold(0.0)

    @rule(room=st.integers(0, 3_000))
    def take(self, room: int) -> None:
        if self.outbox.holding:
            for item in self.outbox.take_held(room):
                self.fold(item)
        else:
            for batch in self.outbox.take_batches():
                for message in batch.messages:
                    self.fold(message)

    @precondition(lambda self: self.outbox.cut)
    @rule(data=st.data())
    def tell_the_state(self, data: st.DataObject) -> None:
        workflow_id = data.draw(st.sampled_from(sorted(self.outbox.cut)))
        self.outbox.reopen(workflow_id)
        self.outbox.push(Batch([snapshot(len(self.log[workflow_id]), workflow_id)], counted=False), 0.0)

    def push(self, messages: list[Message]) -> None:
        before = set(self.outbox.cut)
        cut = self.outbox.push(Batch(messages), 0.0)
        assert before.isdisjoint(cut)
        assert self.outbox.cut == before | set(cut)

    def fold(self, item: Message | Gap) -> None:
        workflow_id = item.workflow_id
        last = self.last[workflow_id]
        if isinstance(item, Gap):
            assert item.first == last + 1
            assert item.dropped == {"execution.log": item.last - item.first + 1}
            assert all(each.level in (1, 2) for each in self.log[workflow_id][item.first - 1 : item.last])
            self.accounted[workflow_id].update(range(item.first, item.last + 1))
            self.last[workflow_id] = item.last
        elif item.type == "workflow.snapshot":
            told = int(item.data)
            assert told >= last
            self.accounted[workflow_id].update(range(last + 1, told + 1))
            self.last[workflow_id] = told
        elif item.type == "command.accepted":
            self.answered += 1
        elif item.seq:
            assert item.seq == last + 1
            self.had[workflow_id].append(item.seq)
            self.last[workflow_id] = item.seq

    @invariant()
    def is_bounded_as_long_as_only_events_come(self) -> None:
        if self.outbox.holding and self.asked == 0:
            assert self.outbox.weight <= self.ladder.replace
            assert not self.outbox.full
        if self.outbox.holding and self.outbox.cut == {"one", "two"}:
            assert self.outbox.weight <= (self.asked - self.answered) * 40

    def teardown(self) -> None:
        for workflow_id in list(self.outbox.cut):
            self.outbox.reopen(workflow_id)
            self.outbox.push(Batch([snapshot(len(self.log[workflow_id]), workflow_id)], counted=False), 0.0)
        while len(self.outbox):
            self.take(1_000)
        self.take(0)
        assert self.outbox.mode is Mode.NORMAL
        assert self.outbox.weight == 0
        assert self.answered == self.asked
        for workflow_id, events in self.log.items():
            told = Counter(self.had[workflow_id]) + self.accounted[workflow_id]
            assert told == Counter(range(1, len(events) + 1)), "each event once, or accounted for once"


TestSheddingOutbox = SheddingOutboxMachine.TestCase


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50))
def test_a_held_outbox_keeps_one_telemetry_message_a_key_however_many_come(values: list[float]) -> None:
    outbox = Outbox(WIDE)
    outbox.hold(0.0)
    for value in values:
        outbox.push(Batch([telemetry("a", value)]), 0.0)
    (message,) = taken(outbox)
    assert isinstance(message, Message)
    assert message.state == ("run", "a", values[-1])
    assert not outbox.holding


def test_newer_telemetry_takes_its_own_place_and_not_that_of_the_older() -> None:
    outbox = Outbox(WIDE)
    outbox.hold(0.0)
    outbox.push(Batch([telemetry("a", 0.1), durable(1), telemetry("a", 0.9)]), 0.0)
    assert [told(item) for item in taken(outbox)] == [1, 0]


def test_whole_states_do_not_count_towards_the_bound() -> None:
    outbox = Outbox(WIDE)
    outbox.push(Batch([durable(1, size=5_000)], counted=False), 0.0)
    assert outbox.weight == 0
    outbox.hold(0.0)
    assert outbox.weight == 0
    outbox.push(Batch([durable(2, size=50)]), 0.0)
    assert outbox.weight == 50
    assert [told(item) for item in taken(outbox)] == [1, 2]
    assert outbox.weight == 0


def test_debug_logs_are_shed_before_info_logs_and_warnings_never() -> None:
    outbox = Outbox(Ladder.up_to(40_000), STATES)
    outbox.hold(0.0)
    outbox.push(Batch([log(seq, level, size=3_000) for seq, level in enumerate((1, 2, 3), 1)]), 0.0)
    before = outbox.mode
    outbox.push(Batch([durable(4, size=2_000)]), 0.0)
    assert (before, outbox.mode) == (Mode.CONFLATING, Mode.SHEDDING)
    assert outbox.tally.shed == {1: 1}
    outbox.push(Batch([durable(5, size=15_000)]), 0.0)
    assert outbox.tally.shed == {1: 1, 2: 1}
    assert [told(item) for item in taken(outbox)] == [(1, 2), 3, 4, 5]


def test_logs_that_come_one_after_another_are_one_gap_whatever_else_comes_between() -> None:
    outbox = shedding()
    outbox.push(Batch([log(2, 1), telemetry("a", 0.1), durable(1, workflow_id="other"), log(3, 2)]), 0.0)
    assert [told(item) for item in taken(outbox)[1:]] == [(2, 3), 0, 1]


@pytest.mark.parametrize("between", [snapshot(7), answer("wf")])
def test_a_gap_does_not_reach_over_what_may_change_the_meaning_of_a_seq(between: Message) -> None:
    outbox = shedding()
    outbox.push(Batch([log(2, 1), between, log(3, 1)]), 0.0)
    assert [told(item) for item in taken(outbox)[1:]] == [(2, 2), 0, (3, 3)]


def test_a_gap_that_was_taken_does_not_grow_any_more() -> None:
    outbox = shedding()
    outbox.push(Batch([log(2, 1), durable(1, workflow_id="other", size=1_500)]), 0.0)
    first = outbox.take_held(5_500 + GAP_WEIGHT)
    outbox.push(Batch([log(3, 1)]), 0.0)
    assert [told(item) for item in first[1:]] == [(2, 2)]
    assert [told(item) for item in taken(outbox)] == [1, (3, 3)]


def test_once_little_waits_nothing_more_is_shed() -> None:
    outbox = shedding()
    outbox.push(Batch([durable(2)]), 0.0)
    outbox.take_held(5_500)
    assert outbox.mode is Mode.CONFLATING
    outbox.push(Batch([log(3, 1)]), 0.0)
    assert [told(item) for item in taken(outbox)] == [2, 3]


def test_the_heaviest_workflow_is_cut_and_the_others_keep_their_events() -> None:
    outbox = Outbox(Ladder.up_to(20_000), STATES)
    outbox.hold(0.0)
    outbox.push(Batch([durable(1, workflow_id="light"), answer("heavy")]), 0.0)
    assert outbox.push(Batch([durable(1, size=15_001, workflow_id="heavy")]), 0.0) == ["heavy"]
    outbox.push(Batch([durable(2, workflow_id="heavy"), durable(2, workflow_id="light")]), 0.0)
    assert [(item.workflow_id, told(item)) for item in taken(outbox)] == [("light", 1), ("heavy", 0), ("light", 2)]
    outbox.push(Batch([durable(3, workflow_id="heavy")]), 0.0)
    assert not outbox.take_batches()
    outbox.reopen("heavy")
    outbox.push(Batch([durable(4, workflow_id="heavy")]), 0.0)
    assert [message.seq for batch in outbox.take_batches() for message in batch.messages] == [4]


def test_the_lag_is_the_age_of_what_has_waited_longest() -> None:
    outbox = Outbox(WIDE)
    assert outbox.lag(5.0) == 0.0
    outbox.hold(5.0)
    outbox.push(Batch([durable(1)]), 6.0)
    outbox.push(Batch([durable(2)]), 8.0)
    assert outbox.lag(10.0) == 4.0
    outbox.take_held(1)
    assert outbox.lag(10.0) == 2.0


def shedding() -> Outbox:
    """An outbox that sheds logs of level debug and info, behind one event of 5,500 bytes."""
    outbox = Outbox(Ladder.up_to(10_000), STATES)
    outbox.hold(0.0)
    outbox.push(Batch([durable(1, size=5_500)]), 0.0)
    assert outbox.mode is Mode.SHEDDING
    return outbox


def taken(outbox: Outbox) -> list[Message | Gap]:
    """All that is held."""
    return outbox.take_held(1_000_000)


def told(item: Message | Gap) -> int | tuple[int, int]:
    """The seq of a message, the span of a gap."""
    return (item.first, item.last) if isinstance(item, Gap) else item.seq
