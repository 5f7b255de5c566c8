"""Reads the executor's gRPC errors and turns them into the bridge's own."""

from __future__ import annotations

import grpc
from google.protobuf.any_pb2 import Any
from google.rpc import error_details_pb2, status_pb2
from grpc import aio

from weftline_bridge.errors import CommandRefusedError, ExecutorUnavailableError, Fault

_DETAILS_KEY = "grpc-status-details-bin"
_DOMAIN = "weftline"


def to_refusal(error: aio.AioRpcError) -> CommandRefusedError:
    """What a failed call means to the client that asked for it."""
    code = error.code()
    if code is grpc.StatusCode.UNAVAILABLE:
        return ExecutorUnavailableError()
    name = code.name.lower()
    message = error.details() or name.replace("_", " ")
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        message = "the executor did not answer in time; the command may still take effect"
    faults: list[Fault] = []
    for detail in _details(error):
        info = error_details_pb2.ErrorInfo()
        bad = error_details_pb2.BadRequest()
        if detail.Is(info.DESCRIPTOR) and detail.Unpack(info) and info.domain == _DOMAIN and info.reason:
            name = info.reason
        elif detail.Is(bad.DESCRIPTOR) and detail.Unpack(bad):
            faults += [Fault(item.field, item.reason, item.description) for item in bad.field_violations]
    return CommandRefusedError(name, message, faults)


def _details(error: aio.AioRpcError) -> list[Any]:
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS_KEY and isinstance(value, bytes):
            status = status_pb2.Status()
            try:
                status.ParseFromString(value)
            except ValueError:
                return []
            return list(status.details)
    return []
