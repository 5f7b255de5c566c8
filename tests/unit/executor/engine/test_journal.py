"""Facts about numbering events, handing them over, and committing those of all runs at once."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from msgspec import Raw

from weftline_executor.engine import commit
from weftline_executor.engine.commit import BURST_RUNS, Committer
from weftline_executor.engine.journal import Journal
from weftline_executor.errors import BatchRefused, StaleWriter, StoreUnavailable
from weftline_executor.metrics import Metrics
from weftline_executor.model.events import LogWritten, RunStarted
from weftline_executor.model.records import Batch, Command
from weftline_executor.model.states import LogLevel
from weftline_executor.store import MemoryStore


class SlowStore(MemoryStore):
    """A store that appends when it is let, and fails as often as it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.allowed = asyncio.Event()
        self.allowed.set()
        self.one_at_a_time = False
        self.failures = 0
        self.refused = ""
        self.asked: list[list[str]] = []

    async def append(self, batches: Sequence[Batch]) -> list[Batch]:
        """See Store."""
        self.asked.append([batch.workflow_id for batch in batches])
        await self.allowed.wait()
        if self.one_at_a_time:
            self.allowed.clear()
        if self.failures:
            self.failures -= 1
            raise StoreUnavailable("no space left")
        if any(batch.workflow_id == self.refused for batch in batches):
            raise StaleWriter(self.refused, 0)
        # These tests append log lines only, which is no run that a store could record.
        return [Batch(b.workflow_id, b.run_id, b.events, (), at) for at, b in enumerate(batches, 1)]


class Commits:
    """A committer that runs, over a store that tests hold up, with all that it handed over."""

    def __init__(self, store: SlowStore) -> None:
        self.store = store
        self.metrics = Metrics()
        self.told: list[list[Batch]] = []
        self.journals: dict[str, Journal] = {}
        self.refused: list[BatchRefused] = []
        self.committer = Committer(
            store, self.metrics, self._committed, lambda batches: None, lambda error: None, self.refused.append
        )

    def _committed(self, batches: Sequence[Batch]) -> None:
        self.told.append(list(batches))
        for batch in batches:
            self.journals[batch.workflow_id].committed(batch.last_seq)

    def journal(self, workflow_id: str, head: int = 0) -> Journal:
        """A journal of this committer."""
        made = self.journals[workflow_id] = Journal(self.committer, workflow_id, f"run-{workflow_id}", head)
        return made


@pytest.fixture
async def commits(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Commits]:
    monkeypatch.setattr(commit, "RETRY_SECONDS", 0.001)
    made = Commits(SlowStore())
    task = asyncio.create_task(made.committer.run())
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def write(journal: Journal, count: int = 1) -> int:
    """Appends log lines, and gives the last seq."""
    seq = 0
    for _ in range(count):
        seq = journal.next_seq()
        journal.append(LogWritten(seq, seq, LogLevel.INFO, "line"))
    return seq


async def test_seqs_go_on_from_the_head_without_a_hole_over_batches(commits: Commits) -> None:
    journal = commits.journal("w", head=41)
    await journal.durable(write(journal, 3))
    await journal.durable(write(journal, 2))
    batches = [batch for told in commits.told for batch in told]
    assert [event.seq for batch in batches for event in batch.events] == [42, 43, 44, 45, 46]
    assert [(batch.workflow_id, batch.run_id) for batch in batches] == [("w", "run-w")] * 2


async def test_what_all_runs_say_in_one_turn_is_one_append(commits: Commits) -> None:
    journals = [commits.journal(name) for name in "abc"]
    for journal in journals:
        write(journal, 2)
    await commits.committer.drained()
    assert commits.store.asked == [["a", "b", "c"]]


async def test_what_is_said_during_an_append_goes_into_the_next(commits: Commits) -> None:
    one, other = commits.journal("a"), commits.journal("b")
    commits.store.allowed.clear()
    write(one)
    while not commits.store.asked:
        await asyncio.sleep(0)
    write(one, 2)
    write(other)
    assert len(one) == 2
    commits.store.allowed.set()
    await commits.committer.drained()
    assert commits.store.asked == [["a"], ["a", "b"]]
    assert [len(batch.events) for told in commits.told for batch in told] == [1, 2, 1]


async def second_append(commits: Commits, runs: int, start: bool) -> list[str]:
    """Who is in the append after one of so many runs, when one goes on at once and another comes a little later."""
    commits.store.allowed.clear()
    for number in range(runs):
        journal = commits.journal(f"w{number}")
        seq = journal.next_seq()
        line = LogWritten(seq, seq, LogLevel.INFO, "line")
        journal.append(RunStarted(seq, seq, Raw(b"{}"), 1) if start else line)
    while not commits.store.asked:
        await asyncio.sleep(0)
    write(commits.journal("at once"))
    commits.store.allowed.set()
    while not commits.told:
        await asyncio.sleep(0)
    for _ in range(5):
        await asyncio.sleep(0)
    write(commits.journal("later"))
    await commits.committer.drained()
    return commits.store.asked[1]


