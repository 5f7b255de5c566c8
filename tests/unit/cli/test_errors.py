"""Each error has one exit code, and what the executor says becomes the right error."""

import grpc
import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from weftline_cli import errors
from weftline_cli.errors import EXIT_CODES, CliError, ExitCode, exit_code
from weftline_cli.rpc_errors import DETAILS_KEY, RpcFailure, Violation, read_failure, translate

VIOLATION = Violation("nodes[0].type", "unknown_node_type", "there is no type x")


def failure(
    status: grpc.StatusCode, violations: tuple[Violation, ...] = (), reason: str = "", message: str = "it says no"
) -> RpcFailure:
    return RpcFailure(status, message, reason, violations)


def call_error(details: bytes | None) -> grpc.aio.AioRpcError:
    trailing = grpc.aio.Metadata((DETAILS_KEY, details)) if details is not None else grpc.aio.Metadata()
    return grpc.aio.AioRpcError(grpc.StatusCode.INVALID_ARGUMENT, grpc.aio.Metadata(), trailing, details="it says no")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.UsageError("x"), ExitCode.USAGE),
        (errors.BadArgumentError("x"), ExitCode.USAGE),
        (errors.InvalidWorkflowError("x", []), ExitCode.INVALID_WORKFLOW),
        (errors.BadInstanceError("x", "", "y"), ExitCode.INVALID_WORKFLOW),
        (errors.NotFoundError("x"), ExitCode.NOT_FOUND),
        (errors.RefusedError("x"), ExitCode.REFUSED),
        (errors.UnavailableError("x", "y"), ExitCode.UNAVAILABLE),
        (errors.ExecutorFaultError("x", "y"), ExitCode.FAILED),
        (errors.StackError("port_in_use", "x"), ExitCode.FAILED),
        (errors.InterruptedCommandError(), ExitCode.INTERRUPTED),
        (errors.InterruptedCommandError(terminated=True), ExitCode.TERMINATED),
    ],
)
def test_the_exit_code_of_an_error_is_that_of_its_nearest_class(error: CliError, code: ExitCode) -> None:
    assert exit_code(error) is code


def test_no_two_kinds_of_error_share_a_code_but_the_two_kinds_of_invalid_input() -> None:
    codes = [code for kind, code in EXIT_CODES.items() if kind is not errors.BadInstanceError]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (grpc.StatusCode.UNAVAILABLE, errors.UnavailableError),
        (grpc.StatusCode.DEADLINE_EXCEEDED, errors.UnavailableError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, errors.UnavailableError),
        (grpc.StatusCode.CANCELLED, errors.UnavailableError),
        (grpc.StatusCode.FAILED_PRECONDITION, errors.RefusedError),
        (grpc.StatusCode.ALREADY_EXISTS, errors.RefusedError),
        (grpc.StatusCode.UNIMPLEMENTED, errors.RefusedError),
        (grpc.StatusCode.INVALID_ARGUMENT, errors.BadArgumentError),
        (grpc.StatusCode.NOT_FOUND, errors.NotFoundError),
        (grpc.StatusCode.INTERNAL, errors.ExecutorFaultError),
        (grpc.StatusCode.UNKNOWN, errors.ExecutorFaultError),
    ],
)
def test_each_status_becomes_its_error(status: grpc.StatusCode, kind: type[CliError]) -> None:
    error = translate(failure(status), "host:1")
    assert type(error) is kind
    assert "it says no" in str(error).lower()
    assert str(error).endswith("no.") or kind is errors.BadArgumentError


def test_a_refusal_keeps_its_reason_and_a_bad_argument_its_fields() -> None:
    refused = translate(failure(grpc.StatusCode.ABORTED, reason="run_active"), "host:1")
    assert refused.data() == {"reason": "run_active"}
    bad = translate(failure(grpc.StatusCode.INVALID_ARGUMENT, (VIOLATION,)), "host:1")
    assert bad.data() == {"fields": [{"field": "nodes[0].type", "message": "there is no type x"}]}


def test_the_details_of_a_call_are_read() -> None:
    info = error_details_pb2.ErrorInfo(reason="invalid_workflow", domain="weftline")
    violation = error_details_pb2.BadRequest.FieldViolation(
        field=VIOLATION.path, description=VIOLATION.message, reason=VIOLATION.code
    )
    details = [any_pb2.Any(), any_pb2.Any()]
    details[0].Pack(info)
    details[1].Pack(error_details_pb2.BadRequest(field_violations=[violation]))
    status = status_pb2.Status(code=3, message="it says no", details=details)
    read = read_failure(call_error(status.SerializeToString()))
    assert read == failure(grpc.StatusCode.INVALID_ARGUMENT, (VIOLATION,), "invalid_workflow")


@pytest.mark.parametrize("details", [None, b"\xff\xff\xff", b""])
def test_details_that_are_missing_or_broken_leave_the_status(details: bytes | None) -> None:
    assert read_failure(call_error(details)) == failure(grpc.StatusCode.INVALID_ARGUMENT)
