"""The node that asks a language model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo
from yarl import URL

from weftline_executor.nodes.builtin import web
from weftline_executor.nodes.builtin.chat_answer import BadAnswer, ChatAnswer, reason_of
from weftline_executor.nodes.builtin.fence import HttpFence
from weftline_executor.nodes.builtin.sse import EventStream, EventTooLarge
from weftline_executor.nodes.builtin.text import Text
from weftline_executor.nodes.context import Context
from weftline_executor.nodes.decorator import NodeFunction, node
from weftline_executor.nodes.errors import NodeFailed
from weftline_executor.nodes.values import text
from weftline_executor.settings import DEFAULT_LLM_BASE_URL

if TYPE_CHECKING:
    import aiohttp

MAX_BODY = 4 * 1024 * 1024
MAX_STREAM = 64 * 1024 * 1024

_ERRORS = {
    "connection_failed": "no answer could be had, or it broke off",
    "secret_missing": "there is no secret of the name in `apiKeySecret`",
    "bad_answer": "it is not what such a service answers, not whole, not JSON where it has to be, or holds an error",
}
_SUCCESS = range(200, 300)
_REFUSED = frozenset({401, 403})
_END = "[DONE]"


@dataclass(frozen=True, slots=True)
class ChatService:
    """The service that `llm.chat` asks unless a node names another one.

    Keys are sent to it, and to hosts that match one of `key_hosts` (names, or patterns such as `*.example.org`), but to
    no other: who writes a workflow names the host and the secret, and must not learn what the secret is.
    """

    base_url: str = DEFAULT_LLM_BASE_URL
    key_hosts: frozenset[str] = frozenset()

    def fence(self, address: URL, fence: HttpFence) -> HttpFence:
        """Give the fence for an address: the service that was chosen for this executor is reached wherever it is."""
        if self.base_url == DEFAULT_LLM_BASE_URL or not self._is_own(address):
            return fence
        return HttpFence(allowed_hosts=frozenset({address.host or ""}))

    def may_have_keys(self, address: URL) -> bool:
        """Say whether a secret may be sent to an address."""
        host = (address.host or "").lower()
        return self._is_own(address) or any(fnmatchcase(host, pattern.lower()) for pattern in self.key_hosts)

    def _is_own(self, address: URL) -> bool:
        return address.origin() == URL(self.base_url).origin()


def _content(value: object) -> object:
    # A message may be made of parts, such as a text and an image.
    return value if value is None or isinstance(value, list) else text(value)


def _prompt(value: str, info: ValidationInfo) -> str:
    if not value and not info.data.get("setting_messages", True):
        raise ValueError("should be given, unless `messages` are")
    return value


class ChatMessage(BaseModel):
    """One message; what the API knows beside these two, such as `tool_call_id`, may be there too."""

    model_config = ConfigDict(extra="allow")

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Annotated[object, BeforeValidator(_content)] = None


_MESSAGES = Field(description="What was said so far: `{role, content}`, where content is text or a list of parts.")
Prompt = Annotated[
    Text,
    AfterValidator(_prompt),
    Field(validate_default=True, description="What the user says, after `messages`; needed where there are none."),
]
System = Annotated[Text, Field(description="What the model is told before all else.")]
BaseUrl = Annotated[
    web.WebAddress, Field(alias="baseUrl", description="Where the API is; `/chat/completions` follows.")
]
ApiKeySecret = Annotated[
    str,
    Field(alias="apiKeySecret", max_length=256, description="The name of the secret that is the key; empty for none."),
]
Temperature = Annotated[float | None, Field(ge=0, le=2, description="How much chance there is in the answer.")]
MaxTokens = Annotated[
    int | None, Field(alias="maxTokens", ge=1, description="The most tokens that the answer may have.")
]
TopP = Annotated[
    float | None, Field(alias="topP", gt=0, le=1, description="The share of likely tokens to choose from.")
]
Stop = Annotated[str | list[str] | None, Field(description="Texts at which the answer ends.")]
Json = Annotated[
    bool, Field(description="Whether the answer has to be JSON, whose value is then in the output as `json`.")
]
ResponseFormat = Annotated[
    Mapping[str, object] | None,
    Field(alias="responseFormat", description="What the API takes as `response_format`, such as a JSON Schema."),
]
Stream = Annotated[bool, Field(description="Whether those who watch see the answer while it is made.")]
_EXTRA = Field(description="More for the body of the request, such as `tools`; null leaves a key out.")
Timeout = Annotated[float, Field(gt=0, le=3600, description="Seconds for the whole answer.")]


def llm_chat_at(service: ChatService, fence: HttpFence) -> NodeFunction[..., object]:
    """Give the node type `llm.chat`, which asks `service` by default, and reaches only what the fence admits."""

    @node("llm.chat", title="Ask a language model", idempotency="keyed", errors={**web.ERRORS, **_ERRORS})
    async def llm_chat(
        ctx: Context,
        *,
        model: Annotated[str, Field(min_length=1, description="The model, as the service calls it.")],
        system: System = "",
        messages: Annotated[Sequence[ChatMessage], _MESSAGES] = (),
        prompt: Prompt = "",
        base_url: BaseUrl = service.base_url,
        api_key_secret: ApiKeySecret = "OPENAI_API_KEY",  # noqa: S107 - it is a name
        temperature: Temperature = None,
        max_tokens: MaxTokens = None,
        top_p: TopP = None,
        stop: Stop = None,
        json: Json = False,
        response_format: ResponseFormat = None,
        extra: Annotated[Mapping[str, object], _EXTRA] = {},
        stream: Stream = True,
        timeout: Timeout = 300.0,  # noqa: ASYNC109 - it is a setting of the node, and aiohttp keeps it
    ) -> dict[str, object]:
        """Asks a language model at any service that speaks OpenAI's chat completions, a local one too.

        The output is `{text, finishReason, model, usage: {promptTokens, completionTokens, totalTokens}}`, with `json`
        and `toolCalls` where there are any; what the service does not say is null. While the answer is made, those who
        watch see the text so far. An answer may have 1 Mi characters.

        A key is sent to the service of the executor's `llm_base_url`, and to the hosts of `llm_key_hosts`. A request
        carries an `Idempotency-Key`, the same at each attempt; a service that does not know it makes, and charges for,
        another answer when the executor dies before the first one is kept.
        """
        body = {
            **({"stream_options": {"include_usage": True}} if stream else {}),
            **extra,
            "model": model,
            "messages": _conversation(system, messages, prompt),
            "stream": stream,
            **_given({"temperature": temperature, "max_tokens": max_tokens, "top_p": top_p, "stop": stop}),
            **_given({"response_format": response_format or ({"type": "json_object"} if json else None)}),
        }
        target = _completions(base_url)
        headers = _headers(ctx, service, target, api_key_secret)
        request = _Request(target, headers, msgspec.json.encode(_given(body)), timeout, api_key_secret)
        return await _ask(ctx, service.fence(target, fence), request, json)

    return llm_chat


@dataclass(frozen=True, slots=True)
class _Request:
    target: URL
    headers: Mapping[str, str]
    payload: bytes
    seconds: float
    secret: str


async def _ask(ctx: Context, fence: HttpFence, request: _Request, is_json: bool) -> dict[str, object]:
    async with web.exchange(
        fence,
        "POST",
        request.target,
        headers=request.headers,
        payload=request.payload,
        seconds=request.seconds,
        failed="connection_failed",
    ) as response:
        if response.status not in _SUCCESS:
            raise _refusal(response, await web.read(response, MAX_BODY), request.secret)
        try:
            answer = await _answer(ctx, response)
            return answer.output(is_json)
        except (BadAnswer, EventTooLarge) as error:
            message = f"{web.shown(request.target)}: {error}"
            raise NodeFailed(message, "bad_answer", getattr(error, "details", None)) from None


def _given(values: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in values.items() if value is not None}


def _completions(base_url: str) -> URL:
    # Some services want a query, such as the version of the API.
    url = URL(base_url)
    return url.with_path(url.path.rstrip("/") + "/chat/completions", keep_query=True)


def _conversation(system: str, messages: Sequence[ChatMessage], prompt: str) -> list[dict[str, Any]]:
    said = [message.model_dump() for message in messages]
    before = [{"role": "system", "content": system}] if system else []
    after = [{"role": "user", "content": prompt}] if prompt else []
    return [*before, *said, *after]


def _headers(ctx: Context, service: ChatService, target: URL, secret: str) -> dict[str, str]:
    headers = {
        "Content-Type": "application/json",
        "Accept": "text/event-stream, application/json",
        "Idempotency-Key": ctx.idempotency_key,
        **({"traceparent": ctx.traceparent} if ctx.traceparent else {}),
    }
    if not secret:
        return headers
    if not service.may_have_keys(target):
        message = (
            f"the secret {secret!r} is not sent to {target.host}, which is neither the host of "
            "WEFTLINE_EXECUTOR_LLM_BASE_URL nor one of WEFTLINE_EXECUTOR_LLM_KEY_HOSTS"
        )
        raise NodeFailed(message, "http_forbidden", retryable=False)
    return {**headers, "Authorization": f"Bearer {ctx.secrets[secret].strip()}"}


def _refusal(response: "aiohttp.ClientResponse", content: bytes, secret: str) -> NodeFailed:
    if response.status in _REFUSED:
        # Services repeat a part of the key in the body.
        key = (
            f"does not accept the key in the secret {secret!r}"
            if secret
            else "asks for a key, and `apiKeySecret` names none"
        )
        return web.status_failure(response, b"", f": it {key}")
    try:
        said = reason_of(msgspec.json.decode(content))
    except (ValueError, RecursionError):
        said = ""
    return web.status_failure(response, content, f": {said}" if said else "")


async def _answer(ctx: Context, response: "aiohttp.ClientResponse") -> ChatAnswer:
    answer = ChatAnswer()
    # Whatever was asked for: not every service can stream.
    if response.content_type == "text/event-stream":
        await _take_stream(ctx, response, answer)
    else:
        answer.take_whole(await web.read(response, MAX_BODY))
    return answer


async def _take_stream(ctx: Context, response: "aiohttp.ClientResponse", answer: ChatAnswer) -> None:
    events = EventStream()
    async for chunk in web.chunks(response, MAX_STREAM):
        if _take(answer, events.feed(chunk)):
            return
        ctx.partial(answer.text)
    if not _take(answer, events.close()) and not answer.finished:
        raise BadAnswer("the stream ended before the answer did")


def _take(answer: ChatAnswer, events: list[str]) -> bool:
    """Take what events say, and say whether the last of them ends the stream."""
    for data in events:
        if data.strip() == _END:
            return True
        if data.strip():
            answer.take_chunk(data)
    return False
