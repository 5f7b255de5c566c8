"""Turns a failed call, with its google.rpc details, into one of the command line's own errors."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from weftline_cli import text
from weftline_cli.errors import (
    BadArgumentError,
    CliError,
    ExecutorFaultError,
    NotFoundError,
    RefusedError,
    UnavailableError,
)

DETAILS_KEY: Final = "grpc-status-details-bin"

_UNAVAILABLE: Final = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.CANCELLED,
}
_REFUSED: Final = {
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNAUTHENTICATED,
}
_ARGUMENT: Final = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.OUT_OF_RANGE}


@dataclass(frozen=True, slots=True)
class Violation:
    """One entry of a BadRequest: the path of the field, a name for the fault, and a sentence about it."""

    path: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class RpcFailure:
    """What a failed call said: the status, its text, the ErrorInfo's reason (empty without one), and the violations."""

    status: grpc.StatusCode
    message: str
    reason: str
    violations: tuple[Violation, ...]


def read_failure(error: grpc.aio.AioRpcError) -> RpcFailure:
    """Return what a failed call said; details that can't be read count as absent."""
    details = list(_details(error))
    info = next(_unpack(details, error_details_pb2.ErrorInfo), None)
    violations = tuple(
        Violation(path=violation.field, code=violation.reason or "invalid", message=violation.description)
        for bad_request in _unpack(details, error_details_pb2.BadRequest)
        for violation in bad_request.field_violations
    )
    return RpcFailure(
        status=error.code(),
        message=error.details() or "it gave no reason.",
        reason=info.reason if info else "",
        violations=violations,
    )


def translate(failure: RpcFailure, address: str) -> CliError:
    """Return the error that a failed call to the executor at `address` amounts to."""
    if failure.status in _UNAVAILABLE:
        return UnavailableError(address, text.with_full_stop(failure.message))
    if failure.status in _REFUSED:
        return RefusedError(text.sentence(failure.message), failure.reason)
    if failure.status in _ARGUMENT:
        return BadArgumentError(failure.message, [(each.path, each.message) for each in failure.violations])
    if failure.status is grpc.StatusCode.NOT_FOUND:
        return NotFoundError(text.sentence(failure.message))
    return ExecutorFaultError(failure.status.name, text.sentence(failure.message))


def _details(error: grpc.aio.AioRpcError) -> Iterator[Any]:
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            try:
                yield from status_pb2.Status.FromString(value).details
            except DecodeError:
                return


def _unpack(details: Iterable[Any], kind: type[Any]) -> Iterator[Any]:
    """Yield the messages of one kind among packed ones."""
    for packed in details:
        message = kind()
        if packed.Is(kind.DESCRIPTOR) and packed.Unpack(message):
            yield message
