"""What the port promises, over every adapter."""

from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Raw

from tests.unit.executor.store.batches import batch, end, line, put_run, seqs, start
from weftline_executor.errors import BatchRefused, StaleWriter
from weftline_executor.model import events as model
from weftline_executor.model.records import Batch, Command, CommandRecord, Head, Retention, RunRecord
from weftline_executor.model.states import LogLevel, PendingReason, RunState, SkipReason, SuccessReason
from weftline_executor.store import MemoryStore, SqliteStore, Store
from weftline_executor.store.batches import pieces

EVERY_EVENT: list[model.Event] = [
    model.RunStarted(1, 10, Raw(b'{"nodes": [ ],\n "x": 1e3}'), 3, "ada"),
    model.NodePending(2, 20, "a", 1, PendingReason.CONCURRENCY),
    model.NodeRunning(3, 30, "ä ✓", 2),
    model.NodeSucceeded(4, 40, "a", 1, 7, Raw(b"[1,null]"), "left"),
    model.NodeSucceeded(5, 50, "b", 1, 0, reason=SuccessReason.CACHED),
    model.NodeFailed(6, 60, "c", 1, 7, 'said "no"\n', "node_failed", Raw(b'{"status":500}')),
    model.NodeSkipped(7, 70, "d", SkipReason.UPSTREAM_FAILED),
    model.LogWritten(8, 80, LogLevel.WARN, "careful", "a", Raw(b'{"n":1}')),
    model.RunPaused(9, 90, RunState.PAUSING, "ada", ("a", "b"), "drain", "lunch"),
    model.RunResumed(10, 100, RunState.RUNNING, "bob"),
    model.RunStopping(11, 110, RunState.STOPPING, "ada", (), "graceful", "enough"),
    model.RunCompleted(12, 120, RunState.STOPPED, 110, 3, 1, 1, 1, Raw(b'{"out":1}')),
]


def told(found: list[Batch]) -> list[tuple[str, str, int, bytes]]:
    """Batches as far as they can be compared: raw JSON has no equality."""
    return [(each.workflow_id, each.run_id, each.commit, msgspec.json.encode(each.events)) for each in found]


async def test_a_new_log_is_empty(store: Store) -> None:
    assert store.epoch
    assert (store.last_commit, await store.compacted_commit()) == (0, 0)
    assert await store.head("w") == Head(0, 1)
    assert (await store.read("w", 0), await store.read_all(0)) == ([], [])
    assert await store.newest_run("w") is None
    assert (await store.runs("w", None, 10), await store.active_runs()) == ([], [])
    assert await store.workflows(frozenset(), "", None, 10, False) == []
    assert await store.find_command("w", "c") is None


async def test_every_event_comes_back_as_it_was_given(store: Store) -> None:
    stored = await store.append([batch("w", "r", *EVERY_EVENT)])
    found = await store.read("w", 0)
    assert told(found) == told(stored) == told(await store.read_all(0))
    assert msgspec.json.encode(found[0].events) == msgspec.json.encode(EVERY_EVENT)
    failed = model.RunFailed(13, 130, "it failed", "node_failed", "c", Raw(b"{}"))
    await store.append([batch("w", "r2", start(13)), batch("w", "r2", msgspec.structs.replace(failed, seq=14))])
    assert (await store.read("w", 13))[0].events[0].seq == 14


async def test_commits_are_numbered_in_the_order_of_the_batches(store: Store) -> None:
    first = await store.append([batch("a", "ra", start(1)), batch("b", "rb", start(1)), batch("a", "ra", line(2))])
    second = await store.append([batch("b", "rb", line(2), line(3))])
    assert [each.commit for each in (*first, *second)] == [1, 2, 3, 4]
    assert store.last_commit == 4
    assert all(each.commands == () for each in first)
    everything = await store.read_all(0)
    assert [(each.workflow_id, each.first_seq, each.last_seq, each.commit) for each in everything] == [
        *(("a", 1, 1, 1), ("b", 1, 1, 2), ("a", 2, 2, 3), ("b", 2, 3, 4)),
    ]
    assert [each.commit for each in await store.read_all(2)] == [3, 4]
    assert [each.commit for each in await store.read_all(1, limit=2)] == [2, 3]
    assert await store.read_all(4) == []


