"""Facts about docs/nodes.md: it is current, and what it shows holds."""

import json
import re
from typing import Any

from scripts.generate_node_docs import DOCUMENT, EXAMPLES, document
from weftline_executor.nodes import Registry, Scope
from weftline_executor.nodes.expressions import compile_text, is_template

TEXT = DOCUMENT.read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}(?: fragment)?\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)


def test_the_document_is_that_of_the_node_types() -> None:
    assert document(Registry.with_builtins()) == TEXT, "run scripts/generate_node_docs.py"


def test_every_builtin_type_has_an_example_without_faults() -> None:
    registry = Registry.with_builtins()
    assert sorted(EXAMPLES) == registry.names()
    for block in blocks("json"):
        shown = json.loads(block)
        node_type = registry.get(shown["type"])
        assert node_type is not None
        assert node_type.check(shown["data"]) == []
    assert len(blocks("json")) == len(registry)


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
