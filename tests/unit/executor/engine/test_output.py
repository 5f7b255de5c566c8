"""Facts about what nodes print in worker processes: it is logged by the line, bounded, and without secrets."""

import logging

import pytest

from weftline_executor.engine.output import MAX_BYTES, OutputLog
from weftline_executor.nodes import SecretSession


@pytest.fixture
def output(caplog: pytest.LogCaptureFixture) -> OutputLog:
    caplog.set_level(logging.INFO)
    return OutputLog("worker 1")


def test_lines_are_logged_when_they_are_complete(output: OutputLog, caplog: pytest.LogCaptureFixture) -> None:
    output.take(b"one\ntw")
    assert caplog.messages == ["worker 1: one"]
    output.take(b"o\n\n \xff\n")
    output.take(b"rest")
    output.close()
    assert caplog.messages == ["worker 1: one", "worker 1: two", "worker 1:  \ufffd", "worker 1: rest"]


def test_secrets_are_taken_out_also_of_an_earlier_attempt_and_over_lines(
    output: OutputLog, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = SecretSession({"A": "first-secret"}), SecretSession({"B": "second\nsecret"})
    output.attend(first)
    assert first["A"] + second["B"] == "first-secretsecond\nsecret"
    output.attend(second)
    output.take(b"it is first-secret and second\nsecret.\n")
    assert caplog.messages == ["worker 1: it is *** and ***."]


def test_of_one_attempt_only_so_much_is_logged(output: OutputLog, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(100):
        output.take(b"x" * 9_999 + b"\n")
    shown = sum(len(message) for message in caplog.messages if "xxx" in message)
    assert MAX_BYTES * 0.9 < shown < MAX_BYTES * 1.1
    assert caplog.messages[-1] == f"worker 1 prints more than {MAX_BYTES} bytes, of which the rest is left out"
    output.attend(SecretSession({}))
    output.take(b"again\n")
    assert caplog.messages[-1] == "worker 1: again"