async def test_a_read_begins_right_after_its_cursor_also_within_a_batch(store: Store) -> None:
    await store.append([batch("w", "r", start(1), line(2)), batch("w", "r", line(3), line(4), line(5))])
    await store.append([batch("other", "o", start(1))])
    for after in range(7):
        assert await seqs(store, "w", after) == list(range(after + 1, 6))
    assert await seqs(store, "w", 0, limit=1) == [1, 2]
    assert await seqs(store, "w", 3, limit=1) == [4, 5]
    cut = (await store.read("w", 3))[0]
    assert (cut.commit, cut.run_id, cut.first_seq) == (2, "r", 4)


async def test_the_head_follows_what_is_appended(store: Store) -> None:
    await store.append([batch("w", "r", start(1), line(2))])
    assert await store.head("w") == Head(2, 1)
    await store.append([batch("w", "r", line(3))])
    assert await store.head("w") == Head(3, 1)


@pytest.mark.parametrize("first", [1, 2, 4, 9])
async def test_a_writer_that_lost_its_place_is_refused_and_nothing_of_its_append_is_kept(
    store: Store, first: int
) -> None:
    await store.append([batch("w", "r", start(1), line(2))])
    before = told(await store.read_all(0))
    stale = [batch("new", "n", start(1)), batch("w", "r", line(first), commands=[Command("c", "stop", first)])]
    with pytest.raises(StaleWriter) as caught:
        await store.append(stale)
    assert (caught.value.workflow_id, caught.value.expected) == ("w", first - 1)
    assert told(await store.read_all(0)) == before
    assert store.last_commit == 1
    assert (await store.head("new"), await store.newest_run("new")) == (Head(0, 1), None)
    assert await store.find_command("w", "c") is None
    assert [each.commit for each in await store.append([batch("w", "r", line(3)), batch("new", "n", start(1))])] == [
        2,
        3,
    ]


async def test_a_batch_may_follow_one_of_the_same_append(store: Store) -> None:
    with pytest.raises(StaleWriter):
        await store.append([batch("w", "r", start(1)), batch("w", "r", line(3))])
    await store.append([batch("w", "r", start(1)), batch("w", "r", line(2))])
    assert await seqs(store, "w") == [1, 2]


async def test_an_append_may_be_of_any_number_of_runs(store: Store) -> None:
    names = [f"w{number}" for number in range(201)]
    begun = [batch(name, f"{name}-r", start(1), commands=[Command("c", "start", 1)]) for name in names]
    large = [batch(name, f"{name}-r", line(2, "x" * 100_000)) for name in names[:3]]
    ended = [batch(name, f"{name}-r", line(2), end(3, 9)) for name in names[3:]]
    assert [each.commit for each in await store.append(begun)] == list(range(1, 202))
    assert [each.commit for each in await store.append([*large, *ended])] == list(range(202, 403))
    assert {run.workflow_id for run in await store.active_runs()} == set(names[:3])
    stale = [batch(name, f"{name}-r", line(4)) for name in names[3:]]
    with pytest.raises(StaleWriter) as caught:
        await store.append([*stale, batch("w1", "w1-r", line(2))])
    assert (caught.value.workflow_id, caught.value.expected) == ("w1", 1)
    for name in names:
        assert await seqs(store, name) == ([1, 2] if name in names[:3] else [1, 2, 3])
        assert await store.find_command(name, "c") == CommandRecord("start", f"{name}-r", 1)


async def test_a_run_is_recorded_from_its_start_to_its_end(store: Store) -> None:
    await store.append([batch("w", "r", start(1, at=5))])
    assert await store.newest_run("w") == RunRecord("w", "r", RunState.RUNNING, 1, 1, 5, None, 2)
    await store.append([batch("w", "r", model.RunPaused(2, 6, RunState.PAUSED), line(3))])
    assert await store.newest_run("w") == RunRecord("w", "r", RunState.PAUSED, 1, 3, 5, None, 2)
    changes = (model.RunResumed(4, 7, RunState.RUNNING), model.RunStopping(5, 8, RunState.STOPPING))
    await store.append([batch("w", "r", *changes)])
    assert await store.newest_run("w") == RunRecord("w", "r", RunState.STOPPING, 1, 5, 5, None, 2)
    assert await store.active_runs() == [await store.newest_run("w")]
    await store.append([batch("w", "r", model.RunCompleted(6, 9, RunState.STOPPED, 4, 2, 0, 0, 2, Raw(b"{}")))])
    assert await store.newest_run("w") == RunRecord("w", "r", RunState.STOPPED, 1, 6, 5, 9, 2)
    assert await store.active_runs() == []
    await store.append([batch("w", "r2", start(7, at=10), model.RunFailed(8, 11, "it failed", "x"))])
    assert await store.newest_run("w") == RunRecord("w", "r2", RunState.ERROR, 7, 8, 10, 11, 2)


