"""Which gRPC status each error becomes, with `google.rpc` details that a program can read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc.aio import ServicerContext
from grpc_status import rpc_status

from weftline_executor import errors

DOMAIN = "weftline"
RETRY_SECONDS = 1
MAX_DETAILS_BYTES = 3072
"""Details travel base64-encoded in trailing metadata, which gRPC limits to 8 KiB; ValidateWorkflow gives all faults."""

MAX_TEXT_BYTES = 512
"""What a message or a path may take of that; names in a workflow can be of any length."""

STATUS_CODES: Mapping[type[errors.ExecutorError], grpc.StatusCode] = {
    errors.InvalidArgument: grpc.StatusCode.INVALID_ARGUMENT,
    errors.InvalidWorkflow: grpc.StatusCode.INVALID_ARGUMENT,
    errors.WorkflowNotFound: grpc.StatusCode.NOT_FOUND,
    errors.NodeNotFound: grpc.StatusCode.NOT_FOUND,
    errors.RunActive: grpc.StatusCode.ALREADY_EXISTS,
    errors.IllegalCommand: grpc.StatusCode.FAILED_PRECONDITION,
    errors.FollowsParent: grpc.StatusCode.FAILED_PRECONDITION,
    errors.NothingWaits: grpc.StatusCode.FAILED_PRECONDITION,
    errors.RunStuck: grpc.StatusCode.FAILED_PRECONDITION,
    errors.CommandReused: grpc.StatusCode.INVALID_ARGUMENT,
    errors.ExecutorFull: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.ShuttingDown: grpc.StatusCode.UNAVAILABLE,
    errors.StoreUnavailable: grpc.StatusCode.UNAVAILABLE,
    errors.StoreCorrupt: grpc.StatusCode.DATA_LOSS,
    errors.ArtifactNameInvalid: grpc.StatusCode.INVALID_ARGUMENT,
    errors.ArtifactNotFound: grpc.StatusCode.NOT_FOUND,
    errors.ArtifactDamaged: grpc.StatusCode.DATA_LOSS,
    errors.ArtifactsUnavailable: grpc.StatusCode.UNAVAILABLE,
    errors.ClientNotAllowed: grpc.StatusCode.PERMISSION_DENIED,
    errors.Unsupported: grpc.StatusCode.UNIMPLEMENTED,
    errors.Internal: grpc.StatusCode.INTERNAL,
}
"""The one table; an error that is not in it is a fault of the executor, INTERNAL."""


def status_of(error: errors.ExecutorError) -> status_pb2.Status:
    """The rich status of an error: ErrorInfo always, BadRequest for bad input, RetryInfo where trying again helps."""
    code = STATUS_CODES.get(type(error), grpc.StatusCode.INTERNAL)
    status = status_pb2.Status(code=code.value[0], message=_clip(str(error)))
    info = error_details_pb2.ErrorInfo(reason=error.code, domain=DOMAIN, metadata=_metadata(error))
    details: list[Message] = [info]
    if isinstance(error, errors.InvalidWorkflow):
        details.append(_bad_request(error.faults))
    elif isinstance(error, errors.InvalidArgument):
        details.append(_bad_request([errors.Fault(error.field, error.code, error.message)]))
    elif code in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE):
        details.append(error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=RETRY_SECONDS)))
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    return status


async def abort(context: ServicerContext[Message, Message], error: errors.ExecutorError) -> NoReturn:
    """Ends a call with the status of an error."""
    await context.abort_with_status(rpc_status.to_status(status_of(error)))
    raise AssertionError("abort raises")


def _metadata(error: errors.ExecutorError) -> dict[str, str]:
    names = ("workflow_id", "run_id", "state", "command", "field", "node_id", "event", "parent_workflow_id")
    metadata = {name: str(value) for name in names if (value := getattr(error, name, None))}
    if isinstance(error, errors.InvalidWorkflow):
        metadata["faults"] = str(len(error.faults))
    return metadata


def _bad_request(faults: list[errors.Fault] | tuple[errors.Fault, ...]) -> error_details_pb2.BadRequest:
    request = error_details_pb2.BadRequest()
    for fault in faults:
        path, message = _clip(fault.path), _clip(fault.message)
        violation = request.field_violations.add(field=path, description=message, reason=fault.code)
        if request.ByteSize() > MAX_DETAILS_BYTES and len(request.field_violations) > 1:
            request.field_violations.remove(violation)
            break
    return request


def _clip(text: str) -> str:
    encoded = text.encode()
    if len(encoded) <= MAX_TEXT_BYTES:
        return text
    return encoded[: MAX_TEXT_BYTES - 3].decode(errors="ignore") + "…"
