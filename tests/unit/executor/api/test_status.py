"""Facts about the status that each error becomes, and about checking what requests say."""

import inspect

import grpc
import pytest
from google.rpc import error_details_pb2
from hypothesis import given
from hypothesis import strategies as st

from weftline_executor import errors
from weftline_executor.api import requests
from weftline_executor.api.status import MAX_DETAILS_BYTES, STATUS_CODES, status_of
from weftline_executor.errors import Fault, InvalidArgument, InvalidWorkflow

# These end the start of the process, or mean that the executor itself is at fault; no call can be answered with them
# but by INTERNAL.
NOT_ANSWERS = {
    errors.ExecutorError,
    errors.StoreError,
    errors.StoreLocked,
    errors.StoreUnusable,
    errors.StaleWriter,
    errors.BatchRefused,
    errors.ArtifactError,
    errors.ArtifactsUnusable,
    errors.IllegalTransition,
    errors.SettingInvalid,
}


def all_errors() -> set[type[errors.ExecutorError]]:
    """Every error of the executor."""
    classes = [value for _, value in inspect.getmembers(errors, inspect.isclass)]
    return {found for found in classes if issubclass(found, errors.ExecutorError)}


def details_of(error: errors.ExecutorError) -> tuple[error_details_pb2.ErrorInfo, error_details_pb2.BadRequest, bool]:
    """The details of an error's status, and whether it says when to try again."""
    info, request, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), False
    for detail in status_of(error).details:
        retry = retry or detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR)
        if not detail.Unpack(info):
            detail.Unpack(request)
    return info, request, retry


def test_every_error_that_can_reach_a_client_has_a_status() -> None:
    assert set(STATUS_CODES) == all_errors() - NOT_ANSWERS


def test_every_error_has_a_code_of_its_own() -> None:
    codes = [error.code for error in all_errors()]
    assert len(codes) == len(set(codes))


def test_an_error_that_no_client_should_see_is_internal() -> None:
    assert status_of(errors.StaleWriter("w", 3)).code == grpc.StatusCode.INTERNAL.value[0]


def test_an_error_names_itself_and_what_it_is_about() -> None:
    info, _, retry = details_of(errors.IllegalCommand("pause", "w", "success"))
    assert (info.reason, info.domain) == ("illegal_state", "weftline")
    assert dict(info.metadata) == {"command": "pause", "workflow_id": "w", "state": "success"}
    assert not retry


@pytest.mark.parametrize("error", [errors.ExecutorFull(3), errors.ShuttingDown(), errors.StoreUnavailable("full")])
def test_what_may_work_later_says_when_to_try_again(error: errors.ExecutorError) -> None:
    assert details_of(error)[2]


def test_a_bad_argument_names_its_field() -> None:
    info, request, _ = details_of(InvalidArgument("page_size", "expected 0 to 1000, got 1001"))
    assert [(v.field, v.reason, v.description) for v in request.field_violations] == [
        ("page_size", "invalid_argument", "expected 0 to 1000, got 1001")
    ]
    assert dict(info.metadata) == {"field": "page_size"}


def test_a_bad_workflow_names_its_faults_as_far_as_there_is_room_and_how_many_there_are() -> None:
    few = [Fault("nodes[0]", "cycle", "a → a", "a"), Fault("nodes[1].type", "unknown_node_type", "no")]
    info, request, _ = details_of(InvalidWorkflow(few))
    assert [(v.field, v.reason, v.description) for v in request.field_violations] == [
        ("nodes[0]", "cycle", "a → a"),
        ("nodes[1].type", "unknown_node_type", "no"),
    ]
    many = [Fault(f"nodes[{at}]", "cycle", "x" * 100) for at in range(1000)]
    info, request, _ = details_of(InvalidWorkflow(many))
    assert 10 < len(request.field_violations) < 1000
    assert request.ByteSize() <= MAX_DETAILS_BYTES
    assert info.metadata["faults"] == "1000"


@given(st.lists(st.builds(Fault, st.text(), st.just("cycle"), st.text().map(lambda text: text * 100)), min_size=1))
def test_a_status_fits_into_trailing_metadata(faults: list[Fault]) -> None:
    status = status_of(InvalidWorkflow(faults))
    # In base64, and once more as text in which each byte may take three.
    assert 4 * len(status.SerializeToString()) / 3 + 3 * len(status.message.encode()) < 8192


@pytest.mark.parametrize("value", ["a", "A.b_c:d-9", "x" * 128])
def test_a_workflow_id_is_given_back(value: str) -> None:
    assert requests.check_id("workflow_id", value) == value


@pytest.mark.parametrize("value", ["", "a b", "a/b", "ä", "a\n", "x" * 129])
def test_what_is_no_workflow_id_is_refused(value: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        requests.check_id("workflow_id", value)
    assert caught.value.field == "workflow_id"


def test_a_text_may_be_as_long_as_its_limit() -> None:
    assert requests.check_length("by", "ää", 2) == "ää"
    with pytest.raises(InvalidArgument, match="by: expected at most 2 characters, got 3"):
        requests.check_length("by", "abc", 2)


def test_a_page_has_a_size_of_fifty_unless_another_is_wanted() -> None:
    assert [requests.page_size(value) for value in (0, 1, 1000)] == [50, 1, 1000]
    for value in (-1, 1001):
        with pytest.raises(InvalidArgument):
            requests.page_size(value)


@given(st.integers(0, 1 << 62), st.text(max_size=36))
def test_a_token_gives_its_place_back(number: int, text: str) -> None:
    assert requests.read_started_token(requests.write_token(number, text)) == (number, text)
    assert requests.read_seq_token(requests.write_token(number)) == number


def test_no_token_is_no_place() -> None:
    assert (requests.read_started_token(""), requests.read_seq_token("")) == (None, None)


@given(st.text(min_size=1) | st.sampled_from(["W10=", requests.write_token("x"), requests.write_token(1 << 70)]))
def test_what_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        requests.read_seq_token(token)
    assert caught.value.field == "page_token"
