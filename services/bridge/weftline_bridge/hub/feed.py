"""What is known of one workflow: the newest events, its whole state, and who reads it; no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from weftline_bridge.frames import Batch, Delivery, Dialect, Message, Wire
from weftline_bridge.history import Ring, RingLimits
from weftline_bridge.hub.audience import WHOLE, Audience, Filter, Reader, View
from weftline_bridge.hub.flushing import Flushable
from weftline_bridge.protocol import names
from weftline_bridge.protocol.minting import Mint
from weftline_bridge.protocol.payloads import SubscribedPayload
from weftline_bridge.protocol.state import WorkflowState, replay_messages, snapshot_message

MAX_TAIL = 512

_ENDINGS = (names.EXECUTION_COMPLETE, names.EXECUTION_ERROR)


class Turns(Protocol):
    """Who has what was published handed to the readers at the end of the loop's turn."""

    def mark(self, item: Flushable) -> None:
        """Flush `item` at the end of this turn."""

    def account(self, wire: Wire) -> None:
        """Count what was written of a wire."""


class Feed:
    """The durable sequence of one workflow as far as the bridge has seen it, and its readers.

    `head` is the newest seq, None while it is not known. While `capturing`, what comes live is kept
    aside until the hole before it has been filled. `everyone` are the readers of all workflows; those in
    `exempt` are told about this workflow in another way. `generation` rises when the sequence was replaced.
    """

    def __init__(self, workflow_id: str, *, everyone: Audience, turns: Turns, limits: RingLimits, mint: Mint) -> None:
        self.workflow_id = workflow_id
        self.epoch = ""
        self.head: int | None = None
        self.active = False
        self.generation = 0
        self.suppressed = 0
        self.ring = Ring(limits)
        self.state: WorkflowState | None = None
        self.readers = Audience()
        self.exempt: set[Reader] = set()
        self._everyone = everyone
        self._turns = turns
        self._pending: list[Batch] = []
        self._limits = limits
        self._mint = mint
        self._filters: dict[View, Filter] = {}
        self._floors: dict[Reader, int] = {}
        self._latest: dict[str, Message] = {}
        self._held: list[Message] | None = None
        self._overrun = False
        self._state_batches: dict[Dialect, Batch] = {}
        self._tail: tuple[int, int, Batch] | None = None

    @property
    def tip(self) -> int:
        """The newest seq that is known of, 0 when none is."""
        state_seq = self.state.seq if self.state is not None else 0
        return state_seq if self.head is None else max(self.head, state_seq)

    @property
    def capturing(self) -> bool:
        """Whether a hole is being filled."""
        return self._held is not None

    @property
    def state_is_fresh(self) -> bool:
        """Whether the kept state and the events after it tell how things stand."""
        state = self.state
        if state is None or state.epoch != self.epoch or self.capturing:
            return False
        return (
            self.head is None
            or state.seq >= self.head
            or (self.ring.covers(state.seq, self.head) and self.head - state.seq <= MAX_TAIL)
        )

    def take(self, messages: Sequence[Message], now: float) -> bool:
        """Take what came live and deliver what is new; True when a hole was found that has to be filled."""
        if self._held is not None:
            self._capture(messages)
            return False
        fresh, rest = self._sift(messages)
        if fresh:
            self._publish(fresh, now)
        if rest:
            self.capture()
            self._capture(rest)
            return True
        return False

    def capture(self) -> None:
        """Keep aside what comes live from now on, until `release`."""
        if self._held is None:
            self._held = []
            self._overrun = False

    def fill(self, messages: Sequence[Message], now: float) -> None:
        """Take history that was read to fill a hole."""
        fresh, _ = self._sift(messages)
        if fresh:
            self._publish(fresh, now)

    def release(self, now: float) -> bool:
        """Go on with what was kept aside; False when there is still a hole before it."""
        held, overrun = self._held or [], self._overrun
        self._held = None
        if self.take(held, now) or overrun:
            self.capture()
            return False
        return True

    def adopt(self, state: WorkflowState, reason: str) -> None:
        """Take over a whole state; when it is ahead of what is known, or another log's, tell the readers so.

        `reason` says to those who were reading why they do not get the events in between.
        """
        known = self.head is not None and state.epoch == self.epoch
        if known and self.head is not None and state.seq <= self.head:
            if self.state is None or self.state.epoch != state.epoch or state.seq > self.state.seq:
                self.remember(state)
            return
        self._restart(state.epoch, state.seq)
        self.active = state.active
        self.remember(state)
        for reader in self._all_readers():
            self.tell_state(reader, reason=reason)

    def adopt_nothing(self, epoch: str, reason: str) -> None:
        """The executor knows no run of this workflow: what was known belongs to another log."""
        if self.epoch == epoch and self.head == 0:
            return
        was_known = self.head is not None
        self._restart(epoch, 0)
        self.active = False
        self.state = None
        for reader in self._all_readers():
            if was_known and reader.dialect is Dialect.V1:
                self.answer(reader, "gone", 0, reason=reason)

    def remember(self, state: WorkflowState) -> None:
        """Keep a state for those who join."""
        self.state = state
        self._state_batches.clear()
        self._tail = None
        if self.head is None:
            self.epoch = state.epoch
            self.active = state.active

    def attach(self, reader: Reader, view: View, after: int) -> None:
        """Deliver to `reader` what comes after seq `after`, of which it has all."""
        self.flush_filter(view)
        self.readers.add(reader, view)
        self.exempt.add(reader)
        self.skip_to(reader, after)

    def skip_to(self, reader: Reader, seq: int) -> None:
        """`reader` has everything up to `seq`, even if it did not come here yet."""
        if self.head is None or self.head < seq:
            self._floors[reader] = seq

    def detach(self, reader: Reader) -> bool:
        """Deliver to `reader` no more (but as one of everyone, if it is); whether it was attached."""
        self.flush()
        self.exempt.discard(reader)
        self._floors.pop(reader, None)
        return self.readers.discard(reader)

    def head_for(self, reader: Reader) -> int:
        """The seq up to which `reader` has been told everything."""
        return max(self.head or 0, self._floors.get(reader, 0))

    def answer(self, reader: Reader, outcome: str, seq: int, *, reason: str = "", command_id: str = "") -> None:
        """Tell a client of `weftline.v1` how its subscription goes on."""
        payload = SubscribedPayload(self.epoch, seq, outcome, reason, command_id)
        reader.offer(Batch([self._mint.subscribed(self.workflow_id, payload)]))

    def tell_state(self, reader: Reader, view: View = WHOLE, *, reason: str = "", command_id: str = "") -> int:
        """Bring `reader` up to date by the kept state and the events after it; the seq up to which it then is.

        There has to be a kept state, and `state_is_fresh`.
        """
        state = self.state
        if state is None:
            raise RuntimeError("there is no state to tell")
        # What was published in this turn is in the tail too, and must not come a second time.
        self.flush()
        if reader.dialect is Dialect.V1:
            self.answer(reader, "snapshot", state.seq, reason=reason, command_id=command_id)
        reader.offer(self._state_batch(state, reader.dialect))
        if self.head is not None and self.head > state.seq:
            reader.offer(self._tail_batch(state.seq, self.head, view))
        if view.telemetry and self._latest:
            reader.offer(Batch(list(self._latest.values())))
        return self.tip

    def settle_filters(self) -> None:
        """Account now for what was withheld, so that every reader's seq is the head."""
        for view in list(self._filters):
            self.flush_filter(view)

    def flush_filter(self, view: View) -> None:
        """Hand over what was published, and account for what was withheld from one view."""
        self.flush()
        found = self._filters.get(view)
        gap = found.flush() if found is not None else []
        if gap:
            batch = Batch(gap)
            for reader in self.readers.views.get(view, ()):
                reader.offer(batch)
            for reader in self._everyone.views.get(view, ()):
                if reader not in self.exempt:
                    reader.offer(batch)

    def _restart(self, epoch: str, head: int) -> None:
        self.flush()
        if self.head is not None:
            self.generation += 1
        self.epoch = epoch
        self.head = head
        self.ring.clear()
        self._filters.clear()
        self._floors.clear()
        self._latest.clear()

    def _all_readers(self) -> list[Reader]:
        return self.readers.readers() + [reader for reader in self._everyone.readers() if reader not in self.exempt]

    def _capture(self, messages: Sequence[Message]) -> None:
        held = self._held
        if held is None:
            return
        held.extend(messages)
        if len(held) > self._limits.events:
            held.clear()
            self._overrun = True

    def _sift(self, messages: Sequence[Message]) -> tuple[list[Message], Sequence[Message]]:
        """Split into what is new and follows the head, and what comes from the first hole on."""
        head = self.head
        latest = self._latest
        fresh: list[Message] = []
        for index, message in enumerate(messages):
            seq = message.seq
            if seq:
                if head is None or seq == head + 1:
                    head = seq
                elif seq <= head:
                    continue
                else:
                    return fresh, messages[index:]
                if latest and message.node_id:
                    latest.pop(message.node_id, None)
            else:
                known = latest.get(message.node_id)
                if known is not None and known.state == message.state:
                    self.suppressed += 1
                    continue
                latest[message.node_id] = message
            fresh.append(message)
        return fresh, ()

    def _publish(self, fresh: list[Message], now: float) -> None:
        durable = [message for message in fresh if message.seq]
        if durable:
            self.head = durable[-1].seq
            self.ring.extend(durable, now)
            for message in durable:
                if not message.node_id:
                    self._note_lifecycle(message.type)
        if not self._pending:
            self._turns.mark(self)
        self._pending.append(Batch(fresh))

    def _note_lifecycle(self, kind: str) -> None:
        if kind == names.WORKFLOW_START:
            self.active = True
        elif kind in _ENDINGS:
            self.active = False
            self._latest.clear()

    def flush(self) -> None:
        """Hand what was published in this turn to all readers."""
        batches, self._pending = self._pending, []
        if not batches:
            return
        own, everyone = self.readers.views, self._everyone.views
        for view in {*own, *everyone}:
            shaped = batches if view == WHOLE else self._shaped(view, batches)
            if not shaped:
                continue
            readers: Iterable[Reader] = own.get(view, ())
            others: Iterable[Reader] = everyone.get(view, ())
            if self.exempt:
                others = [reader for reader in others if reader not in self.exempt]
            if self._floors:
                self._offer_above_floors(shaped, [*readers, *others])
                continue
            delivery = Delivery(shaped)
            for reader in readers:
                reader.take(delivery)
            for reader in others:
                reader.take(delivery)
            for wire in delivery.wires:
                if wire is not None:
                    self._turns.account(wire)
        self._lower_floors()

    def _shaped(self, view: View, batches: list[Batch]) -> list[Batch]:
        passed = self._filter(view).apply([message for batch in batches for message in batch.messages])
        return [Batch(passed)] if passed else []

    def _offer_above_floors(self, batches: list[Batch], readers: list[Reader]) -> None:
        for reader in readers:
            floor = self._floors.get(reader, 0)
            messages = [message for batch in batches for message in batch.messages]
            above = [message for message in messages if not message.seq or message.seq > floor]
            if above:
                reader.offer(Batch(above))

    def _lower_floors(self) -> None:
        if self._floors and self.head is not None:
            head = self.head
            self._floors = {reader: floor for reader, floor in self._floors.items() if floor > head}

    def _filter(self, view: View) -> Filter:
        found = self._filters.get(view)
        if found is None:
            found = self._filters[view] = Filter(view, self.workflow_id, self._mint)
        return found

    def _state_batch(self, state: WorkflowState, dialect: Dialect) -> Batch:
        batch = self._state_batches.get(dialect)
        if batch is None:
            if dialect is Dialect.V1:
                messages = [snapshot_message(state, self._mint)]
            else:
                messages = replay_messages(state, self._mint)
            batch = self._state_batches[dialect] = Batch(messages, counted=False)
        return batch

    def _tail_batch(self, seq: int, head: int, view: View) -> Batch:
        if view != WHOLE:
            own = Filter(view, self.workflow_id, self._mint)
            return Batch([*own.apply(self.ring.after(seq)), *own.flush()])
        if self._tail is None or self._tail[:2] != (seq, head):
            self._tail = (seq, head, Batch(self.ring.after(seq)))
        return self._tail[2]
