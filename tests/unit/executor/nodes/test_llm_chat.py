"""Facts about `llm.chat`, each asked of a real server on a port of its own."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.chat_server import Answer, ChatServer, chunk, events, usage, whole
from weftline_executor.nodes import ChatService, HttpFence, NodeFailed, Registry, Scope, SecretMissing, Secrets
from weftline_executor.nodes.builtin.chat import MAX_BODY
from weftline_executor.nodes.testing import RecordingSink, make_context

OPEN = HttpFence(allow_private=True)
KEY = "sk-0123456789"
DEADLINE = 10
HELLO = events(chunk("Hel"), chunk("lö"), chunk(finish_reason="stop"), usage(3, 5), "[DONE]")


@pytest.fixture
async def server() -> AsyncIterator[ChatServer]:
    server = ChatServer()
    server.answers = [Answer([HELLO])]
    async with server.running():
        yield server


async def ask(
    server: ChatServer,
    *,
    fence: HttpFence = OPEN,
    service: ChatService | None = None,
    sink: RecordingSink | None = None,
    scope: Scope | None = None,
    **data: Any,
) -> dict[str, Any]:
    """Check, bind and call a node that asks the server, and give its output."""
    service = service or ChatService(server.base_url)
    node_type = Registry.with_builtins(fence, service).get("llm.chat")
    assert node_type is not None
    config = {"model": "tiny", **({} if "messages" in data else {"prompt": "Hi"}), **data}
    assert node_type.check(config) == []
    prepared = node_type.prepare(config)
    secrets = Secrets({"WEFTLINE_SECRET_OPENAI_API_KEY": KEY + "\n", "WEFTLINE_SECRET_OTHER": "other"})
    ctx = make_context(sink or RecordingSink(), idempotency_key="k-1", secrets=secrets, traceparent="00-of-the-attempt")
    result = prepared.call(ctx, prepared.bind(scope or Scope()), {})
    assert asyncio.iscoroutine(result)
    output = await result
    assert isinstance(output, dict)
    return output


async def failure(server: ChatServer, **data: Any) -> NodeFailed:
    with pytest.raises(NodeFailed) as caught:
        await ask(server, **data)
    assert KEY not in f"{caught.value} {caught.value.details}"
    return caught.value


async def test_a_stream_is_put_together(server: ChatServer) -> None:
    assert await ask(server) == {
        "text": "Hellö",
        "finishReason": "stop",
        "model": "tiny-1",
        "usage": {"promptTokens": 3, "completionTokens": 5, "totalTokens": 8},
    }
    assert server.paths == ["/v1/chat/completions"]
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"
    assert server.headers[0]["idempotency-key"] == "k-1"
    assert server.headers[0]["traceparent"] == "00-of-the-attempt"


async def test_a_request_says_no_more_than_it_was_told(server: ChatServer) -> None:
    await ask(server)
    assert server.asked == [
        {
            "model": "tiny",
            "messages": [{"role": "user", "content": "Hi"}],
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    ]


async def test_every_setting_has_its_place_in_the_request(server: ChatServer) -> None:
    await ask(
        server,
        system="Be brief.",
        messages=[
            {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
            {"role": "assistant", "tool_calls": [{"id": "x"}]},
            {"role": "tool", "content": "{{ params.found }}", "tool_call_id": "x"},
        ],
        prompt="And {{ params.found.n }}?",
        temperature=0.5,
        maxTokens=7,
        topP=0.9,
        stop=["\n"],
        responseFormat={"type": "json_object"},
        extra={"seed": 3, "stream_options": None, "model": "not this one"},
        stream=False,
        scope=Scope(params={"found": {"n": 1}}),
    )
    assert server.asked == [
        {
            "model": "tiny",
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
                {"role": "assistant", "content": None, "tool_calls": [{"id": "x"}]},
                {"role": "tool", "content": '{"n":1}', "tool_call_id": "x"},
                {"role": "user", "content": "And 1?"},
            ],
            **{"temperature": 0.5, "max_tokens": 7, "top_p": 0.9, "stop": ["\n"], "seed": 3, "stream": False},
            "response_format": {"type": "json_object"},
        }
    ]


@pytest.mark.parametrize("size", [1, 2, 7, 50])
async def test_a_stream_may_come_in_any_pieces(server: ChatServer, size: int) -> None:
    stream = b": hello\r\n\r\n" + HELLO.replace(b"\n", b"\r\n")
    server.answers = [Answer([stream[at : at + size] for at in range(0, len(stream), size)])]
    sink = RecordingSink()
    assert (await ask(server, sink=sink))["text"] == "Hellö"
    assert set(sink.partials) <= {"", "Hel", "Hellö"}


async def test_the_text_so_far_is_shown_before_the_answer_ends(server: ChatServer) -> None:
    gate, sink = asyncio.Event(), RecordingSink()
    server.answers = [Answer([events(chunk("Once ")), events(chunk("upon", finish_reason="stop"))], gate=gate)]
    asked = asyncio.create_task(ask(server, sink=sink))
    async with asyncio.timeout(DEADLINE):
        while "Once " not in sink.partials:
            await asyncio.sleep(0.005)
    assert not asked.done()
    gate.set()
    assert (await asked)["text"] == "Once upon"


async def test_an_answer_in_one_piece_is_taken_whether_it_was_asked_for_or_not(server: ChatServer) -> None:
    server.answers = [Answer.json(whole("Hello", tool_calls=[{"id": "x"}]))]
    for stream in (True, False):
        output = await ask(server, stream=stream)
        assert (output["text"], output["finishReason"], output["toolCalls"]) == ("Hello", "stop", [{"id": "x"}])


async def test_an_answer_in_json_is_asked_for_and_taken_apart(server: ChatServer) -> None:
    server.answers = [Answer.json(whole('{"sum": 3}'))]
    output = await ask(server, json=True)
    assert (output["json"], output["text"]) == ({"sum": 3}, '{"sum": 3}')
    assert server.asked[0]["response_format"] == {"type": "json_object"}


BROKEN = {
    "text instead of JSON": (Answer.json(whole("Sure! Here it is")), {"json": True}, "not JSON"),
    "a web page": (Answer([b"<html>"], content_type="text/html"), {}, "not JSON"),
    "another API": (Answer.json({"object": "list", "data": []}), {}, "no choice"),
    "an error in the middle": (Answer([events(chunk("He"), {"error": {"message": "overloaded"}})]), {}, "overloaded"),
    "an end too soon": (Answer([events(chunk("He"), chunk("l"))]), {}, "ended before the answer did"),
    "no stream at all": (Answer([b"nothing"]), {}, "ended before the answer did"),
    "half an event": (Answer([b"data: {"]), {}, "not JSON"),
    "an event without end": (Answer([b"data: " + b"x" * 2_000_000]), {}, "larger than"),
}


@pytest.mark.parametrize("case", BROKEN)
async def test_what_is_no_answer_fails_by_that_name(server: ChatServer, case: str) -> None:
    answer, data, reason = BROKEN[case]
    server.answers = [answer]
    error = await failure(server, **data)
    assert (error.code, reason in error.message, error.retryable) == ("bad_answer", True, True)


async def test_a_stream_that_says_its_end_need_not_be_closed(server: ChatServer) -> None:
    server.answers = [Answer([HELLO, b""], gate=asyncio.Event())]
    assert (await ask(server))["text"] == "Hellö"


async def test_a_body_without_end_is_not_read_to_its_end(server: ChatServer) -> None:
    server.answers = [Answer([b" " * 65536] * (MAX_BODY // 65536 + 1), content_type="application/json")]
    assert (await failure(server)).code == "http_too_large"


@pytest.mark.parametrize(
    ("status", "retryable"),
    [(400, False), (404, False), (408, True), (422, False), (425, True), (429, True), (500, True), (503, True)],
)
async def test_a_status_from_400_fails_with_what_the_service_says(
    server: ChatServer, status: int, retryable: bool
) -> None:
    body = {"error": {"message": "The model tiny does not exist"}}
    server.answers = [Answer.json(body, status, **{"Retry-After": "7"})]
    error = await failure(server)
    assert (error.code, error.retryable, error.retry_after) == ("http_status", retryable, 7.0)
    assert error.message.endswith("The model tiny does not exist")
    assert error.details == {"status": status, "body": json.dumps(body), "retryAfter": "7"}


@pytest.mark.parametrize("status", [401, 403])
async def test_a_key_that_is_refused_is_named_and_not_shown(server: ChatServer, status: int) -> None:
    server.answers = [Answer.json({"error": {"message": f"Incorrect API key: {KEY[:6]}"}}, status)]
    error = await failure(server)
    assert (error.code, error.retryable) == ("http_status", False)
    assert "the key in the secret 'OPENAI_API_KEY'" in error.message
    assert KEY[:6] not in f"{error} {error.details}"
    assert "`apiKeySecret` names none" in (await failure(server, apiKeySecret="")).message


async def test_without_a_secret_no_key_is_sent(server: ChatServer) -> None:
    await ask(server, apiKeySecret="")
    assert "authorization" not in server.headers[0]


async def test_a_secret_that_is_not_there_is_named(server: ChatServer) -> None:
    with pytest.raises(SecretMissing, match="MISSING"):
        await ask(server, apiKeySecret="MISSING")
    assert server.asked == []


async def test_a_key_goes_only_to_the_service_of_the_executor_and_the_hosts_that_are_named(server: ChatServer) -> None:
    elsewhere: dict[str, Any] = {"baseUrl": server.base_url, "apiKeySecret": "OTHER"}
    error = await failure(server, service=ChatService(), **elsewhere)
    assert (error.code, "WEFTLINE_EXECUTOR_LLM_KEY_HOSTS" in error.message) == ("http_forbidden", True)
    error = await failure(server, service=ChatService("http://127.0.0.1:1/v1"), **elsewhere)
    assert error.code == "http_forbidden"
    assert server.asked == []
    await ask(server, service=ChatService(key_hosts=frozenset({"127.0.*"})), **elsewhere)
    assert server.headers[0]["authorization"] == "Bearer other"
    await ask(server, service=ChatService(), baseUrl=server.base_url, apiKeySecret="")


async def test_a_private_address_is_refused_unless_it_is_the_service_of_the_executor(server: ChatServer) -> None:
    error = await failure(server, fence=HttpFence(), service=ChatService(), baseUrl=server.base_url, apiKeySecret="")
    assert (error.code, error.retryable) == ("http_forbidden", False)
    assert (await ask(server, fence=HttpFence()))["text"] == "Hellö"
    other = ChatService("http://127.0.0.1:1/v1")
    error = await failure(server, fence=HttpFence(), service=other, baseUrl=server.base_url, apiKeySecret="")
    assert error.code == "http_forbidden"


async def test_a_redirect_is_not_followed(server: ChatServer) -> None:
    server.answers = [Answer(status=307, headers={"Location": f"{server.base_url}/elsewhere"})]
    error = await failure(server)
    assert (error.code, error.retryable, len(server.asked)) == ("http_status", False, 1)


async def test_the_query_of_the_address_stays(server: ChatServer) -> None:
    await ask(server, baseUrl=f"{server.base_url}/?api-version=3")
    assert server.paths == ["/v1/chat/completions?api-version=3"]


async def test_a_service_that_is_not_there_fails(server: ChatServer) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        gone = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
        error = await failure(server, service=ChatService(gone))
    assert (error.code, error.retryable) == ("connection_failed", True)


async def test_a_service_that_does_not_answer_in_time_fails(server: ChatServer) -> None:
    server.answers = [Answer([b": wait\n\n", b""], gate=asyncio.Event())]
    assert (await failure(server, timeout=0.05)).code == "http_timeout"


async def test_a_cancelled_request_hangs_up(server: ChatServer) -> None:
    server.answers = [Answer([events(chunk("a")), b""], gate=asyncio.Event())]
    asked = asyncio.create_task(ask(server))
    await asyncio.wait_for(server.arrived.wait(), DEADLINE)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    await asyncio.wait_for(server.hung_up.wait(), DEADLINE)


@pytest.mark.parametrize(
    ("data", "faults"),
    [
        ({"model": "m"}, [("prompt", "invalid_value")]),
        ({"model": "m", "prompt": "", "messages": []}, [("prompt", "invalid_value")]),
        ({"model": "m", "messages": "{{ params.said }}"}, []),
        ({"model": "m", "prompt": "{{ params.question }}"}, []),
        ({"prompt": "Hi"}, [("model", "missing_field")]),
        ({"model": "m", "prompt": "Hi", "base_url": "x"}, [("base_url", "unknown_key")]),
        ({"model": "m", "prompt": "Hi", "baseUrl": "example.org"}, [("baseUrl", "invalid_value")]),
        ({"model": "m", "messages": [{"role": "robot", "content": "Hi"}]}, [("messages[0].role", "invalid_value")]),
        ({"model": "m", "prompt": "Hi", "temperature": 9}, [("temperature", "invalid_value")]),
    ],
)
def test_what_cannot_be_asked_is_said_before_it_runs(data: dict[str, object], faults: list[tuple[str, str]]) -> None:
    node_type = Registry.with_builtins().get("llm.chat")
    assert node_type is not None
    assert [(fault.path, fault.code) for fault in node_type.check(data)] == faults