async def test_runs_are_listed_newest_first_in_pages(store: Store) -> None:
    for number in range(5):
        await put_run(store, "w", f"r{number}")
    await put_run(store, "other", "o")
    assert [run.run_id for run in await store.runs("w", None, 10)] == ["r4", "r3", "r2", "r1", "r0"]
    page = await store.runs("w", None, 2)
    assert [(run.run_id, run.first_seq, run.last_seq) for run in page] == [("r4", 17, 20), ("r3", 13, 16)]
    assert [run.run_id for run in await store.runs("w", page[-1].first_seq, 2)] == ["r2", "r1"]
    assert await store.runs("w", 1, 2) == []


async def test_workflows_are_listed_by_their_newest_run_with_filters_in_pages(store: Store) -> None:
    for number, workflow_id in enumerate(["a-1", "a-2", "A-3", "b_1", "b%1"]):
        await put_run(store, workflow_id, f"{workflow_id}-run", at=100 + number)
    await put_run(store, "a-1", "a-1-again", at=200, ends=False)
    await put_run(store, "twin-1", "t1", at=150)
    await put_run(store, "twin-2", "t2", at=150)

    async def listed(
        *states: RunState, prefix: str = "", before: tuple[int, str] | None = None, limit: int = 10
    ) -> list[str]:
        return [run.workflow_id for run in await store.workflows(frozenset(states), prefix, before, limit, False)]

    everything = ["a-1", "twin-2", "twin-1", "b%1", "b_1", "A-3", "a-2"]
    assert await listed() == everything
    assert await listed(RunState.RUNNING) == ["a-1"]
    assert await listed(RunState.RUNNING, RunState.SUCCESS) == everything
    assert await listed(RunState.ERROR) == []
    assert await listed(prefix="a-") == ["a-1", "a-2"]
    assert await listed(prefix="b%") == ["b%1"]
    assert await listed(prefix="b_") == ["b_1"]
    pages, before = [], None
    while page := await store.workflows(frozenset(), "", before, 2, False):
        pages += [run.workflow_id for run in page]
        before = (page[-1].started_at, page[-1].run_id)
    assert pages == everything


async def test_bodies_of_nodes_are_listed_only_when_asked_for_and_leave_nothing_when_deleted(store: Store) -> None:
    await put_run(store, "w", "w1")
    parent = model.ParentNode("w", "w1", "each", 1, 3)
    begun = model.RunStarted(1, 5, Raw(b"{}"), 1, "weftline", parent)
    await store.append([batch("w:each.3", "b1", begun, end(2, 6))])
    assert [run.workflow_id for run in await store.workflows(frozenset(), "", None, 9, False)] == ["w"]
    listed = await store.workflows(frozenset(), "", None, 9, True)
    assert [(run.workflow_id, run.parent) for run in listed] == [("w:each.3", "w"), ("w", "")]
    (read,) = await store.read("w:each.3", 0)
    assert read.events[0] == begun
    await store.retain(Retention(0, 100, 1 << 40), 1 << 40)
    assert (await store.head("w:each.3")).seq == 0
    assert (await store.head("w")).seq == 4
    await store.append([batch("w:each.3", "b2", begun)])
    assert (await store.head("w:each.3")).seq == 1


async def test_active_runs_are_those_that_have_not_ended(store: Store) -> None:
    await put_run(store, "a", "a1")
    await put_run(store, "a", "a2", ends=False)
    await put_run(store, "b", "b1", ends=False)
    active = await store.active_runs()
    assert {(run.run_id, run.first_seq, run.last_seq) for run in active} == {("a2", 5, 7), ("b1", 1, 3)}


async def test_a_command_is_found_by_its_id_within_its_workflow(store: Store) -> None:
    await put_run(store, "w", "r", ends=False)
    await put_run(store, "other", "o", ends=False)
    stop = Command("c", "stop", 4)
    await store.append([batch("w", "r", end(4), commands=[stop])])
    assert await store.find_command("w", "c") == CommandRecord("stop", "r", 4)
    assert await store.find_command("w", "start-r") == CommandRecord("start", "r", 1)
    assert await store.find_command("other", "c") is None


async def test_a_command_id_stays_with_the_command_that_had_it_first(store: Store) -> None:
    await store.append([batch("w", "r", start(1), commands=[Command("c", "start", 1)])])
    await store.append([batch("w", "r", line(2), commands=[Command("c", "stop", 2)])])
    assert await store.find_command("w", "c") == CommandRecord("start", "r", 1)


