"""Facts about answers of chat models: put together from chunks or bodies of any shape, or refused."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.chat_server import chunk, usage, whole
from weftline_executor.nodes.builtin.chat_answer import MAX_TEXT, BadAnswer, ChatAnswer

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KNOWN = st.sampled_from(
    ["choices", "delta", "message", "content", "index", "usage", "model", "finish_reason", "tool_calls", "function"]
)
SHAPES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KNOWN, inner, max_size=4),
    max_leaves=20,
)


def answer_of(*chunks: object) -> ChatAnswer:
    answer = ChatAnswer()
    for each in chunks:
        answer.take_chunk(json.dumps(each))
    return answer


def test_chunks_make_a_text() -> None:
    answer = answer_of(chunk("Hel"), chunk("lo"), chunk(finish_reason="stop"), usage(3, 5))
    assert answer.finished
    assert answer.output(is_json=False) == {
        "text": "Hello",
        "finishReason": "stop",
        "model": "tiny-1",
        "usage": {"promptTokens": 3, "completionTokens": 5, "totalTokens": 8},
    }


def test_a_body_makes_a_text() -> None:
    answer = ChatAnswer()
    answer.take_whole(json.dumps(whole("Hello")))
    assert answer.output(is_json=False)["text"] == "Hello"
    assert answer.finished


def test_parts_of_a_text_are_put_together() -> None:
    answer = ChatAnswer()
    body = whole("")
    body["choices"][0]["message"]["content"] = [{"type": "text", "text": "a"}, {"type": "image"}, {"text": "b"}, 3]
    answer.take_whole(json.dumps(body))
    assert answer.text == "ab"


def test_calls_of_tools_are_put_together() -> None:
    def call(index: int, arguments: str, **more: Any) -> dict[str, Any]:
        return {"index": index, "function": {"arguments": arguments, **more.pop("function", {})}, **more}

    def tools(*calls: dict[str, Any]) -> dict[str, Any]:
        return {"choices": [{"index": 0, "delta": {"tool_calls": list(calls)}}]}

    answer = answer_of(
        tools(call(0, "", id="x", function={"name": "weather"})),
        tools(call(0, '{"city"'), call(1, "{}", id="y", function={"name": "time"})),
        tools(call(0, ':"Ulm"}')),
        chunk(finish_reason="tool_calls"),
    )
    output = answer.output(is_json=False)
    assert output["finishReason"] == "tool_calls"
    assert output["toolCalls"] == [
        {"index": 0, "id": "x", "function": {"name": "weather", "arguments": '{"city":"Ulm"}'}},
        {"index": 1, "id": "y", "function": {"name": "time", "arguments": "{}"}},
    ]


def test_only_the_first_choice_is_taken() -> None:
    other = {"choices": [{"index": 1, "delta": {"content": "no"}}, {"index": 0, "delta": {"content": "yes"}}]}
    assert answer_of(other).text == "yes"


@pytest.mark.parametrize(
    "body",
    [
        {"choices": []},
        {"choices": None, "usage": None},
        {"choices": [{"delta": None}]},
        {"choices": [{"delta": {"role": "assistant", "content": None}}]},
        {"choices": [None, {"index": 0}]},
        {"error": None, "choices": []},
    ],
)
def test_chunks_without_a_text_are_passed_over(body: object) -> None:
    assert answer_of(chunk("a"), body, chunk("b")).text == "ab"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "not JSON"),
        ("[" * 5000, "not JSON"),
        ("[]", "not an object"),
        ('{"error": {"message": "overloaded", "code": 1}}', "overloaded"),
        ('{"error": "broken"}', "broken"),
    ],
)
def test_what_is_no_chunk_is_refused(content: str, reason: str) -> None:
    with pytest.raises(BadAnswer, match=reason):
        ChatAnswer().take_chunk(content)


@pytest.mark.parametrize("body", [{}, {"choices": []}, {"choices": [{"text": "old"}]}, {"choices": "none"}])
def test_a_body_without_a_message_is_refused(body: object) -> None:
    with pytest.raises(BadAnswer, match="no choice with a message"):
        ChatAnswer().take_whole(json.dumps(body))


def test_an_answer_without_end_is_refused() -> None:
    answer = answer_of(*[chunk("x" * (MAX_TEXT // 8))] * 8)
    with pytest.raises(BadAnswer, match="more than"):
        answer.take_chunk(json.dumps(chunk("x")))


@pytest.mark.parametrize(("text", "value"), [(' {"a": [1]}\n', {"a": [1]}), ("null", None), ("3", 3)])
def test_an_answer_that_is_json_has_a_value(text: str, value: object) -> None:
    assert answer_of(chunk(text)).output(is_json=True)["json"] == value


def test_an_answer_that_is_not_json_is_refused_and_shown() -> None:
    with pytest.raises(BadAnswer, match="too long") as caught:
        answer_of(chunk('{"a":', finish_reason="length")).output(is_json=True)
    assert caught.value.details == {"text": '{"a":'}


@given(SHAPES | JSON)
def test_no_body_of_whatever_shape_does_more_than_be_refused(body: object) -> None:
    for take in (ChatAnswer.take_chunk, ChatAnswer.take_whole):
        answer = ChatAnswer()
        try:
            take(answer, json.dumps(body))
            take(answer, json.dumps(body))
        except BadAnswer:
            continue
        assert isinstance(answer.output(is_json=False)["text"], str)
