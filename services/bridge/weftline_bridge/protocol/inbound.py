"""Turns what a client sends into requests, or says exactly why it can't be used."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

import msgspec

from weftline_bridge.errors import BadMessageError, Misfit
from weftline_bridge.frames import Dialect, nests_deeper_than
from weftline_bridge.protocol import names
from weftline_bridge.protocol.checks import FieldReader, Fields, describe, json_kind

MAX_DEPTH = 64
MAX_MESSAGES = 64
MAX_GRACE_MS = 3_600_000
MAX_NAME = 256
"""Characters of a node's id, or of an event's name."""

MAX_TOKEN = 8192
"""Characters of a token."""

MAX_DATA_BYTES = 32 * 1024
"""Bytes of JSON that a node may be completed with."""


@dataclass(frozen=True, slots=True)
class Request:
    """What every request has: the message's id (also the idempotency key) and the workflow it is about.

    `traceparent` is the span that asks for it, as W3C writes it; empty where the client does not say.
    """

    kind: ClassVar[str]

    id: str
    workflow_id: str
    traceparent: str = field(default="", kw_only=True)


@dataclass(frozen=True, slots=True)
class Start(Request):
    """Start a run; `definition` is the payload's JSON text as it came."""

    kind = names.WORKFLOW_START

    definition: str


@dataclass(frozen=True, slots=True)
class Pause(Request):
    """Pause the active run; `mode` is `drain` or `immediate`."""

    kind = names.WORKFLOW_PAUSE

    mode: str
    reason: str


@dataclass(frozen=True, slots=True)
class Resume(Request):
    """Go on after a pause."""

    kind = names.WORKFLOW_RESUME

    reason: str


@dataclass(frozen=True, slots=True)
class Stop(Request):
    """End the active run; `mode` is `graceful` or `terminate`, `grace_ms` None for the executor's default."""

    kind = names.WORKFLOW_STOP

    mode: str
    grace_ms: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class Retry(Request):
    """Run what failed or was cancelled in the newest run again."""

    kind = names.WORKFLOW_RETRY

    reason: str


@dataclass(frozen=True, slots=True)
class Rerun(Request):
    """Begin a new run that takes over what the newest one gave, but for a node and what comes after it."""

    kind = names.WORKFLOW_RERUN

    from_node_id: str


@dataclass(frozen=True, slots=True)
class Complete(Request):
    """Finish a node that waits, or all that wait for an event: one of the two is empty.

    `data` is the output's JSON text, empty for none.
    """

    kind = names.NODE_COMPLETE

    node_id: str
    event: str
    data: str


@dataclass(frozen=True, slots=True)
class CursorRequest:
    """Where in a workflow's durable sequence a client is."""

    epoch: str
    seq: int


@dataclass(frozen=True, slots=True)
class Subscribe(Request):
    """Deliver the events of a workflow (`*` for all); `level` is the least serious log wanted, 1 to 4.

    With `smallest` a state may come in place of the events after the cursor, if it has fewer bytes.
    """

    kind = names.WORKFLOW_SUBSCRIBE

    cursor: CursorRequest | None
    telemetry: bool
    level: int
    smallest: bool = False


@dataclass(frozen=True, slots=True)
class Unsubscribe(Request):
    """Deliver the events of a workflow no more."""

    kind = names.WORKFLOW_UNSUBSCRIBE


@dataclass(frozen=True, slots=True)
class Refresh(Request):
    """A token, in place of the one before it or as the first of a connection; it is shown in no log."""

    kind = names.AUTH_REFRESH

    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Echo(Request):
    """A heartbeat that came back; `server_time` in ms is the one it answers, if it says so."""

    kind = names.HEARTBEAT

    server_time: float | None


def split_frame(data: bytes, dialect: Dialect) -> list[msgspec.Raw]:
    """Split a text frame into its messages: an object, or in `weftline.v1` also an array of 1 to 64.

    Raises BadMessageError (`invalid_utf8`, `too_deep`, `invalid_json`, `bad_shape`).
    """
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        misfit = Misfit("", "UTF-8 text", f"a wrong byte at position {error.start}")
        raise BadMessageError("invalid_utf8", "the frame is not valid UTF-8", [misfit]) from None
    if nests_deeper_than(data, MAX_DEPTH):
        misfit = Misfit("", f"at most {MAX_DEPTH} levels of arrays and objects", "more")
        raise BadMessageError("too_deep", "the message is nested too deep", [misfit])
    try:
        whole = msgspec.json.decode(data, type=msgspec.Raw)
        kind = json_kind(whole)
        items = msgspec.json.decode(whole, type=list[msgspec.Raw]) if kind == "array" else [whole]
    except msgspec.DecodeError as error:
        raise BadMessageError("invalid_json", f"the frame is not valid JSON: {error}") from None
    expected = "an object" if dialect is Dialect.PLAIN else f"an object, or an array of 1 to {MAX_MESSAGES} objects"
    if kind == "object":
        return items
    if kind == "array" and dialect is Dialect.V1:
        if 1 <= len(items) <= MAX_MESSAGES:
            return items
        got = f"an array of {len(items)}"
        raise BadMessageError("bad_shape", f"an array has {len(items)} messages", [Misfit("", expected, got)])
    raise BadMessageError("bad_shape", "the frame is no message", [Misfit("", expected, describe(whole))])