@pytest.mark.parametrize("adapter", ["memory", "sqlite"])
async def test_a_large_batch_is_kept_in_pieces_and_told_by_the_commit_of_the_last(
    adapter: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "__defaults__", (1000,))
    store: Store = MemoryStore() if adapter == "memory" else SqliteStore(tmp_path)
    await store.open()
    large = batch(
        "w", "r", start(1), *(line(seq, "x" * 300) for seq in range(2, 8)), commands=[Command("c", "start", 1)]
    )
    stored = await store.append([large, batch("v", "s", start(1)), batch("w", "r", line(8, "x" * 3000), end(9))])
    assert [each.commit for each in stored] == [3, 4, 6]
    assert [each.last_seq for each in stored] == [7, 1, 9]
    assert store.last_commit == 6
    found = await store.read_all(0)
    assert [(each.workflow_id, each.run_id, each.first_seq, each.last_seq, each.commit) for each in found] == [
        *(("w", "r", 1, 3, 1), ("w", "r", 4, 5, 2), ("w", "r", 6, 7, 3)),
        *(("v", "s", 1, 1, 4), ("w", "r", 8, 8, 5), ("w", "r", 9, 9, 6)),
    ]
    assert msgspec.json.encode([event for each in found[:3] for event in each.events]) == msgspec.json.encode(
        large.events
    )
    assert await seqs(store, "w", 4) == [5, 6, 7, 8, 9]
    assert await store.head("w") == Head(9, 1)
    record = await store.newest_run("w")
    assert record is not None
    assert (record.state, record.first_seq, record.last_seq) == (RunState.SUCCESS, 1, 9)
    assert await store.find_command("w", "c") == CommandRecord("start", "r", 1)
    await store.close()


@given(sizes=st.lists(st.integers(0, 400), min_size=1, max_size=20), limit=st.integers(100, 600))
def test_pieces_hold_all_events_in_order_within_the_limit(sizes: list[int], limit: int) -> None:
    events = tuple(line(seq, "x" * (size + 1)) for seq, size in enumerate(sizes, 1))
    cut_up = pieces(events, limit)
    assert tuple(event for piece in cut_up for event in piece.events) == events
    for piece in cut_up:
        assert piece.body == msgspec.json.encode(piece.events)
        assert len(piece.body) <= limit or len(piece.events) == 1
    for piece, following in pairwise(cut_up):
        assert len(msgspec.json.encode((*piece.events, following.events[0]))) > limit


async def test_events_that_no_log_can_hold_are_refused_by_workflow_and_nothing_is_kept(store: Store) -> None:
    await store.append([batch("w", "r", start(1))])
    unfit = batch("x", "s", start(1), line(2, "half a pair: \ud800"))
    with pytest.raises(BatchRefused) as caught:
        await store.append([batch("w", "r", line(2)), unfit])
    assert caught.value.workflow_ids == ("x",)
    assert (store.last_commit, await seqs(store, "w"), await store.newest_run("x")) == (1, [1], None)
    assert [each.commit for each in await store.append([batch("w", "r", line(2)), batch("x", "s", start(1))])] == [2, 3]


def test_each_log_has_an_epoch_of_its_own() -> None:
    assert len({MemoryStore().epoch for _ in range(100)}) == 100


WRITES = st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 4)), max_size=12)


@given(appends=st.lists(WRITES, max_size=4), limit=st.integers(1, 3))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_all_adapters_read_the_same(
    tmp_path_factory: pytest.TempPathFactory, appends: list[list[tuple[str, int]]], limit: int
) -> None:
    stores: list[Store] = [MemoryStore(), SqliteStore(tmp_path_factory.mktemp("log"))]
    read = []
    for store in stores:
        await store.open()
        heads: dict[str, int] = {}
        for writes in appends:
            await store.append([_next_batch(heads, workflow_id, count) for workflow_id, count in writes])
        found: list[object] = [told(await store.read_all(commit, limit)) for commit in range(store.last_commit + 2)]
        for workflow_id in "abc":
            head = await store.head(workflow_id)
            found += [head, await store.newest_run(workflow_id)]
            found += [told(await store.read(workflow_id, after, limit)) for after in range(head.seq + 2)]
        read.append(found)
        await store.close()
    assert read[0] == read[1]


def _next_batch(heads: dict[str, int], workflow_id: str, count: int) -> Batch:
    head = heads.get(workflow_id, 0)
    heads[workflow_id] = head + count
    events = [line(seq) if seq > 1 else start(1) for seq in range(head + 1, head + count + 1)]
    return batch(workflow_id, f"run-{workflow_id}", *events)
