"""How values read on a terminal: durations, times, states, and text that others wrote."""

import json
import re
from datetime import UTC, datetime
from typing import Any, Final

from weftline.v1 import events_pb2 as ev

RUN_STATES: Final = {
    ev.RUN_STATE_RUNNING: "running",
    ev.RUN_STATE_PAUSING: "pausing",
    ev.RUN_STATE_PAUSED: "paused",
    ev.RUN_STATE_STOPPING: "stopping",
    ev.RUN_STATE_SUCCESS: "success",
    ev.RUN_STATE_STOPPED: "stopped",
    ev.RUN_STATE_ERROR: "error",
}
NODE_STATUSES: Final = {
    ev.NODE_STATUS_PENDING: "pending",
    ev.NODE_STATUS_RUNNING: "running",
    ev.NODE_STATUS_SUCCESS: "success",
    ev.NODE_STATUS_ERROR: "error",
    ev.NODE_STATUS_SKIPPED: "skipped",
}
WAITING_FOR: Final = {
    ev.WAITING_FOR_PARENTS: "parents",
    ev.WAITING_FOR_RUN_SLOT: "run_slot",
    ev.WAITING_FOR_EXECUTOR_SLOT: "executor_slot",
    ev.WAITING_FOR_RETRY: "retry",
    ev.WAITING_FOR_APPROVAL: "approval",
    ev.WAITING_FOR_EVENT: "event",
    ev.WAITING_FOR_RESUME: "resume",
    ev.WAITING_FOR_END: "end",
    ev.WAITING_FOR_START: "start",
}
LOG_LEVELS: Final = {
    ev.LOG_LEVEL_DEBUG: "debug",
    ev.LOG_LEVEL_INFO: "info",
    ev.LOG_LEVEL_WARN: "warn",
    ev.LOG_LEVEL_ERROR: "error",
}
STYLES: Final = {
    "pending": "dim",
    "running": "cyan",
    "pausing": "yellow",
    "paused": "yellow",
    "stopping": "yellow",
    "success": "green",
    "stopped": "magenta",
    "error": "red",
    "skipped": "dim",
    "cancelled": "magenta",
    "debug": "dim",
    "info": "",
    "warn": "yellow",
}
MAX_DIGITS: Final = 4300
"""Python reads no whole number that is longer."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def run_state(state: ev.RunState.ValueType) -> str:
    """Return a run state's word, `unknown` for one that this version does not know."""
    return RUN_STATES.get(state, "unknown")


def node_status(status: ev.NodeStatus.ValueType) -> str:
    """Return a node status's word, `unknown` for one that this version does not know."""
    return NODE_STATUSES.get(status, "unknown")


def waiting_for(kind: ev.WaitingFor.ValueType) -> str:
    """Return the word for what a node waits for, `unknown` for what this version does not know."""
    return WAITING_FOR.get(kind, "unknown")


def log_level(level: ev.LogLevel.ValueType) -> str:
    """Return a log level's word, `info` for one that this version does not know."""
    return LOG_LEVELS.get(level, "info")


def duration(milliseconds: float) -> str:
    """Return a length of time as a person says it: `340 ms`, `2.5 s`, `3 m 07 s`, `2 h 05 m`."""
    if milliseconds < 1000:
        return f"{max(0, round(milliseconds))} ms"
    seconds = milliseconds / 1000
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} m {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} m"


def size(number_of_bytes: int) -> str:
    """Return a number of bytes as a person says it: `900 bytes`, `71.2 KiB`, `3.0 MiB`."""
    if number_of_bytes < 1024:
        return count(number_of_bytes, "byte")
    if number_of_bytes < 1024 * 1024:
        return f"{number_of_bytes / 1024:.1f} KiB"
    return f"{number_of_bytes / 1024 / 1024:.1f} MiB"


def count(number: int, noun: str) -> str:
    """Return a number of things: `1 node`, `2 nodes`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def sentence(words: str) -> str:
    """Return words that others wrote as a sentence: with a full stop, and a capital if they begin with a plain word."""
    first = words.partition(" ")[0]
    begun = words[:1].upper() + words[1:] if first.isalpha() else words
    return with_full_stop(begun)


def with_full_stop(words: str) -> str:
    """Return words that others wrote, ended as a sentence is."""
    return words if words.endswith((".", "!", "?", "…")) else f"{words}."


def moment(milliseconds: int) -> str:
    """Return a time since the Unix epoch as local date and time to the second; `-` for 0."""
    if not milliseconds:
        return "-"
    return datetime.fromtimestamp(milliseconds / 1000, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def exact_moment(milliseconds: int) -> str:
    """Return a time since the Unix epoch as local date and time to the millisecond."""
    return f"{moment(milliseconds)}.{milliseconds % 1000:03d}"


def plain(text: str) -> str:
    """Return text that others wrote without what could steer a terminal; line breaks and tabs stay."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def one_line(text: str, limit: int = 400) -> str:
    """Return text that others wrote on one line, cut to `limit` characters."""
    flat = " ".join(plain(text).split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def decode_json(text: str) -> Any:
    """Return the value of JSON text, None for empty text, and the text itself when it is not JSON after all."""
    if not text:
        return None
    try:
        return load_json(text)
    except ValueError:
        return text


def load_json(text: str) -> Any:
    """Return the value of JSON text, and of an endless whole number its digits; raises ValueError for no JSON."""
    return json.loads(text, parse_int=_whole)


def _whole(digits: str) -> int | str:
    return int(digits) if len(digits) <= MAX_DIGITS else digits
