"""A session over the bridge asks for what comes next, and takes every durable event once, or a word for why not."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.cli import events as make
from tests.unit.cli.bridge_messages import (
    Json,
    answered,
    ended,
    gap,
    heartbeat,
    log,
    said,
    seqs,
    state,
    status,
    subscribed,
)
from weftline.v1 import workflow_service_pb2 as ws
from weftline_cli.bookmark import WatchPlan
from weftline_cli.bridge_watch.session import MAX_HELD, MAX_KNOWN, MAX_RESUMED, BridgeSession
from weftline_cli.cursor import Cursor, GapError, OrderError, RepeatError
from weftline_cli.errors import BadArgumentError, BridgeUnavailableError, CliError, RefusedError
from weftline_cli.items import (
    Arrived,
    Connected,
    ExecutorAway,
    Item,
    Replaced,
    Restated,
    Served,
    Skipped,
    Unresumed,
)

ONE = WatchPlan(make.WORKFLOW)
ALL = WatchPlan()
NOW = WatchPlan(make.WORKFLOW, ws.WATCH_FROM_NOW)
PAST = WatchPlan(make.WORKFLOW, ws.WATCH_FROM_CURSOR, make.EPOCH, 0)


def session(plan: WatchPlan = ONE) -> BridgeSession:
    return BridgeSession(plan, "ws://there/")


def take(found: BridgeSession, *messages: Json) -> list[Item]:
    return list(found.take(list(messages)))


def begun(plan: WatchPlan, *messages: Json) -> BridgeSession:
    """A session on its first connection, which began with this."""
    found = session(plan)
    again(found, *messages)
    return found


def again(found: BridgeSession, *messages: Json) -> list[Item]:
    """What a session brings on a new connection that begins with this."""
    return take(found, *messages, answered(found.connected()))


def asked(found: BridgeSession) -> dict[str, Json]:
    """What is asked for on a new connection, by workflow."""
    wanted = [message for message in found.connected() if message["type"] == "workflow.subscribe"]
    return {message["workflowId"]: message["payload"] for message in wanted}


class TestOneWorkflow:
    def test_the_state_is_asked_for_until_it_came_and_then_what_follows_it(self) -> None:
        found = session()
        assert asked(found) == {make.WORKFLOW: {"telemetry": True}}
        items = again(found, subscribed("snapshot", 9), state(9)) + take(found, log(10))
        assert [type(item) for item in items] == [Connected, Replaced, Arrived]
        assert asked(found)[make.WORKFLOW]["cursor"] == {"epoch": make.EPOCH, "seq": 10}

    def test_an_answer_without_its_state_moves_nothing(self) -> None:
        found = begun(ONE, subscribed("snapshot", 9))
        assert "cursor" not in asked(found)[make.WORKFLOW]

    def test_an_older_state_comes_with_the_events_since_then(self) -> None:
        items = again(session(), subscribed("snapshot", 9), state(9), log(10), log(11))
        replaced = items[-1]
        assert isinstance(replaced, Replaced)
        assert [event.seq for event in replaced.since] == [10, 11]
        assert seqs(items) == []

    def test_a_state_that_was_cut_off_from_the_events_since_then_is_asked_for_again(self) -> None:
        found = session()
        found.connected()
        assert take(found, subscribed("snapshot", 9), state(9), log(10)) == [Connected(exists=True)]
        assert "cursor" not in asked(found)[make.WORKFLOW]

    def test_no_more_events_are_held_back_than_there_is_room_for(self) -> None:
        found = session()
        found.connected()
        items = take(found, subscribed("snapshot", 9), state(9), *(log(10 + n) for n in range(MAX_HELD + 1)))
        assert [type(item) for item in items] == [Connected, Replaced, Arrived]

    def test_a_cursor_is_resumed(self) -> None:
        found = session(WatchPlan(make.WORKFLOW, ws.WATCH_FROM_CURSOR, make.EPOCH, 4, telemetry=False))
        assert asked(found) == {make.WORKFLOW: {"telemetry": False, "cursor": {"epoch": make.EPOCH, "seq": 4}}}
        assert seqs(take(found, subscribed("resumed", 4), log(5), log(6))) == [5, 6]

    def test_a_workflow_without_a_run_is_waited_for_from_its_first_event(self) -> None:
        found = session(NOW)
        assert again(found, subscribed("gone", 0)) == [Connected(exists=False)]
        assert seqs(take(found, log(1))) == [1]

    def test_from_now_what_the_bridge_begins_with_is_not_shown_but_a_later_state_is(self) -> None:
        found = session(NOW)
        assert again(found, subscribed("snapshot", 9), state(9), log(10)) == [Connected(exists=True)]
        assert seqs(take(found, log(11))) == [11]
        later = take(found, subscribed("snapshot", 20, why="slow_client"), state(20))
        assert [type(item) for item in later] == [Connected, Restated, Replaced]

    def test_from_now_what_came_during_a_break_is_shown(self) -> None:
        found = begun(NOW, subscribed("snapshot", 9), state(9))
        assert seqs(again(found, subscribed("resumed", 9), log(10))) == [10]

    def test_another_log_is_told_by_its_state_and_followed_from_there(self) -> None:
        found = begun(ONE, subscribed("snapshot", 9), state(9))
        items = take(found, subscribed("snapshot", 2, epoch="epoch-2", why="wrong_epoch"), state(2, epoch="epoch-2"))
        assert Restated(make.WORKFLOW, "wrong_epoch") in items
        assert asked(found)[make.WORKFLOW]["cursor"] == {"epoch": "epoch-2", "seq": 2}

    def test_a_gap_moves_the_place_and_is_told(self) -> None:
        found = begun(PAST, subscribed("resumed", 0), log(1))
        items = take(found, gap(2, 4), log(5))
        assert items[0] == Skipped(make.WORKFLOW, 2, 4, {"execution.log": 3}, "slow_client")
        assert found.cursor(make.WORKFLOW) == Cursor(make.EPOCH, 5)

    def test_a_gap_after_a_hole_is_a_hole(self) -> None:
        found = begun(PAST, subscribed("resumed", 0), log(1))
        with pytest.raises(GapError, match="expected seq 2, got 3"):
            take(found, gap(3, 4))

    @pytest.mark.parametrize(("seq", "error"), [(3, GapError), (1, RepeatError)])
    def test_a_hole_and_a_repetition_are_named_and_what_came_before_is_kept(self, seq: int, error: type) -> None:
        found = begun(PAST, subscribed("resumed", 0))
        with pytest.raises(error):
            take(found, log(1), log(seq))
        assert found.cursor(make.WORKFLOW) == Cursor(make.EPOCH, 1)

    def test_what_came_before_a_hole_in_the_same_frame_is_shown(self) -> None:
        found = begun(PAST, subscribed("resumed", 0))
        items = found.take([log(1), log(3)])
        assert seqs([next(items)]) == [1]
        with pytest.raises(GapError):
            next(items)

    def test_a_lost_tail_shows_in_the_heartbeat(self) -> None:
        found = begun(PAST, subscribed("resumed", 0), log(1), heartbeat(demo=1))
        with pytest.raises(GapError, match="expected seq 2, got 4"):
            take(found, heartbeat(demo=4))

    def test_a_heartbeat_of_another_log_proves_nothing(self) -> None:
        found = begun(PAST, subscribed("resumed", 0), log(1))
        other = heartbeat(demo=40)
        other["payload"]["epoch"] = "epoch-2"
        assert take(found, other) == [Arrived(())]

    def test_the_past_is_done_at_the_head(self) -> None:
        plan = WatchPlan(make.WORKFLOW, ws.WATCH_FROM_CURSOR, make.EPOCH, 0, until_head=True, head=2)
        found = begun(plan, subscribed("resumed", 0), log(1))
        assert not found.done
        take(found, log(2))
        assert found.done

    def test_a_resumption_from_another_place_is_refused(self) -> None:
        found = session(PAST)
        found.connected()
        with pytest.raises(BridgeUnavailableError, match="another place"):
            take(found, subscribed("resumed", 3))


class TestWordsAboutTheWatch:
    def test_telemetry_comes_without_moving_the_place(self) -> None:
        found = begun(PAST, subscribed("resumed", 0))
        tick = {k: v for k, v in log(0).items() if k != "seq"} | {
            "type": "node.running",
            "payload": {"nodeId": "a", "status": "running", "attempt": 1, "progress": 0.5},
        }
        (item,) = take(found, tick)
        assert isinstance(item, Arrived)
        assert item.events[0].node.progress == 0.5

    def test_how_the_watch_is_served_is_told_when_it_changes(self) -> None:
        found = begun(ONE)
        modes = [said("delivery.state", {"mode": mode, "lagMs": 350}) for mode in ("normal", "shedding", "shedding")]
        assert take(found, *modes) == [Served("shedding", 350)]

    def test_a_lost_executor_is_told_once_and_its_return_too_over_connections(self) -> None:
        found = begun(ONE)
        assert take(found, status("reconnecting"))[0] == ExecutorAway(away=True)
        found.connected()
        assert take(found, status("reconnecting"), status())[:1] == [ExecutorAway(away=False)]

    def test_only_a_later_status_shows_that_the_connection_holds(self) -> None:
        found = begun(ONE)
        assert take(found, status()) == []
        assert take(found, status()) == [Arrived(())]

    def test_advice_to_come_back_is_kept_until_the_next_connection(self) -> None:
        found = begun(ONE, said("connection.draining", {"reconnectAfterMs": 2710}))
        assert found.advice_s == 2.71
        found.connected()
        assert found.advice_s is None

    def test_silence_is_measured_by_what_the_bridge_promises(self) -> None:
        found = begun(ONE, said("connection.ready", {"heartbeatInterval": 25000, "heartbeatTimeout": 8000}))
        assert found.silence_s == 33.0

    def test_what_is_not_known_is_passed_over(self) -> None:
        assert take(begun(ONE), said("workflow.forecast", {"rain": 1}), said("command.accepted", {})) == []

    def test_a_durable_event_of_a_type_that_is_not_known_keeps_its_place(self) -> None:
        found = begun(PAST, subscribed("resumed", 0))
        assert seqs(take(found, {**log(1), "type": "node.dreaming"}, log(2))) == [1, 2]

    @pytest.mark.parametrize(
        ("code", "error"),
        [
            ("executor_unavailable", BridgeUnavailableError),
            ("forbidden", RefusedError),
            ("unauthenticated", RefusedError),
            ("too_many_subscriptions", RefusedError),
            ("bad_workflow_id", BadArgumentError),
        ],
    )
    def test_what_is_rejected_has_a_name(self, code: str, error: type[CliError]) -> None:
        with pytest.raises(error) as caught:
            take(begun(ONE), said("command.rejected", {"commandId": "watch-1", "code": code, "message": "no"}))
        assert code in json.dumps([str(caught.value), dict(caught.value.data())]) or error is BadArgumentError


class TestAllWorkflows:
    def test_they_are_asked_for_together_and_known_ones_by_their_cursor(self) -> None:
        found = session(ALL)
        assert asked(found) == {"*": {"telemetry": True}}
        items = take(found, subscribed("snapshot", 0, workflow="*"), state(4, workflow="one"), log(7, "two"))
        assert [type(item) for item in items] == [Connected, Replaced, Arrived]
        again = asked(found)
        assert again["one"]["cursor"] == {"epoch": make.EPOCH, "seq": 4}
        assert again["two"]["cursor"] == {"epoch": make.EPOCH, "seq": 7}
        assert list(again)[-1] == "*"

    def test_each_has_an_order_of_its_own(self) -> None:
        found = begun(ALL, subscribed("snapshot", 0, workflow="*"), log(7, "one"), log(1, "two"))
        with pytest.raises(GapError):
            take(found, log(8, "one"), log(3, "two"))

    def test_active_ones_are_resumed_first_and_more_than_can_be_are_counted(self) -> None:
        found = begun(ALL, subscribed("snapshot", 0, workflow="*"))
        take(found, *(log(1, f"active-{n}") for n in range(MAX_RESUMED + 2)), ended(1, "over"))
        named = [name for name in asked(found) if name != "*"]
        assert len(named) == MAX_RESUMED
        assert "over" not in named
        assert Unresumed(2) in take(found, subscribed("snapshot", 0, workflow="*"))

    def test_what_is_not_resumed_begins_where_it_begins(self) -> None:
        found = begun(ALL, subscribed("snapshot", 0, workflow="*"))
        take(found, *(log(1, f"w-{n}") for n in range(MAX_RESUMED + 1)))
        found.connected()
        assert seqs(take(found, subscribed("snapshot", 0, workflow="*"), log(9, "w-0"))) == [9]

    def test_from_now_only_what_began_meanwhile_is_shown_by_its_state(self) -> None:
        found = session(WatchPlan(start=ws.WATCH_FROM_NOW))
        everything = subscribed("snapshot", 0, workflow="*")
        assert again(found, everything, state(4, workflow="one"), log(5, "one")) == [Connected(exists=True)]
        items = again(found, everything, state(3, workflow="new"))
        assert [type(item) for item in items] == [Connected, Replaced]

    def test_what_is_remembered_is_bounded(self) -> None:
        found = begun(ALL, subscribed("snapshot", 0, workflow="*"))
        take(found, *(log(1, f"w-{n}") for n in range(MAX_KNOWN + 5)))
        assert found.cursor("w-4") is None
        assert found.cursor("w-5") is not None


KEYS = [
    *("id", "type", "timestamp", "workflowId", "runId", "seq", "payload", "epoch", "outcome", "reason", "heads"),
    *("nodeId", "status", "attempt", "data", "from", "to", "dropped", "mode", "lagMs", "definition", "nodes"),
]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6),
        max_leaves=20,
    )
)
def test_whatever_comes_is_read_or_refused_by_name(frame: Any) -> None:
    found = begun(ONE)
    with contextlib.suppress(CliError, OrderError):
        list(found.take(frame))


@given(
    st.sampled_from(
        ["workflow.subscribed", "workflow.snapshot", "stream.gap", "heartbeat", "node.error", "workflow.start"]
    ),
    st.dictionaries(st.sampled_from(KEYS), st.none() | st.integers() | st.text(max_size=3), max_size=8),
)
def test_a_payload_of_another_shape_is_read_or_refused_by_name(kind: str, payload: Json) -> None:
    with contextlib.suppress(CliError, OrderError):
        take(begun(ONE), {**said(kind, payload, make.WORKFLOW), "seq": 1})
