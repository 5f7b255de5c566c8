"""A bookmark asks for what comes next, and lets nothing through twice or with a hole."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.cli import events as make
from weftline.v1 import events_pb2 as ev
from weftline.v1 import workflow_service_pb2 as ws
from weftline_cli.bookmark import Bookmark, WatchPlan
from weftline_cli.cursor import GapError

CURSOR = WatchPlan(make.WORKFLOW, ws.WATCH_FROM_CURSOR, make.EPOCH, 4)


def numbered(*seqs: int) -> list[ev.Event]:
    return [make.log(seq, str(seq)) for seq in seqs]


def test_it_asks_for_what_comes_after_its_cursor() -> None:
    request = Bookmark(CURSOR).request()
    assert request.start_from == ws.WATCH_FROM_CURSOR
    assert request.cursor == ws.Cursor(epoch=make.EPOCH, seq=4)


def test_what_came_before_is_let_through_once_only() -> None:
    bookmark = Bookmark(CURSOR)
    assert [event.seq for event in bookmark.accept(numbered(3, 4, 5), 0)] == [5]
    assert [event.seq for event in bookmark.accept(numbered(4, 5, 6), 0)] == [6]
    assert bookmark.request().cursor.seq == 6


def test_telemetry_passes_without_moving_the_place() -> None:
    bookmark = Bookmark(CURSOR)
    assert len(bookmark.accept([make.node_progress("a", 0.5)], 0)) == 1
    assert bookmark.seq == 4


def test_a_hole_is_refused_and_the_place_before_it_is_kept() -> None:
    bookmark = Bookmark(CURSOR)
    with pytest.raises(GapError) as caught:
        bookmark.accept(numbered(5, 7), 0)
    assert (caught.value.expected, caught.value.found) == (6, 7)
    assert bookmark.request().cursor.seq == 4


@given(st.lists(st.integers(min_value=1, max_value=30), max_size=12))
def test_whatever_is_repeated_each_event_comes_once_and_in_order(breaks: list[int]) -> None:
    """Every break goes back to where the executor would resume, or further."""
    bookmark = Bookmark(WatchPlan(make.WORKFLOW, ws.WATCH_FROM_CURSOR, make.EPOCH, 0))
    seen: list[int] = []
    for size in [*breaks, 30]:
        first = max(1, bookmark.request().cursor.seq - 2)
        seen += [event.seq for event in bookmark.accept(numbered(*range(first, min(first + size, 31))), 0)]
    assert seen == list(range(1, len(seen) + 1))


def test_a_snapshot_is_asked_for_until_one_came_and_then_what_follows_it() -> None:
    bookmark = Bookmark(WatchPlan(make.WORKFLOW))
    bookmark.created(ws.WatchCreated(epoch=make.EPOCH, seq=9))
    assert bookmark.request().start_from == ws.WATCH_FROM_SNAPSHOT
    bookmark.snapshot(make.snapshot(9), 0)
    assert bookmark.request().cursor == ws.Cursor(epoch=make.EPOCH, seq=9)


def test_a_watch_from_now_goes_on_from_where_it_was_bound() -> None:
    bookmark = Bookmark(WatchPlan(make.WORKFLOW, ws.WATCH_FROM_NOW))
    bookmark.created(ws.WatchCreated(epoch=make.EPOCH, seq=9))
    assert bookmark.request().cursor == ws.Cursor(epoch=make.EPOCH, seq=9)


def test_a_workflow_without_a_run_is_watched_from_its_first_event() -> None:
    bookmark = Bookmark(WatchPlan(make.WORKFLOW))
    bookmark.created(ws.WatchCreated(epoch=make.EPOCH, seq=0))
    assert [event.seq for event in bookmark.accept(numbered(1, 2), 0)] == [1, 2]


def test_a_compacted_place_is_given_up_for_a_snapshot_of_the_new_log() -> None:
    bookmark = Bookmark(CURSOR)
    bookmark.compacted()
    assert bookmark.request().start_from == ws.WATCH_FROM_SNAPSHOT
    fresh = make.snapshot(2)
    fresh.epoch = "epoch-2"
    bookmark.snapshot(fresh, 0)
    assert bookmark.request().cursor == ws.Cursor(epoch="epoch-2", seq=2)


def test_a_watch_of_all_goes_on_after_the_last_commit() -> None:
    bookmark = Bookmark(WatchPlan())
    bookmark.created(ws.WatchCreated(epoch=make.EPOCH, commit=7))
    assert bookmark.request().start_from == ws.WATCH_FROM_SNAPSHOT
    assert len(bookmark.accept(numbered(3, 9), 8)) == 2
    assert bookmark.request().position == ws.Position(epoch=make.EPOCH, commit=8)
    bookmark.accept([make.node_progress("a", 0.5)], 0)
    assert bookmark.request().position.commit == 8
    bookmark.heartbeat(ws.WatchHeartbeat(epoch=make.EPOCH, commit=11))
    assert bookmark.request().position.commit == 11
