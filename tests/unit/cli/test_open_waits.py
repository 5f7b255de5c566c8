"""An open wait says what for, until when, and which command ends it; what others wrote in it is harmless."""

import shlex
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.cli import events as make
from weftline.v1 import events_pb2 as ev
from weftline_cli.open_waits import OpenWait
from weftline_cli.view import RunView

PENDING = ev.NODE_STATUS_PENDING


def wait_of(**fields: Any) -> OpenWait:
    found = OpenWait.of(ev.NodeTransition(**{"node_id": "ask", "status": PENDING, **fields}))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"reason": "approval"}, "waits for approval"),
        ({"reason": "approval", "data_json": '{"message":"Send\\nit?"}'}, "waits for approval: Send it?"),
        ({"reason": "approval", "data_json": '"Send it?"'}, "waits for approval: Send it?"),
        ({"reason": "approval", "data_json": '{"message": 5}'}, "waits for approval"),
        ({"reason": "approval", "data_json": "[1]"}, "waits for approval"),
        ({"reason": "event", "data_json": '{"event":"paid"}'}, "waits for event paid"),
        ({"reason": "event", "data_json": '{"event":"paid","message":"\\u001b[2J"}'}, "waits for event paid: �[2J"),
        ({"reason": "event"}, "waits for event"),
    ],
)
def test_a_wait_says_what_for(fields: dict[str, Any], words: str) -> None:
    assert wait_of(**fields).words() == words


def test_a_wait_says_until_when() -> None:
    assert wait_of(reason="approval", due_ms=make.BEGAN_MS).words().startswith("waits for approval, until 2023-11-1")


def test_a_wait_says_which_command_ends_it() -> None:
    assert wait_of(reason="approval").advice("demo") == (
        "weftline complete demo ask approves it; with --reject it is rejected."
    )
    assert wait_of(reason="event", data_json='{"event":"paid"}').advice("demo") == (
        "weftline complete demo --event paid tells all nodes that wait for it; "
        "weftline complete demo ask only this one."
    )


@given(st.text(alphabet=st.characters(codec="utf-8"), min_size=1))
def test_the_command_is_safe_to_type_whatever_the_node_is_called(node_id: str) -> None:
    advice = wait_of(reason="approval", node_id=node_id).advice("demo")
    words = shlex.split(advice.removesuffix(" approves it; with --reject it is rejected."))
    assert words[:3] == ["weftline", "complete", "demo"]
    assert len(words) == 4


@pytest.mark.parametrize(
    ("status", "reason"),
    [(PENDING, "retry"), (PENDING, ""), (ev.NODE_STATUS_SUCCESS, "approval"), (ev.NODE_STATUS_RUNNING, "event")],
)
def test_nothing_else_is_an_open_wait(status: ev.NodeStatus.ValueType, reason: str) -> None:
    assert OpenWait.of(ev.NodeTransition(node_id="a", status=status, reason=reason)) is None


def test_the_view_knows_the_open_waits_and_who_ended_them() -> None:
    view = RunView()
    view.apply(make.started(1, "ask", "b"), make.BEGAN_MS)
    view.apply(make.node(2, "ask", PENDING, reason="approval"), make.BEGAN_MS)
    assert list(view.open_waits) == ["ask"]
    view.apply(make.node(3, "ask", ev.NODE_STATUS_SUCCESS, reason="completed", by="ada"), make.BEGAN_MS)
    assert (view.open_waits, view.nodes["ask"].by, view.finished) == ({}, "ada", 1)


def test_a_retry_takes_a_success_back_and_an_empty_map_skips_a_running_node() -> None:
    view = RunView()
    view.apply(make.started(1, "a", "b"), make.BEGAN_MS)
    view.apply(make.node(2, "a", ev.NODE_STATUS_SUCCESS, duration_ms=5), make.BEGAN_MS)
    view.apply(make.node(3, "b", ev.NODE_STATUS_RUNNING), make.BEGAN_MS)
    view.apply(make.node(4, "a", PENDING, reason="reset"), make.BEGAN_MS)
    view.apply(make.node(5, "b", ev.NODE_STATUS_SKIPPED, reason="empty_map"), make.BEGAN_MS)
    assert (view.finished, view.counts[PENDING], view.nodes["a"].duration_ms, view.running) == (1, 1, None, {})


def test_the_end_of_a_run_ends_its_waits() -> None:
    view = RunView()
    view.apply(make.started(1, "ask"), make.BEGAN_MS)
    view.apply(make.node(2, "ask", PENDING, reason="approval"), make.BEGAN_MS)
    view.apply(make.completed(3, status=ev.RUN_STATE_STOPPED), make.BEGAN_MS)
    assert view.open_waits == {}
