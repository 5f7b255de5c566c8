"""What a connection writes its record with: it knows the time, and writes nothing where nothing is recorded."""

from __future__ import annotations

from collections.abc import Callable

from weftline_bridge.frames import Delivery, Dialect, Moment, Wire
from weftline_bridge.recorder.records import Kind
from weftline_bridge.recorder.trace import Trace


class Tape:
    """A trace, None where nothing is recorded, and a clock in ms since the Unix epoch."""

    __slots__ = ("_clock", "_trace")

    def __init__(self, trace: Trace | None, clock: Callable[[], int]) -> None:
        self._trace = trace
        self._clock = clock

    def took(self, delivery: Delivery, wire: Wire, dialect: Dialect) -> None:
        """A delivery was written, as it is to many: they share what is kept of it."""
        if self._trace is None:
            return
        moment = delivery.moments[dialect]
        if moment is None:
            moment = delivery.moments[dialect] = Moment(self._clock(), wire.spans)
        self._trace.append(moment)

    def wrote(self, wire: Wire) -> None:
        """A wire was written to this connection alone."""
        if self._trace is not None:
            self._trace.append(Moment(self._clock(), wire.spans))

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
            self._trace.note(self._clock(), kind, workflow_id, first=first, last=last, times=times, word=word)
