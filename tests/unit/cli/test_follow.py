"""A followed stream survives breaks, and knows when to give up."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from tests.unit.cli import events as make
from weftline.v1 import workflow_service_pb2 as ws
from weftline_cli.bookmark import WatchPlan
from weftline_cli.errors import NotFoundError, UnavailableError
from weftline_cli.executor_watch import ExecutorWatch
from weftline_cli.follow import ReconnectPolicy, follow
from weftline_cli.items import Arrived, Connected, Item, Lost, Replaced

Step = ws.WatchEventsResponse | Exception
CREATED = ws.WatchEventsResponse(created=ws.WatchCreated(epoch=make.EPOCH, seq=2))
POLICY = ReconnectPolicy(patience_s=10.0)


def events(*seqs: int) -> ws.WatchEventsResponse:
    return ws.WatchEventsResponse(events=[make.log(seq, str(seq)) for seq in seqs])


def broken() -> UnavailableError:
    return UnavailableError("there", "socket closed")


class ScriptedSource:
    """Each watch plays the next script; a watch beyond the last one breaks at once."""

    address = "there"

    def __init__(self, *scripts: list[Step]) -> None:
        self.requests: list[ws.WatchEventsRequest] = []
        self._scripts = list(scripts)

    async def watch(self, request: ws.WatchEventsRequest) -> AsyncGenerator[ws.WatchEventsResponse, None]:
        self.requests.append(request)
        for step in self._scripts.pop(0) if self._scripts else [broken()]:
            if isinstance(step, Exception):
                raise step
            yield step


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)


def followed(source: ScriptedSource, *, until_head: bool = False, reached: bool = True) -> AsyncGenerator[Item, None]:
    clock = Clock()
    return follow(
        ExecutorWatch(source, WatchPlan(make.WORKFLOW, ws.WATCH_FROM_CURSOR, make.EPOCH, 0)),
        POLICY,
        until_head=until_head,
        reached=reached,
        clock=clock,
        sleep=clock.sleep,
        luck=lambda: 1.0,
    )


async def until_given_up(items: AsyncGenerator[Item, None]) -> tuple[list[Item], str]:
    """Everything that came, and the words of the UnavailableError that ended it."""
    seen: list[Item] = []
    try:
        async for item in items:
            seen.append(item)  # noqa: PERF401 - a comprehension would lose what came before the error
    except UnavailableError as error:
        return seen, str(error)
    pytest.fail("it ended without giving up")


async def seqs_until_given_up(items: AsyncGenerator[Item, None]) -> list[int]:
    seen, _ = await until_given_up(items)
    return [event.seq for item in seen if isinstance(item, Arrived) for event in item.events]


async def test_a_break_is_bridged_from_the_last_event() -> None:
    source = ScriptedSource([CREATED, events(1, 2), broken()], [CREATED, events(2, 3), broken()])
    assert await seqs_until_given_up(followed(source)) == [1, 2, 3]
    assert [request.cursor.seq for request in source.requests[:3]] == [0, 2, 3]


async def test_a_stream_that_just_ends_is_a_break_too() -> None:
    source = ScriptedSource([CREATED, events(1)], [CREATED, events(2)])
    assert await seqs_until_given_up(followed(source)) == [1, 2]


async def test_a_hole_is_closed_by_asking_again() -> None:
    source = ScriptedSource([CREATED, events(1), events(3)], [CREATED, events(2, 3)])
    assert await seqs_until_given_up(followed(source)) == [1, 2, 3]


async def test_it_gives_up_when_its_patience_ends_and_says_why() -> None:
    seen, words = await until_given_up(followed(ScriptedSource([CREATED, broken()])))
    losses = [item for item in seen if isinstance(item, Lost)]
    assert "gave up after 10 s: socket closed" in words
    assert sum(loss.retry_in_s for loss in losses) <= POLICY.patience_s
    assert [loss.attempt for loss in losses] == list(range(1, len(losses) + 1))
    assert [loss.retry_in_s for loss in losses[:3]] == [0.25, 0.5, 1.0]


async def test_a_watch_that_binds_but_brings_nothing_does_not_renew_its_patience() -> None:
    scripts: list[list[Step]] = [[CREATED, broken()] for _ in range(1000)]
    source = ScriptedSource(*scripts)
    assert await seqs_until_given_up(followed(source)) == []
    assert len(source.requests) < 20


async def test_what_comes_renews_its_patience() -> None:
    scripts: list[list[Step]] = [[CREATED, events(seq), broken()] for seq in range(1, 101)]
    assert await seqs_until_given_up(followed(ScriptedSource(*scripts))) == list(range(1, 101))


async def test_an_executor_that_was_never_reached_is_not_waited_for() -> None:
    source = ScriptedSource()
    assert await seqs_until_given_up(followed(source, reached=False)) == []
    assert len(source.requests) == 1


async def test_who_says_when_to_come_again_is_obeyed_also_at_the_beginning() -> None:
    full = UnavailableError("there", "it is full", asks_again=True)
    restarting = UnavailableError("there", "it restarts", asks_again=True, advice_s=2.71)
    source = ScriptedSource([full], [restarting], [CREATED, events(1), broken()])
    items = followed(source, reached=False)
    seen = [await anext(items) for _ in range(4)]
    await items.aclose()
    assert seen[:2] == [Lost("it is full", 1, 0.25, "executor"), Lost("it restarts", 2, 2.71, "executor")]
    assert [type(item) for item in seen[2:]] == [Connected, Arrived]


async def test_advice_to_come_again_later_than_its_patience_ends_it() -> None:
    source = ScriptedSource([CREATED, UnavailableError("there", "it restarts", asks_again=True, advice_s=11.0)])
    _, words = await until_given_up(followed(source))
    assert "gave up after 10 s: it restarts" in words


async def test_other_errors_than_a_break_end_it() -> None:
    with pytest.raises(NotFoundError):
        await until_given_up(followed(ScriptedSource([CREATED, NotFoundError("gone")])))


async def test_the_past_alone_ends_at_the_head() -> None:
    items = [item async for item in followed(ScriptedSource([CREATED, events(1, 2)]), until_head=True)]
    assert items[0] == Connected(exists=True)
    assert [type(item) for item in items] == [Connected, Arrived]


async def test_a_snapshot_after_a_compaction_moves_the_place() -> None:
    compacted = ws.WatchEventsResponse(compacted=ws.WatchCompacted(reason=ws.COMPACTED_REASON_RETENTION))
    replaced = ws.WatchEventsResponse(snapshot=make.snapshot(40))
    source = ScriptedSource([CREATED, compacted, replaced, events(41), broken()])
    items = followed(source)
    kinds = [type(await anext(items)) for _ in range(4)]
    assert kinds == [Connected, Replaced, Arrived, Lost]
    await anext(items)
    await items.aclose()
    assert source.requests[1].cursor.seq == 41
