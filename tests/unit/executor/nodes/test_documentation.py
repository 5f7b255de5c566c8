"""Facts about docs/nodes.md: it is current, and what it shows holds."""

import inspect
import json
import re
from collections.abc import Mapping
from typing import Any

import pytest

from scripts.generate_node_docs import DOCUMENT, EXAMPLES, document
from tests.support.chat_server import Answer, ChatServer, whole
from weftline_executor.graph.bodies import BODY_KEY
from weftline_executor.nodes import BodyEnd, Branch, ChatService, HttpFence, NodeFailed, Registry, Scope
from weftline_executor.nodes.expressions import compile_text, is_template
from weftline_executor.nodes.registry import OFF_UNLESS_ENABLED
from weftline_executor.nodes.results import Wait
from weftline_executor.nodes.testing import RecordingSink, make_context

TEXT = DOCUMENT.read_text()

LINES = [
    {"article": {"kind": "book"}, "price": 12},
    {"article": {"kind": "pen"}, "price": 3},
    {"article": {"kind": "book"}, "price": 30},
]
SCOPE = Scope(
    nodes={
        "order": {"output": {"id": "A7", "price": 20, "total": 45, "lines": LINES}},
        "customer": {"output": {"name": "Ada", "tier": "gold"}},
        "ticket": {"output": {"text": "Where is my order?"}},
    },
    inputs={"input": 3},
    params={"sku": "A1", "count": 2, "limit": 10},
)
OUTPUTS: dict[str, object] = {
    "aggregate": [{"key": "book", "lines": 2, "total": 42}, {"key": "pen", "lines": 1, "total": 3}],
    "approval": Wait("approval", message="Ship A1?", deadline=86400, default={"approved": False}),
    "command": "4\n",
    "condition": Branch("false", False),
    "delay": None,
    "fail": "node_failed",
    "filter": [LINES[0], LINES[2]],
    "http.request": 200,
    "input": {"sku": "A1", "count": 2, "limit": 10},
    "llm.chat": "It is late.",
    "log": None,
    "map": LINES,
    "merge": 3,
    "noop": None,
    "output": {"total": 45},
    "python": LINES[2],
    "set": {"total": 40, "currency": "EUR"},
    "switch": Branch("express", "gold"),
    "workflow": {"sku": "A7"},
    "wait_for_event": Wait("event", event="paid-A7", deadline=3600),
    "template": "Dear Ada, thank you for your order.",
}
"""What the examples give when they run in that scope: an output, or the code of an error."""


class GivesItem:
    """A body that gives the item that it runs for, or its parameters when there is none."""

    async def run(self, params: Mapping[str, object], item: int | None = None) -> BodyEnd:
        return BodyEnd("body", "success", params["item"] if item is not None else {"sku": params["sku"]})

    async def under_way(self) -> list[int]:
        return []


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}(?: fragment)?\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)


def test_the_document_is_that_of_the_node_types() -> None:
    assert document(Registry.with_builtins(enabled=OFF_UNLESS_ENABLED)) == TEXT, "run scripts/generate_node_docs.py"


def test_every_builtin_type_has_an_example_without_faults() -> None:
    registry = Registry.with_builtins(enabled=OFF_UNLESS_ENABLED)
    assert sorted(EXAMPLES) == registry.names()
    for block in blocks("json"):
        shown = json.loads(block)
        node_type = registry.get(shown["type"])
        assert node_type is not None
        own = {key: value for key, value in shown["data"].items() if key != BODY_KEY}
        assert node_type.check(own) == []
    assert len(blocks("json")) == len(registry)


@pytest.mark.parametrize("name", EXAMPLES)
async def test_every_example_runs(name: str) -> None:
    server = ChatServer()
    server.answers = [Answer.json(whole("It is late."))]
    async with server.running():
        registry = Registry.with_builtins(
            HttpFence(allow_private=True), ChatService(server.base_url), enabled=OFF_UNLESS_ENABLED
        )
        node_type = registry.get(name)
        assert node_type is not None
        address = server.base_url.removesuffix("/v1")
        data = json.loads(json.dumps(EXAMPLES[name]).replace("https://api.example.org", address))
        data.pop(BODY_KEY, None)
        prepared = node_type.prepare(data)
        ctx = make_context(RecordingSink(), secrets={"OPENAI_API_KEY": "sk-test"}, body=GivesItem())
        try:
            given = prepared.call(ctx, prepared.bind(SCOPE), SCOPE.inputs)
            output: Any = await given if inspect.isawaitable(given) else given
        except NodeFailed as error:
            output = error.code
    told = {"command": "stdout", "llm.chat": "text", "http.request": "status"}.get(name)
    assert (output[told] if told else output) == OUTPUTS[name]


def test_the_python_in_the_document_runs() -> None:
    names: dict[str, Any] = {"__name__": "documentation"}
    assert len(blocks("python")) == 3
    for block in blocks("python"):
        exec(compile(block, str(DOCUMENT), "exec"), names)
    assert names["reserve"].node_type.outputs == ("reserved", "sold_out")
    assert names["resize"].node_type.limits.memory_mb == 2048


def test_the_expressions_in_the_text_are_expressions() -> None:
    prose = re.sub(r"^```.*?^```$", "", TEXT, flags=re.DOTALL | re.MULTILINE)
    shown = [code for code in re.findall(r"`([^`\n]+)`", prose) if is_template(code) and "..." not in code]
    assert len(shown) >= 8
    for code in shown:
        compile_text(code.strip('"'))


def test_two_braces_are_written_as_the_document_says() -> None:
    assert '{{ "{{" }}' in TEXT
    assert compile_text('{{ "{{" }}').render(Scope()) == "{{"