def parse_message(raw: msgspec.Raw, dialect: Dialect, at: str = "") -> Request:
    """Check one message of a client and turn it into a request; `at` is its path within the frame.

    Raises BadMessageError (`bad_shape`, `unknown_type`, `bad_workflow_id`, `invalid_json`).
    """
    if json_kind(raw) != "object":
        misfit = Misfit(at, "an object", describe(raw))
        raise BadMessageError("bad_shape", "a message has to be an object", [misfit])
    try:
        fields: Fields = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    except msgspec.DecodeError as error:
        raise BadMessageError("invalid_json", f"the message is not valid JSON: {error}") from None
    misfits: list[Misfit] = []
    reader = FieldReader(fields, at, misfits)
    kind = reader.text("type", required=True, most=64)
    command_id = reader.text("id", required=kind != names.HEARTBEAT, most=128)
    reader.number("timestamp")
    if misfits:
        raise BadMessageError("bad_shape", _sentence(misfits), misfits, command_id)
    known = names.V1_IN if dialect is Dialect.V1 else names.PLAIN_IN
    if kind not in known:
        misfit = Misfit(reader.path("type"), "one of " + ", ".join(sorted(known)), describe(fields["type"]))
        raise BadMessageError("unknown_type", f"messages of type {kind} are not understood", [misfit], command_id)
    payload = reader.inner("payload")
    if payload is None:
        raise BadMessageError("bad_shape", _sentence(misfits), misfits, command_id)
    if kind == names.HEARTBEAT:
        return _checked(Echo(command_id, "", payload.number("serverTime")), misfits, command_id)
    if kind == names.AUTH_REFRESH:
        token = payload.text("token", required=True, most=MAX_TOKEN)
        return _checked(Refresh(command_id, "", token), misfits, command_id)
    workflow_id = reader.workflow_id(wildcard=kind in (names.WORKFLOW_SUBSCRIBE, names.WORKFLOW_UNSUBSCRIBE))
    if misfits:
        raise BadMessageError("bad_workflow_id", _sentence(misfits), misfits, command_id)
    request = _request(kind, payload, command_id, workflow_id, fields)
    if traceparent := reader.traceparent():
        request = replace(request, traceparent=traceparent)
    return _checked(request, misfits, command_id)


def _request(kind: str, payload: FieldReader, command_id: str, workflow_id: str, fields: Fields) -> Request:
    request: Request
    match kind:
        case names.WORKFLOW_START:
            payload.shape("nodes", "array", required=True)
            payload.shape("edges", "array", required=True)
            payload.shape("config", "object")
            definition = bytes(fields["payload"]).decode() if "payload" in fields else ""
            request = Start(command_id, workflow_id, definition)
        case names.WORKFLOW_PAUSE:
            mode = payload.choice("mode", ("drain", "immediate"), "drain")
            request = Pause(command_id, workflow_id, mode, payload.text("reason"))
        case names.WORKFLOW_RESUME:
            request = Resume(command_id, workflow_id, payload.text("reason"))
        case names.WORKFLOW_STOP:
            mode = payload.choice("mode", ("graceful", "terminate"), "graceful")
            grace = payload.whole("grace", most=MAX_GRACE_MS)
            request = Stop(command_id, workflow_id, mode, grace, payload.text("reason"))
        case names.WORKFLOW_RETRY:
            request = Retry(command_id, workflow_id, payload.text("reason"))
        case names.WORKFLOW_RERUN:
            request = Rerun(command_id, workflow_id, payload.text("fromNodeId", required=True, most=MAX_NAME))
        case names.NODE_COMPLETE:
            request = _complete(payload, command_id, workflow_id)
        case names.WORKFLOW_SUBSCRIBE:
            level = names.LOG_LEVELS[payload.choice("logs", names.LOG_LEVELS, "debug")]
            cursor = _cursor(payload, workflow_id)
            telemetry = payload.flag("telemetry", True)
            smallest = payload.choice("catchUp", names.CATCH_UP, names.CATCH_UP_EVENTS) == names.CATCH_UP_SMALLEST
            request = Subscribe(command_id, workflow_id, cursor, telemetry, level, smallest)
        case _:
            request = Unsubscribe(command_id, workflow_id)
    return request


def _complete(payload: FieldReader, command_id: str, workflow_id: str) -> Complete:
    by_event = payload.has("event")
    if by_event and payload.has("nodeId"):
        payload.misfit("event", "nodeId or event", "both")
    event = payload.text("event", required=by_event, most=MAX_NAME)
    node_id = "" if by_event else payload.text("nodeId", required=True, most=MAX_NAME)
    return Complete(command_id, workflow_id, node_id, event, payload.json("data", most=MAX_DATA_BYTES))


def _cursor(payload: FieldReader, workflow_id: str) -> CursorRequest | None:
    if not payload.has("cursor"):
        return None
    if workflow_id == names.ALL_WORKFLOWS:
        payload.misfit("cursor", "no cursor with workflowId *")
        return None
    inner = payload.inner("cursor")
    if inner is None:
        return None
    epoch = inner.text("epoch", required=True, most=128)
    seq = inner.whole("seq", required=True)
    return CursorRequest(epoch, seq if seq is not None else 0)


def _checked(request: Request, misfits: list[Misfit], command_id: str) -> Request:
    if misfits:
        raise BadMessageError("bad_shape", _sentence(misfits), misfits, command_id)
    return request


def _sentence(misfits: list[Misfit]) -> str:
    return "; ".join(f"{item.path}: expected {item.expected}, got {item.got}" for item in misfits)
