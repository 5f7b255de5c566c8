"""The sending side of one connection: writes what waits, holds it back while the socket is full, and closes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence

from weftline_bridge.auth import Identity
from weftline_bridge.frames import Batch, Delivery, Dialect, Message, Wire, make_wire
from weftline_bridge.hub import Flusher
from weftline_bridge.metrics import Metrics
from weftline_bridge.outbox import Ladder, Mode, Outbox, Tally
from weftline_bridge.protocol.minting import Mint
from weftline_bridge.protocol.names import STREAM_GAP, WORKFLOW_SNAPSHOT, CloseCode
from weftline_bridge.recorder import Tape
from weftline_bridge.session.closing import end_connection
from weftline_bridge.session.limits import SessionLimits
from weftline_bridge.session.pings import ping_frame, round_trip
from weftline_bridge.session.slowness import as_messages, count
from weftline_bridge.session.socket import ClientSocket

HIGH_WATER = 256 * 1024

_HELD_CHUNK = 64 * 1024
_STATES = frozenset({WORKFLOW_SNAPSHOT, STREAM_GAP})


class Session:
    """One open connection, as the hub and the flusher see it.

    `since` is in ms since the Unix epoch; `opened`, `heard` and `pinged` are times of the loop's clock,
    `rtt` is in seconds and None until it was measured. `identity` is None until the client has shown who it is.
    While it is `straight` nothing waits for it, so that one may write to `fd` if `keep` gets what is left over.
    """

    __slots__ = (
        "__weakref__",
        "_accepted",
        "_blocked",
        "_closer",
        "_dirty",
        "_flusher",
        "_gone",
        "_hung_up",
        "_limits",
        "_metrics",
        "_mint",
        "_outbox",
        "_progress",
        "_relieve",
        "_room",
        "_socket",
        "_told",
        "address",
        "close_code",
        "dialect",
        "fd",
        "heard",
        "id",
        "identity",
        "opened",
        "pinged",
        "received",
        "rtt",
        "since",
        "straight",
        "tape",
    )

    def __init__(
        self,
        connection_id: str,
        dialect: Dialect,
        *,
        socket: ClientSocket,
        address: str,
        flusher: Flusher,
        limits: SessionLimits,
        mint: Mint,
        metrics: Metrics,
        relieve: Callable[[Session, Sequence[str]], None],
        now: float,
        identity: Identity | None,
        tape: Tape,
    ) -> None:
        self.id = connection_id
        self.dialect = dialect
        self.address = address
        self.identity = identity
        self.since = mint.now()
        self.opened = self.heard = self.pinged = now
        self.rtt: float | None = None
        self.received = 0
        self.close_code: int | None = None
        self._socket = socket
        self.fd = socket.fd
        self.straight = not socket.full
        self._flusher = flusher
        self._limits = limits
        self._mint = mint
        self._metrics = metrics
        self._relieve = relieve
        self.tape = tape
        self._outbox = Outbox(Ladder.up_to(limits.outbox_bytes), _STATES if dialect is Dialect.V1 else ())
        self._dirty = False
        self._room: asyncio.Future[None] | None = None
        self._closer: asyncio.Task[None] | None = None
        self._accepted = 0
        self._progress = now
        self._blocked = False
        self._told = Mode.NORMAL
        self._hung_up: asyncio.Event | None = None
        self._gone = False

    @property
    def subject(self) -> str:
        """Who the client is, empty while it is not known."""
        return self.identity.subject if self.identity is not None else ""

    @property
    def closing(self) -> bool:
        """Whether it is being closed: nothing is written any more."""
        return self._closer is not None

    @property
    def queued_bytes(self) -> int:
        """Bytes that wait, here and in the socket's buffer."""
        return self._outbox.weight + self._socket.buffered()

    @property
    def mode(self) -> Mode:
        """How the client is served, by how far it is behind."""
        return self._outbox.mode

    @property
    def cut_off(self) -> Collection[str]:
        """The workflows whose events are not queued any more, until `reopen`."""
        return self._outbox.cut

    def reopen(self, workflow_id: str) -> None:
        """Queue the events of a workflow again."""
        self._outbox.reopen(workflow_id)
        self._straighten()

    def filled(self) -> None:
        """The socket takes no more for now."""
        self.straight = False

    def emptied(self) -> None:
        """The socket has taken all that it was given."""
        self._straighten()

    def keep(self, data: bytes, written: int) -> None:
        """Take what the socket did not take of `data`, which is all but the first `written` bytes."""
        self._socket.keep(data, written)

    def offer(self, batch: Batch) -> None:
        """Queue a batch; it is written at the end of this turn of the loop if the socket has room."""
        if self._closer is not None:
            return
        outbox = self._outbox
        if outbox.holding:
            self._thinned_out(outbox.push(batch, self._flusher.now()))
            return
        outbox.push(batch, 0.0)
        if not self._dirty:
            self._dirty = True
            self.straight = False
            self._flusher.mark(self)

    def take(self, delivery: Delivery) -> None:
        """Write at once what many clients get alike, unless something waits here or too much in the socket."""
        if self._nothing_waits() and self._socket.buffered() <= HIGH_WATER:
            wire = delivery.wires[self.dialect] or delivery.wire(self.dialect)
            self._socket.write(wire.data)
            wire.deliveries += 1
            self.tape.took(delivery, wire, self.dialect)
            return
        for batch in delivery.batches:
            self.offer(batch)

    def send(self, message: Message) -> None:
        """Queue one message."""
        self.offer(Batch([message]))

    async def room(self) -> None:
        """Return when all that was queued has been handed to the socket, and the socket has room for more."""
        if self._closer is not None:
            await asyncio.wait({self._closer})
        elif self._dirty or self._outbox.holding or self._socket.buffered() > HIGH_WATER:
            if self._room is None:
                self._room = asyncio.get_running_loop().create_future()
            if not self._dirty and not self._outbox.holding:
                self._await_progress()
            await asyncio.shield(self._room)
        else:
            await asyncio.sleep(0)

    def flush(self) -> None:
        """Write all that waits; when the socket is too full, hold it back and conflate it instead."""
        self._dirty = False
        socket = self._socket
        if self._closer is not None or self._outbox.holding:
            return
        if socket.is_closing():
            self._outbox.clear()
            return
        if socket.buffered() > HIGH_WATER:
            self._hold()
            return
        batches = self._outbox.take_batches()
        if batches:
            wire = Delivery(batches).wire(self.dialect)
            self._write(wire)
            self._flusher.account(wire)
        if self._told is not Mode.NORMAL:
            self._tell_mode()
        self._straighten()
        if self._room is not None:
            if socket.buffered() <= HIGH_WATER:
                self._have_room()
            else:
                self._await_progress()

    def watch(self, now: float) -> None:
        """Hold back what comes for a client that has taken nothing for a while, however little waits for it."""
        if self._closer is not None or self._outbox.holding or self._socket.is_closing():
            return
        buffered = self._socket.buffered()
        if not buffered or self._moved(now, buffered):
            self._progress = now
        elif now - self._progress > self._limits.blocked_seconds:
            self._blocked = True
            self._thinned_out(self._outbox.hold(now))
            self.straight = False
            self._flusher.slow(self)

    def poll(self, now: float) -> bool:
        """Write what was held back if the socket has room again; whether some is still held back."""
        socket, outbox = self._socket, self._outbox
        if self._closer is not None or socket.is_closing():
            return False
        buffered = socket.buffered()
        if not buffered or self._moved(now, buffered):
            self._blocked = False
        elif now - self._progress > self._limits.stall_seconds:
            self.close(CloseCode.TOO_SLOW, f"took nothing for {self._limits.stall_seconds:g} s")
            return False
        self._count()
        if not outbox.holding:
            if buffered > HIGH_WATER:
                return True
            self._have_room()
            return False
        self._metrics.queue_depth.observe(outbox.weight)
        while outbox.holding and not self._blocked and socket.buffered() <= HIGH_WATER:
            self._tell_mode(outbox.lag(now))
            held = as_messages(outbox.take_held(_HELD_CHUNK), self._mint, self._metrics)
            if held:
                self._write_now(held)
        if outbox.holding:
            return True
        self._tell_mode()
        self._straighten()
        self._have_room()
        return False

    def ping(self, now: float) -> None:
        """Send a ping that carries the time."""
        self.pinged = now
        self._control(ping_frame(now))

    def answer(self, frames: bytes) -> None:
        """Write what answers control frames, unless the client does not take it: then it would only pile up."""
        if frames and self._socket.buffered() <= HIGH_WATER:
            self._control(frames)

    def ponged(self, payload: bytes, now: float) -> None:
        """Take the answer to a ping."""
        rtt = round_trip(payload, now)
        if rtt is not None:
            self.measured(rtt)

    def measured(self, rtt: float) -> None:
        """A round trip took `rtt` seconds."""
        self.rtt = rtt
        self._metrics.rtt.observe(rtt)
        self.tape.measured(rtt)

    def close(self, code: int, reason: str) -> None:
        """Write what waits, if there is room, and close; at most once, and without waiting for it."""
        if self._closer is not None:
            return
        socket = self._socket
        if not self._outbox.holding and not socket.is_closing() and socket.buffered() <= HIGH_WATER:
            for batch in self._outbox.take_batches():
                self._write_now(batch.messages)
        self._count()
        self._outbox.clear()
        self._flusher.forget(self)
        self.close_code = code
        self.straight = False
        # A connection has it only now: it would be a part of what each of thousands costs.
        self._hung_up = asyncio.Event()
        if self._gone:
            self._hung_up.set()
        ending = end_connection(socket, code, reason, self._hung_up)
        self._closer = asyncio.create_task(ending, name=f"close-{self.id}")

    def hung_up(self) -> None:
        """Nothing more comes from the client: it has closed, or is gone."""
        self._gone = True
        self.straight = False
        if self._hung_up is not None:
            self._hung_up.set()

    async def closed(self) -> None:
        """Return when the closing that was begun is over."""
        if self._closer is not None:
            await asyncio.wait({self._closer})

    def abort(self) -> None:
        """End the connection at once, with whatever still waits for it."""
        self.straight = False
        self._outbox.clear()
        self._flusher.forget(self)
        self._have_room()
        self._socket.abort()

    def _straighten(self) -> None:
        self.straight = self._nothing_waits() and not self._socket.full

    def _nothing_waits(self) -> bool:
        """Whether what is written to the socket now comes after all that was offered."""
        waits = self._dirty or self._outbox.holding or self._outbox.cut
        return not waits and self._closer is None and not self._gone

    def _hold(self) -> None:
        self.straight = False
        self._thinned_out(self._outbox.hold(self._await_progress()))

    def _thinned_out(self, cut: Sequence[str]) -> None:
        """Have the states of workflows told that were just cut, or give up on a client for which too much waits."""
        if self._outbox.full:
            self.close(CloseCode.TOO_SLOW, f"more than {self._limits.outbox_bytes} bytes wait")
        elif cut:
            self._relieve(self, cut)

    def _await_progress(self) -> float:
        """Be polled until the socket has room again; the time now, from which on it must take something."""
        self._accepted = self.tape.sent_bytes - self._socket.buffered()
        self._progress = self._flusher.now()
        self._flusher.slow(self)
        return self._progress

    def _moved(self, now: float, buffered: int) -> bool:
        """Whether the client has taken something since this was last asked."""
        accepted = self.tape.sent_bytes - buffered
        if accepted <= self._accepted:
            return False
        self._accepted, self._progress = accepted, now
        return True

    def _tell_mode(self, lag: float = 0.0) -> None:
        """Tell the client how it is served, if that has changed."""
        mode = self._outbox.mode
        if mode is not self._told and self._closer is None and not self._socket.is_closing():
            self._told = mode
            if self.dialect is Dialect.V1:
                self._write_now([self._mint.delivery(mode, int(lag * 1000))])

    def _count(self) -> None:
        tally, self._outbox.tally = self._outbox.tally, Tally()
        count(tally, self._metrics)

    def _write(self, wire: Wire) -> None:
        if wire.data:
            self._socket.write(wire.data)
            wire.deliveries += 1
            self.tape.wrote(wire)

    def _write_now(self, messages: Sequence[Message]) -> None:
        wire = make_wire(messages, self.dialect)
        self._write(wire)
        self._flusher.account(wire)

    def _control(self, frames: bytes) -> None:
        if self._closer is None and not self._socket.is_closing():
            self._socket.write(frames)
            self.tape.controlled(len(frames))

    def _have_room(self) -> None:
        if self._room is not None:
            if not self._room.done():
                self._room.set_result(None)
            self._room = None
