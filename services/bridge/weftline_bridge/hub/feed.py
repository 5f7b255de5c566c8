"""What is known of one workflow: the newest events, its whole state, and who reads it; no I/O."""

from __future__ import annotations

from collections.abc import Sequence

from weftline_bridge.frames import Batch, Dialect, Message, Moment, Span
from weftline_bridge.history import Ring, RingLimits
from weftline_bridge.hub.audience import WHOLE, Audience, Filter, View
from weftline_bridge.hub.casting import Caster
from weftline_bridge.hub.group import Reader, Turns
from weftline_bridge.protocol import names
from weftline_bridge.protocol.minting import Mint
from weftline_bridge.protocol.payloads import SubscribedPayload
from weftline_bridge.protocol.state import WorkflowState, replay_messages, snapshot_message
from weftline_bridge.recorder import Kind, Trace

MAX_TAIL = 512
MAX_TAIL_BYTES = 256 * 1024

_BEGINNINGS = (names.WORKFLOW_START, names.WORKFLOW_RESUME)
_ENDINGS = (names.EXECUTION_COMPLETE, names.EXECUTION_ERROR)


class Feed:
    """The durable sequence of one workflow as far as the bridge has seen it, and its readers.

    `head` is the newest seq, None while it is not known. While `capturing`, what comes live is kept
    aside until the hole before it has been filled. `generation` rises when the sequence was replaced.
    """

    def __init__(
        self,
        workflow_id: str,
        *,
        everyone: Audience,
        turns: Turns,
        limits: RingLimits,
        mint: Mint,
        trace: Trace | None = None,
    ) -> None:
        self.workflow_id = workflow_id
        self.epoch = ""
        self.head: int | None = None
        self.active = False
        self.generation = 0
        self.suppressed = 0
        self.ring = Ring(limits)
        self.state: WorkflowState | None = None
        self.caster = Caster(workflow_id, everyone, turns, mint)
        self._limits = limits
        self._mint = mint
        self._trace = trace
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
        if self.head is None or state.seq >= self.head:
            return True
        short = self.head - state.seq <= MAX_TAIL and self.ring.bytes_after(state.seq) <= MAX_TAIL_BYTES
        return short and self.ring.covers(state.seq, self.head)

    @property
    def state_bytes(self) -> int:
        """Bytes of JSON of the kept state and the events after it; only while `state_is_fresh`."""
        state = self.state
        if state is None:
            raise RuntimeError("there is no state to measure")
        batch = self._state_batch(state, Dialect.V1)
        return sum(len(message.data) for message in batch.messages) + self.ring.bytes_after(state.seq)

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

    def reach_back(self, messages: Sequence[Message], now: float) -> None:
        """Keep history that was read for a reader, so that others who missed the same need not have it read again."""
        if self.head is not None:
            self.ring.reach_back(messages, self.head, now)

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
            self.remember(state)
            return
        self._restart(state.epoch, state.seq)
        self.active = state.active
        self.state = None
        self.remember(state)
        for reader in self.caster.all_readers():
            self.tell_state(reader, reason=reason)

    def adopt_nothing(self, epoch: str, reason: str) -> None:
        """The executor knows no run of this workflow: what was known belongs to another log."""
        if self.epoch == epoch and self.head == 0:
            return
        was_known = self.head is not None
        self._restart(epoch, 0)
        self.active = False
        self.state = None
        for reader in self.caster.all_readers():
            if was_known and reader.dialect is Dialect.V1:
                self.answer(reader, "gone", 0, reason=reason)

    def remember(self, state: WorkflowState) -> None:
        """Keep a state for those who join, unless a newer one is kept already."""
        if self.state is not None and self.state.epoch == state.epoch and self.state.seq > state.seq:
            return
        self.state = state
        self._state_batches.clear()
        self._tail = None
        if self.head is None:
            self.epoch = state.epoch
            self.active = state.active

    def attach(self, reader: Reader, view: View, after: int) -> None:
        """Deliver to `reader` what comes after seq `after`, up to which it has all."""
        self.caster.attach(reader, view)
        self.skip_to(reader, after)

    def skip_to(self, reader: Reader, seq: int) -> None:
        """`reader` has all up to `seq`, even if it did not come here yet."""
        if self.head is None or self.head < seq:
            self.caster.raise_floor(reader, seq)

    def head_for(self, reader: Reader) -> int:
        """The seq up to which `reader` has been told all."""
        return max(self.head or 0, self.caster.floor(reader))

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
        self.caster.complete()
        if reader.dialect is Dialect.V1:
            self.answer(reader, "snapshot", state.seq, reason=reason, command_id=command_id)
        reader.offer(self._state_batch(state, reader.dialect))
        if self.head is not None and self.head > state.seq:
            reader.offer(self._tail_batch(state.seq, self.head, view))
        self.tell_latest(reader, view)
        return self.tip

    def tell_latest(self, reader: Reader, view: View) -> None:
        """Tell `reader` the newest telemetry of what still goes on."""
        if view.telemetry and self._latest:
            reader.offer(Batch(list(self._latest.values())))

    def _restart(self, epoch: str, head: int) -> None:
        self.caster.start_over()
        if self.head is not None:
            self.generation += 1
        self.epoch = epoch
        self.head = head
        if self._trace is not None:
            self._trace.note(self._mint.now(), Kind.STATE, self.workflow_id, first=head, last=head)
        self.ring.clear()
        self._latest.clear()

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
            if self._trace is not None:
                first, last = durable[0].seq, durable[-1].seq
                span = Span(Kind.RECEIVED, self.workflow_id, first, last, len(durable), 0)
                self._trace.append(Moment(self._mint.now(), (span,)))
            for kind in [message.type for message in durable if not message.node_id]:
                self._note_lifecycle(kind)
        self.caster.publish(Batch(fresh))

    def _note_lifecycle(self, kind: str) -> None:
        if kind in _BEGINNINGS:
            self.active = True
        elif kind in _ENDINGS:
            self.active = False
            self._latest.clear()

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
        if not view.whole:
            own = Filter(view, self.workflow_id, self._mint)
            return Batch([*own.apply(self.ring.after(seq)), *own.flush()])
        if self._tail is None or self._tail[:2] != (seq, head):
            self._tail = (seq, head, Batch(self.ring.after(seq)))
        return self._tail[2]
