"""How an attempt ended: the output it gave or why it failed, both fit for an event and without secrets."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import msgspec

from weftline_executor.engine.verdict import clean, json_object, nests_too_deep
from weftline_executor.graph.definition import MAX_DEPTH
from weftline_executor.model.artifact import Artifact
from weftline_executor.model.states import PendingReason, SkipReason, SuccessReason
from weftline_executor.nodes import (
    Branch,
    ConfigInvalid,
    ExpressionFailed,
    NodeFailed,
    SecretMissing,
    SecretSession,
    SecretUnreadable,
    Skip,
    Wait,
)

MAX_ERROR = 4096
MAX_CODE = 128
MAX_DETAILS = 16_384
MAX_WAIT = 32_768
MAX_WAIT_MESSAGE = 4096
_log = logging.getLogger(__name__)
_encoder = msgspec.json.Encoder()


class Success(msgspec.Struct, frozen=True):
    """The attempt gave `output` (JSON text); `handle` is the output handle that fired, or empty.

    `reason` says how, unless the node ran. Once the output is kept as an `artifact`, `output` is a preview of it.
    """

    output: bytes
    handle: str
    reason: SuccessReason = SuccessReason.NONE
    artifact: Artifact | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """The attempt failed: `error` for a person, `code` for a program, `details` a JSON object or empty.

    Trying again makes no sense unless it is `retryable`, and none before `retry_after` seconds have passed.
    """

    error: str
    code: str
    details: bytes = b""
    retryable: bool = True
    retry_after: float = 0.0


@dataclass(frozen=True, slots=True)
class Waiting:
    """The attempt waits for a word from outside, for `deadline` seconds at most; `details` is a JSON object."""

    reason: PendingReason
    details: bytes
    deadline: float | None


@dataclass(frozen=True, slots=True)
class Skipped:
    """The attempt found that there is nothing to do for its node."""

    reason: SkipReason


Result: TypeAlias = Success | Failure | Waiting | Skipped


def result_of(value: object, handles: Sequence[str], max_output: int) -> Result:
    """What the value that a node gave comes to; `handles` are its output handles, `max_output` is in bytes."""
    if isinstance(value, Wait):
        return _waiting(value)
    if isinstance(value, Skip):
        return Skipped(SkipReason(value.reason))
    return success_of(value, handles, max_output)


def _waiting(wait: Wait) -> Result:
    details: dict[str, object] = {}
    if wait.message:
        details["message"] = clean(wait.message, MAX_WAIT_MESSAGE)
    if wait.event:
        details["event"] = wait.event
    if wait.default is not msgspec.UNSET:
        details["default"] = wait.default
    try:
        encoded = _encoder.encode(details)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        return Failure(f"the node waits with a default that is not JSON: {error}", "bad_output", retryable=False)
    if len(encoded) > MAX_WAIT:
        return Failure(f"what the node waits for is over {MAX_WAIT} bytes", "bad_output", retryable=False)
    return Waiting(PendingReason(wait.kind), encoded, wait.deadline)


def success_of(value: object, handles: Sequence[str], max_output: int) -> Success | Failure:
    """What the value of a node that does not wait comes to; see `result_of`."""
    handle = ""
    if isinstance(value, Branch):
        if value.handle not in handles:
            known = ", ".join(handles)
            return Failure(
                f"the node chose the handle {value.handle!r}, which it does not have ({known})",
                "bad_handle",
                retryable=False,
            )
        handle, value = value.handle, value.output
    if value is None:
        return Success(b"", handle)
    try:
        output = _encoder.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        return Failure(f"the node returned what is not JSON: {error}", "bad_output", retryable=False)
    if len(output) > max_output:
        return Failure(
            f"the node's output is {len(output)} bytes, over the limit of {max_output}",
            "output_too_large",
            retryable=False,
        )
    if nests_too_deep(output):
        return Failure(f"the node's output nests deeper than {MAX_DEPTH} levels", "bad_output", retryable=False)
    return Success(output, handle)


def failure_of(error: BaseException, where: str, secrets: SecretSession | None) -> Failure:
    """What an error means. Never raises, whatever the node's code made of its error.

    An error that nobody expects goes to the executor's log, too, which names it by `where`.
    """
    try:
        return _known_failure(error, secrets) or _unknown_failure(error, where, secrets)
    except Exception:
        return Failure(f"{type(error).__name__}, which can't be shown", "node_raised")


def _unknown_failure(error: BaseException, where: str, secrets: SecretSession | None) -> Failure:
    secret = secrets is not None and secrets.used
    _log.info("%s raised %s", where, type(error).__name__, exc_info=None if secret else error)
    return Failure(told(f"{type(error).__name__}: {error}", MAX_ERROR, secrets), "node_raised")


def without_secrets(result: Result, secrets: SecretSession | None) -> Result:
    """The result with every secret that the attempt has read taken out."""
    if secrets is None or not secrets.used or isinstance(result, Skipped):
        return result
    if isinstance(result, Success):
        return Success(secrets.scrub_json(result.output), result.handle)
    if isinstance(result, Waiting):
        return replace(result, details=secrets.scrub_json(result.details))
    return replace(result, error=secrets.scrub(result.error), details=secrets.scrub_json(result.details))


def told(text: str, limit: int, secrets: SecretSession | None) -> str:
    """A text for an event. Secrets are taken out before it is cut, since half of one would not be recognised."""
    return clean(secrets.scrub(text) if secrets is not None else text, limit)


def _known_failure(error: BaseException, secrets: SecretSession | None) -> Failure | None:
    match error:
        case NodeFailed():
            details = bytes(json_object(error.details, MAX_DETAILS)) if error.details else b""
            return Failure(
                told(error.message, MAX_ERROR, secrets),
                told(error.code, MAX_CODE, secrets),
                details,
                error.retryable,
                error.retry_after or 0.0,
            )
        case ConfigInvalid() | ExpressionFailed():
            return Failure(told(str(error), MAX_ERROR, secrets), error.code, retryable=False)
        case SecretMissing() | SecretUnreadable():
            code = "secret_missing" if isinstance(error, SecretMissing) else "secret_unreadable"
            return Failure(str(error), code, retryable=False)
        case _:
            return None
