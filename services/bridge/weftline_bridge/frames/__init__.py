"""Encoded messages and the WebSocket frames they travel in; pure."""

from weftline_bridge.frames.incoming import Incoming, Received
from weftline_bridge.frames.messages import Batch, Delivery, Dialect, Message, StateKey, Wire, make_wire
from weftline_bridge.frames.nesting import nests_deeper_than
from weftline_bridge.frames.spans import EVENTS, TELEMETRY, About, Moment, Span, spans_of
from weftline_bridge.frames.websocket import Opcode, array_frames, frame, frame_header, object_frames

__all__ = [
    "EVENTS",
    "TELEMETRY",
    "About",
    "Batch",
    "Delivery",
    "Dialect",
    "Incoming",
    "Message",
    "Moment",
    "Opcode",
    "Received",
    "Span",
    "StateKey",
    "Wire",
    "array_frames",
    "frame",
    "frame_header",
    "make_wire",
    "nests_deeper_than",
    "object_frames",
    "spans_of",
]
