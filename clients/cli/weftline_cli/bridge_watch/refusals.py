"""Names why the bridge refused or ended a connection, as one of the command line's own errors."""

from enum import IntEnum
from typing import Final

from weftline_cli import text
from weftline_cli.errors import BadArgumentError, BridgeUnavailableError, CliError, RefusedError


class CloseCode(IntEnum):
    """Why a WebSocket was closed, as the protocol numbers it; 1005, 1006 and 1015 are never sent."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    NO_CODE = 1005
    CONNECTION_LOST = 1006
    INVALID_TEXT = 1007
    MESSAGE_TOO_BIG = 1009
    INTERNAL_ERROR = 1011
    RESTARTING = 1012
    OVERLOADED = 1013
    BAD_MESSAGE = 4400
    UNAUTHENTICATED = 4401
    FORBIDDEN = 4403
    UNSUPPORTED_SUBPROTOCOL = 4406
    HEARTBEAT_MISSED = 4408
    RATE_LIMITED = 4429
    TOO_SLOW = 4508


FINAL_CODES: Final = frozenset(
    {
        CloseCode.PROTOCOL_ERROR,
        CloseCode.INVALID_TEXT,
        CloseCode.MESSAGE_TOO_BIG,
        CloseCode.BAD_MESSAGE,
        CloseCode.UNAUTHENTICATED,
        CloseCode.FORBIDDEN,
        CloseCode.UNSUPPORTED_SUBPROTOCOL,
    }
)
"""The close codes after which the same would happen again."""

_ASKS_AGAIN: Final = frozenset({CloseCode.GOING_AWAY, CloseCode.RESTARTING, CloseCode.OVERLOADED})
_PASSING: Final = frozenset(
    {"executor_unavailable", "deadline_exceeded", "keys_unavailable", "rate_limited", "internal"}
)
_ARGUMENT: Final = frozenset({"bad_workflow_id", "bad_shape"})


def close_name(code: int) -> str:
    """Return the name of a close code, `unknown` for one that this version does not know."""
    try:
        return CloseCode(code).name.lower()
    except ValueError:
        return "unknown"


def closed(address: str, code: int, reason: str, advice_s: float | None) -> CliError:
    """Return the error for a connection that was closed with this code and reason.

    It is a BridgeUnavailableError where one should come again, after `advice_s` seconds if the bridge said so.
    """
    name = close_name(code)
    said = f": {text.one_line(reason)}" if reason else ""
    if code in FINAL_CODES:
        return RefusedError(text.with_full_stop(f"The bridge closed the connection with {code} ({name}){said}"), name)
    problem = text.with_full_stop(f"it closed the connection with {code} ({name}){said}")
    if code in (CloseCode.CONNECTION_LOST, CloseCode.NO_CODE):
        problem = f"the connection broke without a word ({code}, {name})."
    return BridgeUnavailableError(address, problem, asks_again=code in _ASKS_AGAIN, advice_s=advice_s)


def refusal(address: str, code: str, message: str) -> CliError:
    """Return the error for a subscription that was rejected with this code and message."""
    said = text.one_line(message)
    if code in _PASSING:
        return BridgeUnavailableError(address, text.with_full_stop(f"{said} ({code})"))
    if code in _ARGUMENT:
        return BadArgumentError(text.sentence(said))
    return RefusedError(text.sentence(said), code)


def turned_away(address: str, status: int, reason: str, said: str, retry_after: str) -> CliError:
    """Return the error for an answer that was no WebSocket: its status, phrase, body and `Retry-After`.

    A body as the bridge writes it says why; that of anything else is not looked at.
    """
    code, message = f"http_{status}", text.one_line(f"{status} {reason}")
    body = text.decode_json(said)
    if isinstance(body, dict) and isinstance(body.get("code"), str) and isinstance(body.get("message"), str):
        code, message = body["code"], text.one_line(body["message"])
    if status in (401, 403):
        return RefusedError(text.sentence(message), code)
    passing = status in (429, 503)
    advice_s = float(retry_after) if passing and retry_after.isascii() and retry_after.isdigit() else None
    problem = text.with_full_stop(f"it answered {status} and opened no WebSocket: {message}")
    return BridgeUnavailableError(address, problem, asks_again=passing, advice_s=advice_s)