@pytest.mark.parametrize(
    ("runs", "start", "expected"),
    [
        (BURST_RUNS, True, ["at once", "later"]),
        (BURST_RUNS - 1, True, ["at once"]),
        (BURST_RUNS, False, ["at once"]),
    ],
)
async def test_only_where_many_runs_begin_does_a_commit_wait_for_more(
    commits: Commits, monkeypatch: pytest.MonkeyPatch, runs: int, start: bool, expected: list[str]
) -> None:
    monkeypatch.setattr(commit, "BURST_SECONDS", 0.05)
    assert await second_append(commits, runs, start) == expected


class EagerStore(SlowStore):
    """A store that begins to append when it is called, as one does that works in a thread."""

    def append(self, batches: Sequence[Batch]) -> asyncio.Task[list[Batch]]:  # type: ignore[override]
        """See Store."""
        self.begun = batches[-1].last_seq
        return asyncio.get_running_loop().create_task(super().append(batches))


async def test_what_is_durable_is_told_when_what_follows_from_it_is_on_its_way() -> None:
    store = EagerStore()
    begun_when_told: list[tuple[int, int]] = []

    def follow(batches: Sequence[Batch]) -> None:
        if batches[-1].last_seq < 3:
            write(journal)

    def tell(batches: Sequence[Batch]) -> None:
        begun_when_told.extend((batch.last_seq, store.begun) for batch in batches)

    committer = Committer(store, Metrics(), follow, tell, lambda error: None, lambda error: None)
    journal = Journal(committer, "w", "r", 0)
    task = asyncio.create_task(committer.run())
    write(journal)
    await committer.drained()
    task.cancel()
    assert begun_when_told == [(1, 2), (2, 3), (3, 3)]


async def test_the_committer_is_drained_when_also_what_was_said_meanwhile_is_durable(commits: Commits) -> None:
    journal = commits.journal("w")
    commits.store.allowed.clear()
    commits.store.one_at_a_time = True
    write(journal)
    while not commits.store.asked:
        await asyncio.sleep(0)
    write(journal)
    drained = asyncio.create_task(commits.committer.drained())
    commits.store.allowed.set()
    for _ in range(20):
        await asyncio.sleep(0)
    assert (len(commits.told), len(commits.store.asked), drained.done()) == (1, 2, False)
    commits.store.allowed.set()
    await drained
    assert len(commits.told) == 2


async def test_a_waiter_is_woken_when_its_event_is_durable_and_not_before(commits: Commits) -> None:
    journal = commits.journal("w")
    commits.store.allowed.clear()
    first = asyncio.create_task(journal.durable(write(journal)))
    while not commits.store.asked:
        await asyncio.sleep(0)
    second = asyncio.create_task(journal.durable(write(journal)))
    await asyncio.sleep(0)
    assert not first.done()
    commits.store.allowed.set()
    await first
    await second
    assert [len(told) for told in commits.told] == [1, 1]


async def test_a_waiter_that_gave_up_does_not_hinder_the_others(commits: Commits) -> None:
    journal = commits.journal("w")
    commits.store.allowed.clear()
    seq = write(journal)
    gone, stays = asyncio.create_task(journal.durable(seq)), asyncio.create_task(journal.durable(seq))
    await asyncio.sleep(0)
    gone.cancel()
    commits.store.allowed.set()
    await stays
    assert gone.cancelled()


async def test_commands_go_with_the_batch_of_their_event(commits: Commits) -> None:
    journal = commits.journal("w")
    seq = write(journal)
    journal.note("c", "start", seq)
    journal.note("", "pause", seq)
    assert journal.take().commands == (Command("c", "start", 1),)
    assert len(journal) == 0


async def test_an_append_that_fails_is_tried_again_with_the_same_and_nothing_else(commits: Commits) -> None:
    journal, other = commits.journal("a"), commits.journal("b")
    commits.store.failures = 3
    write(journal, 2)
    while commits.committer.healthy:
        await asyncio.sleep(0)
    write(other)
    await commits.committer.drained()
    assert commits.committer.healthy
    assert commits.store.asked == [["a"]] * 4 + [["b"]]
    assert commits.metrics.commit_failures._value.get() == 3


async def test_what_the_store_refuses_is_let_go_and_the_rest_is_committed(commits: Commits) -> None:
    commits.store.refused = "stale"
    write(commits.journal("stale"))
    write(commits.journal("good"))
    await commits.committer.drained()
    assert [error.workflow_ids for error in commits.refused] == [("stale",)]
    assert commits.store.asked == [["stale", "good"], ["good"]]
    assert commits.committer.healthy
