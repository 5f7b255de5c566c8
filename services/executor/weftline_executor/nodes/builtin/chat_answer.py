"""Puts the answer of a chat model together, from one body or from the chunks of a stream; knows no socket."""

from collections.abc import Mapping
from typing import Any

import msgspec

MAX_TEXT = 1024 * 1024


class BadAnswer(Exception):
    """What a server sent is no answer of a chat model; `details` is more about it, for a program."""

    def __init__(self, reason: str, details: Mapping[str, object] | None = None) -> None:
        super().__init__(reason)
        self.details = details


class ChatAnswer:
    """The first choice of an answer; `text` is what it says so far.

    The form is that of OpenAI's chat completions, of which servers leave out what they like: of a value that is not of
    the type that it should have, only a text is missed.
    """

    __slots__ = ("_finish_reason", "_model", "_tool_calls", "_usage", "text")

    def __init__(self) -> None:
        self.text = ""
        self._finish_reason: str | None = None
        self._model: str | None = None
        self._usage: dict[str, object] | None = None
        self._tool_calls: list[dict[str, Any]] = []

    @property
    def finished(self) -> bool:
        """Whether the model has said why it ended."""
        return self._finish_reason is not None

    def take_whole(self, content: str | bytes) -> None:
        """Take an answer that came in one piece; raises `BadAnswer`."""
        choice = self._take(content, "message")
        if not choice:
            raise BadAnswer("the answer holds no choice with a message")
        calls = choice.get("tool_calls")
        self._tool_calls = [call for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
        self._finish_reason = self._finish_reason or "stop"

    def take_chunk(self, content: str | bytes) -> None:
        """Take the data of one event of a stream; raises `BadAnswer`, also where it holds an error."""
        delta = self._take(content, "delta")
        calls = delta.get("tool_calls") if delta is not None else None
        for call in calls if isinstance(calls, list) else ():
            if isinstance(call, dict):
                self._take_call(call)

    def output(self, is_json: bool) -> dict[str, object]:
        """Give the output of the node; with `is_json` also the text's value; raises `BadAnswer`."""
        output: dict[str, object] = {
            "text": self.text,
            "finishReason": self._finish_reason,
            "model": self._model,
            "usage": self._usage,
        }
        if self._tool_calls:
            output["toolCalls"] = self._tool_calls
        if is_json:
            output["json"] = self._value()
        return output

    def _value(self) -> object:
        try:
            return msgspec.json.decode(self.text)
        except (ValueError, RecursionError) as error:
            short = " (it ended because it was too long)" if self._finish_reason == "length" else ""
            raise BadAnswer(f"the answer is not JSON: {error}{short}", {"text": self.text[:2048]}) from None

    def _take(self, content: str | bytes, key: str) -> dict[str, Any] | None:
        """Take what bodies and chunks share, and give the message, or what is new of it; None where there is none."""
        body = _object(content)
        if body.get("error"):
            raise BadAnswer(f"the server reports an error: {reason_of(body)}", {"error": body["error"]})
        if isinstance(body.get("model"), str):
            self._model = body["model"]
        if isinstance(body.get("usage"), dict):
            self._usage = _usage(body["usage"])
        choices = body.get("choices")
        found = [each for each in choices if isinstance(each, dict)] if isinstance(choices, list) else []
        choice = next((each for each in found if not each.get("index")), None)
        if choice is None:
            return None
        if isinstance(choice.get("finish_reason"), str):
            self._finish_reason = choice["finish_reason"]
        message = choice.get(key)
        if not isinstance(message, dict):
            return {}
        self.text += _text(message.get("content"))
        if len(self.text) > MAX_TEXT:
            raise BadAnswer(f"the answer has more than {MAX_TEXT} characters")
        return message

    def _take_call(self, call: dict[str, Any]) -> None:
        """Take a piece of a call: its id and its name come first, its arguments bit by bit."""
        index = call.get("index")
        known = next((each for each in self._tool_calls if each.get("index") == index), None)
        if known is None:
            self._tool_calls.append(call)
            return
        more, function = call.get("function"), known.setdefault("function", {})
        if isinstance(more, dict) and isinstance(function, dict):
            function["arguments"] = _text(function.get("arguments")) + _text(more.get("arguments"))


def reason_of(body: object) -> str:
    """Give what the body of a failed request says of its error, cut to 300 characters; empty when it says nothing."""
    error = body.get("error") if isinstance(body, Mapping) else None
    said = error.get("message") if isinstance(error, Mapping) else error
    return said[:300] if isinstance(said, str) else ""


def _object(content: str | bytes) -> dict[str, Any]:
    try:
        body = msgspec.json.decode(content)
    except (ValueError, RecursionError) as error:
        raise BadAnswer(f"the server sent what is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise BadAnswer("the server sent JSON that is not an object")
    return body


def _text(content: object) -> str:
    # Some servers divide a text into parts.
    if isinstance(content, list):
        return "".join(_text(part.get("text")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def _usage(usage: Mapping[str, object]) -> dict[str, object]:
    names = {"promptTokens": "prompt_tokens", "completionTokens": "completion_tokens", "totalTokens": "total_tokens"}
    return {name: usage.get(key) for name, key in names.items()}
