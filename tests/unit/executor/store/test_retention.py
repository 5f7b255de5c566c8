"""What retention deletes, over every adapter, and what it never does."""

import pytest

from tests.unit.executor.store.batches import FOREVER, batch, line, put_run, seqs, start
from weftline_executor.model.records import Command, Head, Retention
from weftline_executor.store import Store

DAY = 86_400_000


def keep(*, runs: int = 1 << 30, age: int = 1 << 50) -> Retention:
    """A retention by number or by age."""
    return Retention(age, runs, 1 << 60)


async def test_nothing_is_deleted_without_a_reason(store: Store) -> None:
    await put_run(store, "w", "r")
    assert len(await store.retain(FOREVER, now=10 * DAY)) == 0
    assert await seqs(store, "w") == [1, 2, 3, 4]


async def test_the_newest_ended_runs_of_each_workflow_are_kept(store: Store) -> None:
    for number in range(4):
        await put_run(store, "a", f"a{number}", at=number)
        await put_run(store, "b", f"b{number}", at=number) if number < 2 else None
    assert len(await store.retain(keep(runs=2), now=10)) == 2
    assert [run.run_id for run in await store.runs("a", None, 9)] == ["a3", "a2"]
    assert [run.run_id for run in await store.runs("b", None, 9)] == ["b1", "b0"]
    assert await seqs(store, "a") == list(range(9, 17))
    assert await store.head("a") == Head(16, 9)
    assert await store.head("b") == Head(8, 1)


async def test_it_is_told_which_runs_were_deleted_and_which_are_kept(store: Store) -> None:
    for number in range(3):
        await put_run(store, "a", f"a{number}")
    await put_run(store, "b", "b0", ends=False)
    assert sorted(await store.retain(keep(runs=1), now=10)) == ["a0", "a1"]
    assert await store.known_runs(["a0", "a1", "a2", "b0", "never"]) == {"a2", "b0"}
    assert await store.known_runs([]) == set()


async def test_an_active_run_does_not_count_among_the_ended_ones(store: Store) -> None:
    for number in range(2):
        await put_run(store, "w", f"r{number}")
    await put_run(store, "w", "active", ends=False)
    assert len(await store.retain(keep(runs=2), now=10)) == 0
    assert len(await store.retain(keep(runs=1), now=10)) == 1
    assert [run.run_id for run in await store.runs("w", None, 9)] == ["active", "r1"]


async def test_runs_that_ended_too_long_ago_are_deleted(store: Store) -> None:
    for number in range(3):
        await put_run(store, "w", f"r{number}", at=number * DAY)
    assert len(await store.retain(keep(age=2 * DAY), now=2 * DAY)) == 0
    assert len(await store.retain(keep(age=2 * DAY), now=2 * DAY + 1)) == 1
    assert [run.run_id for run in await store.runs("w", None, 9)] == ["r2", "r1"]
    assert len(await store.retain(keep(age=2 * DAY), now=9 * DAY)) == 2
    assert await store.runs("w", None, 9) == []


async def test_an_active_run_is_never_deleted_nor_what_comes_after_it(store: Store) -> None:
    await put_run(store, "w", "active", at=0, ends=False)
    assert len(await store.retain(Retention(0, 1, 0), now=9 * DAY)) == 0
    assert await seqs(store, "w") == [1, 2, 3]


async def test_a_sequence_goes_on_after_all_of_it_was_deleted(store: Store) -> None:
    await put_run(store, "w", "r0")
    assert len(await store.retain(keep(age=0), now=DAY)) == 1
    assert (await seqs(store, "w"), await store.newest_run("w")) == ([], None)
    assert await store.head("w") == Head(4, 5)
    assert await store.workflows(frozenset(), "", None, 9, False) == []
    await store.append([batch("w", "r1", start(5)), batch("w", "r1", line(6))])
    assert await seqs(store, "w") == [5, 6]
    assert await store.head("w") == Head(6, 5)


async def test_commits_go_on_after_all_were_deleted_and_say_up_to_where_they_are_gone(store: Store) -> None:
    await put_run(store, "a", "a0")
    await put_run(store, "b", "b0", ends=False)
    last = store.last_commit
    assert len(await store.retain(keep(age=0), now=DAY)) == 1
    assert await store.compacted_commit() == 3
    assert [each.commit for each in await store.read_all(0)] == [4, 5]
    assert store.last_commit == last
    stored = await store.append([batch("a", "a1", start(5))])
    assert stored[0].commit == last + 1


async def test_the_last_commit_that_is_gone_never_goes_back(store: Store) -> None:
    await put_run(store, "a", "a0", at=DAY)
    await put_run(store, "b", "b0", at=0)
    assert len(await store.retain(keep(age=DAY), now=DAY + 1)) == 1
    assert await store.compacted_commit() == 6
    assert len(await store.retain(keep(age=DAY), now=3 * DAY)) == 1
    assert await store.compacted_commit() == 6


async def test_commands_are_forgotten_with_their_run(store: Store) -> None:
    await put_run(store, "w", "r0")
    await put_run(store, "w", "r1")
    assert len(await store.retain(keep(runs=1), now=10)) == 1
    assert await store.find_command("w", "start-r0") is None
    assert await store.find_command("w", "start-r1") is not None
    await store.append([batch("w", "r2", start(9), commands=[Command("start-r0", "start", 9)])])
    assert await store.find_command("w", "start-r0") is not None


@pytest.mark.parametrize("runs", [1, 2, 3])
async def test_reading_goes_on_right_where_retention_ended(store: Store, runs: int) -> None:
    for number in range(4):
        await put_run(store, "w", f"r{number}")
    await store.retain(keep(runs=runs), now=10)
    head = await store.head("w")
    assert head == Head(16, 16 - 4 * runs + 1)
    assert await seqs(store, "w", head.oldest - 1) == list(range(head.oldest, 17))


async def test_the_oldest_runs_go_first_also_where_the_clock_went_back(store: Store) -> None:
    for number, at in enumerate([5 * DAY, DAY, 6 * DAY]):
        await put_run(store, "w", f"r{number}", at=at)
    assert len(await store.retain(keep(age=2 * DAY), now=7 * DAY)) == 0
    assert len(await store.retain(keep(age=2 * DAY), now=7 * DAY + 1)) == 2
    assert [run.run_id for run in await store.runs("w", None, 9)] == ["r2"]
    assert await store.head("w") == Head(12, 9)
    assert await store.compacted_commit() == 6


async def test_many_runs_of_many_workflows_go_and_nothing_else_does(store: Store) -> None:
    for number in range(50):
        await put_run(store, "a", f"a{number}", at=number)
        await put_run(store, "b", f"b{number}", at=number)
    assert len(await store.retain(keep(runs=3), now=50)) == 94
    assert (await seqs(store, "a"), await seqs(store, "b")) == ([*range(189, 201)], [*range(189, 201)])
    assert [run.run_id for run in await store.runs("b", None, 9)] == ["b49", "b48", "b47"]
    assert await store.find_command("a", "start-a46") is None
    assert await store.find_command("a", "start-a47") is not None
    assert [each.commit for each in await store.read_all(0)] == list(range(283, 301))
    assert await store.compacted_commit() == 47 * 6
