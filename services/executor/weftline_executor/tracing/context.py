"""Where a span stands in its trace: read from and written as a `traceparent`, and derived for runs and attempts.

The ids of the spans of runs and attempts follow from what they are of, so that an executor that goes on with a run
after a crash gives the same ones, and nothing but the run's own parent need be kept.
"""

from __future__ import annotations

import re
from hashlib import blake2b

from msgspec import Struct

_MAX_LENGTH = 256
# W3C Trace Context, section 3.2: later versions may add fields at the end, and version ff is none.
_TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED = 1
_RATIO_BITS = 64


class TraceContext(Struct, frozen=True):
    """A span in its trace: ids in lower-case hexadecimal, and whether the trace is recorded."""

    trace_id: str
    span_id: str
    sampled: bool

    @property
    def traceparent(self) -> str:
        """The context as a `traceparent`."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"

    def at(self, span_id: str) -> TraceContext:
        """Another span of the same trace."""
        return TraceContext(self.trace_id, span_id, self.sampled)


def parse_traceparent(text: str) -> TraceContext | None:
    """Reads a `traceparent`; None for what is none, which W3C says to treat as if nothing had come."""
    if len(text) > _MAX_LENGTH:
        return None
    found = _TRACEPARENT.fullmatch(text)
    if found is None or (found[1] == "00" and found[5]):
        return None
    return TraceContext(found[2], found[3], bool(int(found[4], 16) & _SAMPLED))


def run_span_id(run_id: str, generation: int) -> str:
    """The id of the span of a run, from its first start (generation 1) or a retry to its end."""
    return _span_id(run_id, str(generation))


def attempt_span_id(run_id: str, node_id: str, attempt: int) -> str:
    """The id of the span of an attempt of a node."""
    return _span_id(run_id, node_id, str(attempt))


def attempt_traceparent(trace: str, run_id: str, node_id: str, attempt: int) -> str:
    """What an attempt passes on to whom it asks; `trace` is that of its run, and empty gives empty."""
    context = parse_traceparent(trace)
    return context.at(attempt_span_id(run_id, node_id, attempt)).traceparent if context is not None else ""


def recorded_trace(trace: str) -> str:
    """The id of a run's trace, by which a person finds it; empty when it is not recorded, or there is none."""
    context = parse_traceparent(trace)
    return context.trace_id if context is not None and context.sampled else ""


def chosen(trace_id: str, ratio: float) -> bool:
    """Whether a trace that begins here is among the `ratio` (0 to 1) that is recorded.

    As OpenTelemetry's TraceIdRatioBased sampler does it, by the lower 64 bits of the id.
    """
    return int(trace_id, 16) & ((1 << _RATIO_BITS) - 1) < round(ratio * (1 << _RATIO_BITS))


def _span_id(*of: str) -> str:
    # An id of zeros would be none; one in 2**64 would be that.
    return blake2b("\0".join(of).encode(), digest_size=8).hexdigest().replace("0" * 16, "0" * 15 + "1")
