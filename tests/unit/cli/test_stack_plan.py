"""A stack's plan becomes the environment of its services, and its faults are named before anything starts."""

import socket
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weftline_cli.address import Address
from weftline_cli.errors import UsageError
from weftline_cli.stack.logs import MAX_LINE_BYTES, LineCutter, is_serious
from weftline_cli.stack.plan import StackPlan, unusable_listener

PLAN = StackPlan(
    data_dir=Path("/data"),
    executor=Address("0.0.0.0", 1001),
    executor_metrics=Address("127.0.0.1", 1002),
    bridge=Address("::1", 1003),
    bridge_metrics=Address("127.0.0.1", 1004),
    nodes=("one", "two"),
)


@pytest.mark.parametrize("text", ["127.0.0.1:8080", "localhost:1", "[::1]:65535"])
def test_an_address_is_written_as_it_was_read(text: str) -> None:
    assert str(Address.parse(text, "--x")) == text


@pytest.mark.parametrize("text", ["", "8080", ":8080", "host:", "host:0", "host:65536", "host:x"])
def test_what_is_no_address_is_bad_usage_and_names_the_option(text: str) -> None:
    with pytest.raises(UsageError, match="--bridge-listen takes HOST:PORT"):
        Address.parse(text, "--bridge-listen")


def test_a_service_that_listens_everywhere_is_dialled_at_the_loopback() -> None:
    assert str(Address("0.0.0.0", 7).dial) == "127.0.0.1:7"
    assert str(Address("::", 7).dial) == "[::1]:7"
    assert str(Address("host", 7).dial) == "host:7"


def test_the_services_are_told_by_their_environment_and_the_plan_goes_before_what_is_inherited() -> None:
    inherited = {"PATH": "/bin", "WEFTLINE_EXECUTOR_LISTEN": "other:1"}
    assert PLAN.executor_environment(inherited) == {
        "PATH": "/bin",
        "WEFTLINE_EXECUTOR_LISTEN": "0.0.0.0:1001",
        "WEFTLINE_EXECUTOR_METRICS_LISTEN": "127.0.0.1:1002",
        "WEFTLINE_EXECUTOR_DATA_DIR": "/data",
        "WEFTLINE_EXECUTOR_NODES": "one,two",
    }
    assert PLAN.bridge_environment({}) == {
        "WEFTLINE_BRIDGE_LISTEN": "[::1]:1003",
        "WEFTLINE_BRIDGE_METRICS_LISTEN": "127.0.0.1:1004",
        "WEFTLINE_BRIDGE_EXECUTOR": "127.0.0.1:1001",
    }


def test_without_modules_those_of_the_inherited_environment_stay() -> None:
    environment = replace(PLAN, nodes=()).executor_environment({"WEFTLINE_EXECUTOR_NODES": "mine"})
    assert environment["WEFTLINE_EXECUTOR_NODES"] == "mine"


@pytest.mark.parametrize(
    ("host", "words"), [("no-such-host.invalid", "names no host that is known"), ("192.0.2.1", "can't be listened on")]
)
def test_an_address_that_cannot_be_listened_on_is_named_with_its_option(host: str, words: str) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = Address("127.0.0.1", probe.getsockname()[1])
    problem = unusable_listener(replace(PLAN, executor=free, executor_metrics=Address(host, 1002)))
    assert problem is not None
    assert words in str(problem)
    assert problem.code == "address_unusable"
    assert "--executor-metrics" in str(problem)


@given(st.lists(st.binary(max_size=50), max_size=10))
def test_lines_are_the_same_however_the_bytes_arrive(chunks: list[bytes]) -> None:
    cutter = LineCutter()
    lines = [line for chunk in chunks for line in cutter.feed(chunk)] + cutter.end()
    whole = b"".join(chunks)
    expected = [line.decode("utf-8", "replace").rstrip("\r") for line in whole.split(b"\n")]
    assert lines == (expected if not whole.endswith(b"\n") and whole else expected[:-1])


def test_a_line_without_an_end_does_not_grow_for_ever() -> None:
    cutter = LineCutter()
    assert [len(line) for line in cutter.feed(b"x" * (2 * MAX_LINE_BYTES + 1))] == [MAX_LINE_BYTES, MAX_LINE_BYTES]
    assert cutter.end() == ["x"]


@pytest.mark.parametrize(
    ("line", "serious"),
    [
        ("2026-11-22 10:03:24,067 WARNING  weftline_executor: the disk is full", True),
        ('{"level": "error", "message": "x"}', True),
        ("2026-11-22T10:03:29Z INFO    weftline_bridge: ending: 0 errors", False),
        ("INFO handled an error", False),
        ("  File x, line 3, in y", False),
    ],
)
def test_serious_lines_are_known_by_the_level_at_their_beginning(line: str, serious: bool) -> None:
    assert is_serious(line) is serious
