"""Questions and answers over a pair of sockets."""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
from collections.abc import AsyncIterator

import msgspec
import pytest

from weftline_bridge.errors import NoAnswerError
from weftline_bridge.workers import channel as channels
from weftline_bridge.workers.channel import Answer, Channel

PATIENCE = 20.0

Pair = tuple[Channel, Channel, list[asyncio.Task[None]]]


async def echo(question: msgspec.Raw) -> object:
    return question


async def never(question: msgspec.Raw) -> object:
    del question
    await asyncio.Event().wait()
    raise AssertionError


@contextlib.asynccontextmanager
async def pair(left: Answer = echo, right: Answer = echo) -> AsyncIterator[Pair]:
    one, other = socket.socketpair()
    ends = [await Channel.over(one, left), await Channel.over(other, right)]
    serving = [asyncio.create_task(each.serve(), name="serving") for each in ends]
    try:
        yield ends[0], ends[1], serving
    finally:
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)


async def test_many_questions_from_both_sides_at_once_get_their_own_answers() -> None:
    async with pair() as (one, other, _):
        asked = [("one", number, "x" * number * 100) for number in range(100)]
        answers = await asyncio.gather(
            *(one.ask(each, PATIENCE) for each in asked), *(other.ask(each, PATIENCE) for each in asked)
        )
        assert [msgspec.msgpack.decode(each, type=tuple[str, int, str]) for each in answers] == asked + asked


async def test_numbers_that_json_does_not_know_come_through() -> None:
    async with pair() as (one, _, _):
        answer = msgspec.msgpack.decode(await one.ask([math.inf, math.nan], PATIENCE))
        assert answer[0] == math.inf
        assert math.isnan(answer[1])


async def test_no_answer_in_time_is_an_error_and_a_late_one_goes_to_nobody() -> None:
    gate = asyncio.Event()

    async def late(question: msgspec.Raw) -> object:
        await gate.wait()
        return question

    async with pair(right=late) as (one, _, _):
        with pytest.raises(NoAnswerError, match=r"within 0\.01 s"):
            await one.ask("early", 0.01)
        gate.set()
        assert msgspec.msgpack.decode(await one.ask("second", PATIENCE)) == "second"


async def test_an_answer_that_fails_costs_that_question_only(caplog: pytest.LogCaptureFixture) -> None:
    async def picky(question: msgspec.Raw) -> object:
        if msgspec.msgpack.decode(question) == "bad":
            raise ValueError("no such question")
        return question

    async with pair(right=picky) as (one, _, _):
        with pytest.raises(NoAnswerError):
            await one.ask("bad", 0.05)
        assert msgspec.msgpack.decode(await one.ask("good", PATIENCE)) == "good"
    assert "a question could not be answered" in caplog.text


async def test_who_waits_for_a_side_that_goes_is_told_at_once_and_both_sides_end() -> None:
    async with pair(right=never) as (one, _, serving):
        asking = asyncio.create_task(one.ask("anything", PATIENCE * 10), name="asking")
        while not one._waiting:
            await asyncio.sleep(0)
        serving[1].cancel()
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(NoAnswerError, match="gone"):
                await asking
            await serving[0]
        with pytest.raises(NoAnswerError):
            await one.ask("anything", PATIENCE)


async def test_questions_that_wait_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "MAX_OPEN", 3)
    async with pair(right=never) as (one, _, _):
        asking = [asyncio.create_task(one.ask(number, PATIENCE), name=f"asking-{number}") for number in range(3)]
        while len(one._waiting) < 3:
            await asyncio.sleep(0)
        with pytest.raises(NoAnswerError, match="too many"):
            await one.ask("one more", PATIENCE)
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)


async def test_a_message_that_is_too_large_is_refused_where_it_is_sent_and_ends_the_channel_where_it_comes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(channels, "MAX_BYTES", 1000)
    async with pair() as (one, _, serving):
        with pytest.raises(NoAnswerError, match="too large"):
            await one.ask("x" * 2000, PATIENCE)
        assert msgspec.msgpack.decode(await one.ask("small", PATIENCE)) == "small"
        one._writer.write((2000).to_bytes(4, "big"))
        async with asyncio.timeout(PATIENCE):
            await serving[1]
