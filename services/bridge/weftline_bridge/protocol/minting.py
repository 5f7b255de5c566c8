"""Makes the messages that the bridge itself originates; everything else is the executor's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count

from weftline_bridge.errors import BadMessageError, CommandRefusedError
from weftline_bridge.frames import About, Dialect, Message, StateKey
from weftline_bridge.protocol import names
from weftline_bridge.protocol.payloads import (
    AcceptedPayload,
    DeliveryPayload,
    DrainingPayload,
    Envelope,
    ErrorPayload,
    FaultDetail,
    GapPayload,
    HeartbeatPayload,
    MisfitDetail,
    Payload,
    Raw,
    ReadyPayload,
    RejectedPayload,
    StatusPayload,
    SubscribedPayload,
    encode,
)

_STATUS_KEY: StateKey = ("", names.SYSTEM_STATUS)
_DELIVERY_KEY: StateKey = ("", names.DELIVERY_STATE)
_HEARTBEAT_KEY: StateKey = ("", names.HEARTBEAT)


class Mint:
    """Makes messages with unique ids (`prefix` and a counter), stamped by `clock` (ms since the Unix epoch)."""

    def __init__(self, prefix: str, clock: Callable[[], int]) -> None:
        self._prefix = prefix
        self._clock = clock
        self._serial = count(1)

    def message(
        self,
        kind: str,
        payload: Payload | Raw,
        *,
        workflow_id: str = "",
        run_id: str = "",
        key: StateKey | None = None,
        place: int = 0,
        about: About | None = None,
    ) -> Message:
        """Encode one message; `place` is the seq whose place it takes in a workflow's history."""
        envelope = Envelope(self.next_id(), kind, self._clock(), workflow_id, run_id, 0, payload)
        only = kind not in names.PLAIN_OUT
        return Message(encode(envelope), kind, workflow_id, place, key=key, v1_only=only, about=about)

    def next_id(self) -> str:
        """A message id that was not used before."""
        return f"{self._prefix}-{next(self._serial)}"

    def now(self) -> int:
        """The time now, in ms since the Unix epoch."""
        return self._clock()

    def ready(self, payload: ReadyPayload) -> Message:
        """`connection.ready`."""
        return self.message(names.CONNECTION_READY, payload)

    def status(self, payload: StatusPayload) -> Message:
        """`system.status`; only the newest matters."""
        return self.message(names.SYSTEM_STATUS, payload, key=_STATUS_KEY)

    def heartbeat(self, epoch: str, heads: dict[str, int]) -> Message:
        """`heartbeat`; only the newest matters."""
        return self.message(names.HEARTBEAT, HeartbeatPayload(self._clock(), epoch, heads), key=_HEARTBEAT_KEY)

    def subscribed(self, workflow_id: str, payload: SubscribedPayload) -> Message:
        """`workflow.subscribed`."""
        about = About("subscribed", payload.seq, payload.seq, payload.outcome)
        return self.message(names.WORKFLOW_SUBSCRIBED, payload, workflow_id=workflow_id, about=about)

    def gap(self, workflow_id: str, payload: GapPayload, *, place: int = 0) -> Message:
        """`stream.gap`."""
        about = About("gap", payload.from_, payload.to, payload.reason)
        return self.message(names.STREAM_GAP, payload, workflow_id=workflow_id, place=place, about=about)

    def accepted(self, workflow_id: str, payload: AcceptedPayload) -> Message:
        """`command.accepted`."""
        return self.message(names.COMMAND_ACCEPTED, payload, workflow_id=workflow_id)

    def delivery(self, mode: str, lag_ms: int) -> Message:
        """`delivery.state`; only the newest matters."""
        about = About("mode", word=mode)
        return self.message(names.DELIVERY_STATE, DeliveryPayload(mode, lag_ms), key=_DELIVERY_KEY, about=about)

    def draining(self, reconnect_after_ms: int) -> Message:
        """`connection.draining`."""
        return self.message(names.CONNECTION_DRAINING, DrainingPayload(reconnect_after_ms))

    def refusal(
        self, dialect: Dialect, error: BadMessageError | CommandRefusedError, *, workflow_id: str, command_id: str
    ) -> Message:
        """The answer to what can't be done: `command.rejected`, or `execution.error` in the plain dialect."""
        details: Sequence[Payload]
        if isinstance(error, BadMessageError):
            details = [MisfitDetail(item.path, item.expected, item.got) for item in error.misfits]
        else:
            details = [FaultDetail(fault.path, fault.code, fault.message) for fault in error.faults]
        if dialect is Dialect.V1:
            rejected = RejectedPayload(error.code, error.message, details, command_id)
            return self.message(names.COMMAND_REJECTED, rejected, workflow_id=workflow_id)
        failed = ErrorPayload(error.message, error.code, details=details or None, command_id=command_id)
        return self.message(names.EXECUTION_ERROR, failed, workflow_id=workflow_id)
