"""The outbox: order is kept, nothing durable is lost or doubled, only the newest telemetry stays, all is bounded."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.unit.bridge.messages import durable, telemetry
from weftline_bridge.frames import Batch, Message
from weftline_bridge.outbox import Outbox


class OutboxMachine(RuleBasedStateMachine):
    """Pushes, holds and takes in any order, against a plain list as the model."""

    def __init__(self) -> None:
        super().__init__()
        self.outbox = Outbox()
        self.waiting: list[Message] = []
        self.seq = 0
        self.conflated = 0

    @rule(count=st.integers(1, 4), ticks=st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 1)), max_size=4))
    def push(self, count: int, ticks: list[tuple[str, float]]) -> None:
        messages = [durable(self.seq + 1 + n) for n in range(count)]
        self.seq += count
        messages[1:1] = [telemetry(node, progress) for node, progress in ticks]
        self.outbox.push(Batch(messages))
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
            self.outbox.hold()
            for message in waiting:
                self.expect(message)

    @rule(room=st.integers(0, 100))
    def take(self, room: int) -> None:
        if self.outbox.holding:
            taken = list(self.outbox.take_held(room))
            assert len(taken) <= 1 or sum(len(message.data) for message in taken) <= room
            assert taken or not self.waiting
        else:
            taken = [message for batch in self.outbox.take_batches() for message in batch.messages]
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
        assert len(self.outbox) == len(self.waiting)
        assert self.outbox.conflated == self.conflated


TestOutbox = OutboxMachine.TestCase


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50))
def test_a_held_outbox_keeps_one_telemetry_message_a_key_however_many_come(values: list[float]) -> None:
    outbox = Outbox()
    outbox.hold()
    for value in values:
        outbox.push(Batch([telemetry("a", value)]))
    assert [message.state for message in outbox.take_held(10_000)] == [("run", "a", values[-1])]
    assert not outbox.holding


def test_newer_telemetry_takes_its_own_place_and_not_that_of_the_older() -> None:
    outbox = Outbox()
    outbox.hold()
    outbox.push(Batch([telemetry("a", 0.1), durable(1), telemetry("a", 0.9)]))
    assert [message.seq for message in outbox.take_held(10_000)] == [1, 0]


def test_whole_states_do_not_count_towards_the_bound() -> None:
    outbox = Outbox()
    outbox.push(Batch([durable(1, size=5_000)], counted=False))
    assert outbox.weight == 0
    outbox.hold()
    assert outbox.weight == 0
    outbox.push(Batch([durable(2, size=50)]))
    assert outbox.weight == 50
    assert [message.seq for message in outbox.take_held(1_000_000)] == [1, 2]
    assert outbox.weight == 0
