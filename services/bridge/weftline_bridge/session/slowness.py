"""Words and numbers for what is not sent to a slow client."""

from __future__ import annotations

from collections.abc import Sequence

from weftline_bridge.frames import Message
from weftline_bridge.metrics import Metrics
from weftline_bridge.outbox import Gap, Tally
from weftline_bridge.protocol.minting import Mint
from weftline_bridge.protocol.payloads import GapPayload


def as_messages(items: Sequence[Message | Gap], mint: Mint, metrics: Metrics) -> list[Message]:
    """What was held, with a `stream.gap` for each gap."""
    messages: list[Message] = []
    for item in items:
        if isinstance(item, Gap):
            payload = GapPayload(item.first, item.last, dict(item.dropped), "slow_client")
            messages.append(mint.gap(item.workflow_id, payload))
            metrics.gaps.inc()
        else:
            messages.append(item)
    return messages


def count(tally: Tally, metrics: Metrics) -> None:
    """Count what was done because a client is slow."""
    metrics.conflated.inc(tally.conflated)
    metrics.replaced.inc(tally.cut)
    for level, number in tally.shed.items():
        metrics.shed[level].inc(number)
