"""A group of readers: each gets what is cast once, and is booked exactly what it got, whatever else happens to it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.bridge.messages import durable
from weftline_bridge.frames import Batch, Delivery, Dialect, Wire, make_wire
from weftline_bridge.hub.flushing import Flushable
from weftline_bridge.hub.group import Group
from weftline_bridge.recorder import Kind, Tape, Trace

ROOM = 100_000


class Turns:
    """Flushes when the test says so, at a time that it sets, to sockets whose descriptors are their places."""

    def __init__(self) -> None:
        self.now = 0
        self.sockets: list[Socket] = []
        self.queued: list[Flushable] = []

    def mark(self, item: Flushable) -> None:
        raise AssertionError("a group does not wait for the end of the turn")

    def queue(self, item: Flushable) -> None:
        self.queued.append(item)

    def share(self, batches: list[Batch]) -> Delivery:
        return Delivery(batches)

    def account(self, wire: Wire) -> None:
        wire.deliveries = 0

    def write(self, fd: int, data: bytes, /) -> int:
        return self.sockets[fd].write(data)

    def end(self) -> None:
        for item in self.queued:
            item.flush()
        self.queued.clear()


class Socket:
    """A reader with a socket that may be full or gone, and a tape; what is offered is written later, in order.

    `writes` is what was handed over, `received` what the kernel took, and `room` how much more it takes.
    """

    dialect = Dialect.V1

    def __init__(self, turns: Turns) -> None:
        self.fd = len(turns.sockets)
        turns.sockets.append(self)
        self.straight = True
        self.gone = False
        self.room_left = ROOM
        self.kept = b""
        self.received = b""
        self.writes: list[bytes] = []
        self.waiting: list[Batch] = []
        self.trace = Trace(0)
        self.tape = Tape(self.trace, lambda: 0)
        self.cut_off: set[str] = set()

    def write(self, data: bytes) -> int:
        """What the kernel does."""
        assert self.straight
        self.writes.append(data)
        if self.gone:
            raise BrokenPipeError
        if not self.room_left:
            raise BlockingIOError
        taken = data[: self.room_left]
        self.room_left -= len(taken)
        self.received += taken
        return len(taken)

    def keep(self, data: bytes, written: int) -> None:
        self.kept += data[written:]
        self.straight = False

    def take(self, delivery: Delivery) -> None:
        for batch in delivery.batches:
            self.offer(batch)

    def offer(self, batch: Batch) -> None:
        self.straight = False
        if not self.gone:
            self.waiting.append(batch)

    def recover(self) -> None:
        """Write all that waits, as a session does once its socket has room."""
        self.received += self.kept
        self.kept, self.room_left = b"", ROOM
        for batch in self.waiting:
            wire = make_wire(batch.messages, self.dialect)
            self.writes.append(wire.data)
            self.received += wire.data
            self.tape.wrote(wire)
        self.waiting.clear()
        self.straight = not self.gone

    def suffer(self, what: str) -> None:
        """What may happen to a client."""
        if what == "fill":
            self.room_left = 0
        elif what == "recover" and not self.gone:
            self.recover()
        elif what == "lose":
            self.gone = True
        elif what == "note":
            self.tape.note(Kind.MODE, word="any")
        elif what == "look":
            self.check()

    async def room(self) -> None:
        """Nobody waits for it."""

    def reopen(self, workflow_id: str) -> None:
        """No workflow is ever cut."""

    def check(self) -> None:
        """That what is booked is what was written."""
        self.tape.settle()
        assert self.tape.sent_bytes == sum(map(len, self.writes))
        assert self.tape.sent == len(self.writes)
        seqs = [
            seq
            for record in self.trace.records()
            if record.kind == Kind.EVENTS
            for seq in range(record.first, record.last + 1)
        ]
        assert len(seqs) == len(self.writes)
        assert all(b'"seq":%d}' % seq in data for seq, data in zip(seqs, self.writes, strict=True))


def new_group(turns: Turns) -> Group:
    """A group without readers."""
    return Group(Dialect.V1, turns, lambda: turns.now)


def cast(group: Group, seq: int, turns: Turns) -> None:
    """Push one event, and write it."""
    turns.now = seq
    group.push([Batch([durable(seq)])])
    turns.end()


steps = st.lists(
    st.one_of(
        st.just(("cast", 0)),
        st.tuples(st.sampled_from(["join", "leave", "fill", "recover", "lose", "note", "look"]), st.integers(0, 3)),
        st.tuples(st.just("run"), st.integers(1, 150)),
    ),
    max_size=60,
)


@given(steps)
def test_whatever_happens_each_reader_is_booked_what_it_got_and_gets_all_unless_its_socket_is_gone(
    story: list[tuple[str, int]],
) -> None:
    turns = Turns()
    readers = [Socket(turns) for _ in range(4)]
    group = new_group(turns)
    seq = 0
    due: dict[Socket, list[int]] = {reader: [] for reader in readers}
    for what, number in story:
        if what in ("cast", "run"):
            for _ in range(number or 1):
                seq += 1
                cast(group, seq, turns)
                for member in group.readers:
                    assert isinstance(member, Socket)
                    due[member].append(seq)
            continue
        reader = readers[number]
        if what == "join":
            group.add(reader)
        elif what == "leave" and reader in group.readers:
            group.remove(reader)
        else:
            reader.suffer(what)
    for reader in readers:
        if not reader.gone:
            reader.recover()
            assert reader.received == b"".join(reader.writes)
            assert len(reader.writes) == len(due[reader])
            assert all(b'"seq":%d}' % each in data for each, data in zip(due[reader], reader.writes, strict=True))
        reader.check()


def test_what_a_full_socket_does_not_take_is_kept_and_what_follows_waits_for_it() -> None:
    turns = Turns()
    slow, quick = Socket(turns), Socket(turns)
    group = new_group(turns)
    group.add(slow)
    group.add(quick)
    for seq in range(1, 5001):
        cast(group, seq, turns)
        quick.room_left = ROOM
    assert len(slow.received) == ROOM
    assert len(slow.kept) < 1000
    assert not slow.straight
    assert quick.straight
    assert len(slow.writes) + len(slow.waiting) == len(quick.writes) == 5000
    slow.recover()
    assert slow.received == quick.received


def test_a_reader_of_two_groups_has_its_records_in_the_order_in_which_they_were_written() -> None:
    turns = Turns()
    reader = Socket(turns)
    one, other = new_group(turns), new_group(turns)
    one.add(reader)
    other.add(reader)
    for at in range(1, 11):
        name = "one" if at % 2 else "other"
        turns.now = at * 2000
        (one if at % 2 else other).push([Batch([durable(at // 2 + 1, workflow_id=name)])])
        turns.end()
    reader.tape.settle()
    records = reader.trace.records()
    assert [record.at for record in records] == [at * 2000 for at in range(1, 11)]
    assert reader.tape.sent == 10


def test_what_is_pushed_before_a_groups_turn_has_come_is_one_write() -> None:
    turns = Turns()
    reader = Socket(turns)
    group = new_group(turns)
    group.add(reader)
    for seq in range(1, 4):
        group.push([Batch([durable(seq)])])
    turns.end()
    assert len(reader.writes) == 1
    assert reader.tape.sent == 3
