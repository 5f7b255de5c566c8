"""Nodes that ask a language model, within runs: retried, watched, stopped, and silent about the key."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator

import pytest

from tests.support.chat_server import Answer, ChatServer, chunk, events
from tests.support.executor_checks import check_run, ends, story
from tests.support.executor_client import is_node, is_terminal
from tests.support.executor_engine import SECRETS, RunningExecutor, running_executor
from tests.support.executor_graphs import chain, node
from weftline.v1 import workflow_service_pb2 as pb

DEADLINE = 10
HELLO = events(chunk("Hel"), chunk("lo", finish_reason="stop"), "[DONE]")
CHAT = {"model": "tiny", "prompt": "Hi", "apiKeySecret": "TOKEN"}


@pytest.fixture
async def server() -> AsyncIterator[ChatServer]:
    """A chat service on a port of its own."""
    server = ChatServer()
    server.answers = [Answer([HELLO])]
    async with server.running():
        yield server


@pytest.fixture
async def executor(server: ChatServer) -> AsyncIterator[RunningExecutor]:
    """An executor whose chat service is the server of the test."""
    async with running_executor(llm_base_url=server.base_url) as running:
        yield running


async def test_the_answer_is_the_output(executor: RunningExecutor) -> None:
    done = await executor.client.run(
        chain(node("a", "llm.chat", **CHAT), node("o", "output", value="{{ inputs.input }}"))
    )
    check_run(done)
    assert json.loads(done[-1].complete.outputs_json)["o"]["text"] == "Hello"


async def test_tokens_reach_those_who_watch_while_the_answer_is_made(
    executor: RunningExecutor, server: ChatServer
) -> None:
    gate = asyncio.Event()
    server.answers = [Answer([events(chunk("Once ")), events(chunk("upon", finish_reason="stop"))], gate=gate)]
    async with executor.client.watch(start_from=pb.WATCH_FROM_NOW, telemetry=True) as watch:
        await executor.client.start(chain(node("a", "llm.chat", **CHAT)))
        await watch.until(lambda event: event.node.data_json == '{"text":"Once "}')
        assert ends(watch.events) == {}
        gate.set()
        await watch.until(is_terminal)
    assert story(watch.events) == ["a running", "a success"]


async def test_a_service_that_is_busy_is_asked_again_when_it_says_so(
    executor: RunningExecutor, server: ChatServer
) -> None:
    busy = Answer.json({"error": {"message": "Slow down"}}, 429, **{"Retry-After": "1"})
    server.answers = [busy, Answer([HELLO])]
    policy = {"retry": {"attempts": 2, "delay": 0.01}}
    done = await executor.client.run(chain(node("a", "llm.chat", **CHAT, policy=policy)))
    check_run(done)
    assert story(done) == ["a running", "a error", "a pending retry", "a running", "a success"]
    failed, pending = (next(each for each in done if is_node("a", word)(each)) for word in ("error", "pending"))
    assert pending.node.due_ms - failed.timestamp_ms == pytest.approx(1000, abs=50)
    assert {headers["idempotency-key"] for headers in server.headers} == {f"{done[0].run_id}:a"}


async def test_a_stop_hangs_up(executor: RunningExecutor, server: ChatServer) -> None:
    server.answers = [Answer([events(chunk("a")), b""], gate=asyncio.Event())]
    await executor.client.start(chain(node("a", "llm.chat", **CHAT)))
    await asyncio.wait_for(server.arrived.wait(), DEADLINE)
    await executor.client.stop()
    await asyncio.wait_for(server.hung_up.wait(), DEADLINE)


async def test_a_stream_that_falls_silent_is_ended_by_the_idle_timeout(
    executor: RunningExecutor, server: ChatServer
) -> None:
    server.answers = [Answer([events(chunk("a")), b""], gate=asyncio.Event())]
    done = await executor.client.run(chain(node("a", "llm.chat", **CHAT, policy={"timeout": {"idle": 0.2}})))
    assert ends(done) == {"a": "error idle_timeout"}


async def test_the_key_is_nowhere_to_be_seen_even_when_the_model_says_it(
    executor: RunningExecutor, server: ChatServer, caplog: pytest.LogCaptureFixture
) -> None:
    key = SECRETS["TOKEN"]
    stream = events(*(chunk(letter) for letter in f"The key is {key}."), chunk(finish_reason="stop"))
    server.answers = [Answer([stream[at : at + 40] for at in range(0, len(stream), 40)])]
    refusal = Answer.json({"error": {"message": f"bad key {key}"}}, 400)
    with caplog.at_level(logging.DEBUG):
        said = await executor.client.run(chain(node("a", "llm.chat", **CHAT)), telemetry=True)
        server.answers = [refusal]
        refused = await executor.client.run(chain(node("a", "llm.chat", **CHAT)), telemetry=True)
    assert server.headers[0]["authorization"] == f"Bearer {key}"
    for event in (*said, *refused):
        assert key[:8] not in str(event)
    assert key not in caplog.text
    assert "The key is ***." in str(said)
    assert "bad key ***" in str(refused)
