"""What was written to one connection: counted, and recorded where that is wanted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from operator import attrgetter

from weftline_bridge.frames import Delivery, Dialect, Moment, Wire
from weftline_bridge.recorder.ledger import Ledger
from weftline_bridge.recorder.records import Kind, Record
from weftline_bridge.recorder.trace import Trace


class Tape:
    """Counts and records what was written to a connection and what else happened to it.

    Recorded is nothing where the trace is None. The clock is in ms since the Unix epoch.
    """

    __slots__ = ("_clock", "_places", "_sent", "_sent_bytes", "_trace")

    def __init__(self, trace: Trace | None, clock: Callable[[], int]) -> None:
        self._trace = trace
        self._clock = clock
        self._sent = self._sent_bytes = 0
        self._places: dict[Ledger, int] = {}

    @property
    def sent(self) -> int:
        """How many messages were written."""
        self.settle()
        return self._sent

    @property
    def sent_bytes(self) -> int:
        """How many bytes were written."""
        self.settle()
        return self._sent_bytes

    def follow(self, ledger: Ledger) -> None:
        """What is booked there from now on is written to this connection too."""
        self._places[ledger] = ledger.end

    def unfollow(self, ledger: Ledger) -> None:
        """What is booked there from now on is not."""
        self.settle()
        del self._places[ledger]

    def missed(self, ledger: Ledger) -> None:
        """What was booked last was not written to this connection, though it follows the ledger."""
        records = self._draw(ledger, ledger.end - 1)
        self._places[ledger] = ledger.end
        if self._trace is not None:
            self._trace.add(records)

    def settle(self) -> None:
        """Count and record all that was booked since this was last done."""
        drawn = [self._draw(ledger, ledger.end) for ledger, place in self._places.items() if place != ledger.end]
        if not drawn or self._trace is None:
            return
        records: Sequence[Record] = drawn[0]
        if len(drawn) > 1:
            records = sorted(chain.from_iterable(drawn), key=attrgetter("at"))
        self._trace.add(records)

    def took(self, delivery: Delivery, wire: Wire, dialect: Dialect) -> None:
        """A delivery was written, as it is to many: they share what is kept of it."""
        moment = delivery.moments[dialect]
        if moment is None:
            moment = delivery.moments[dialect] = Moment(self._clock(), wire.spans)
        self._wrote(wire, moment)

    def wrote(self, wire: Wire) -> None:
        """A wire was written to this connection alone."""
        self._wrote(wire, Moment(self._clock(), wire.spans))

    def controlled(self, size: int) -> None:
        """A control frame of `size` bytes was written."""
        self._sent_bytes += size

    def measured(self, rtt: float) -> None:
        """A round trip took `rtt` seconds."""
        micros = int(rtt * 1_000_000)
        self.note(Kind.RTT, first=micros, last=micros)

    def slowed(self, conflated: int, cut: int) -> None:
        """So many messages were replaced by newer ones, and so many workflows by their states, for a slow client."""
        if conflated:
            self.note(Kind.CONFLATED, times=conflated)
        if cut:
            self.note(Kind.CUT, times=cut)

    def note(
        self, kind: str, workflow_id: str = "", *, first: int = 0, last: int = 0, times: int = 1, word: str = ""
    ) -> None:
        """Record something else."""
        if self._trace is not None:
            self.settle()
            self._trace.note(self._clock(), kind, workflow_id, first=first, last=last, times=times, word=word)

    def _wrote(self, wire: Wire, moment: Moment) -> None:
        self.settle()
        self._sent += wire.count
        self._sent_bytes += wire.size
        if self._trace is not None:
            self._trace.append(moment)

    def _draw(self, ledger: Ledger, end: int) -> Sequence[Record]:
        share = ledger.share(self._places[ledger], end)
        self._places[ledger] = end
        self._sent += share.messages
        self._sent_bytes += share.size
        return share.records
