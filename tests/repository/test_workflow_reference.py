"""docs/workflows.md is the reference of what the executor takes: its workflows are valid, its tables complete."""

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import get_args

import pytest

from tests.repository.documents import Block, blocks
from tests.repository.layout import PACKAGES, ROOT
from weftline_executor.graph import Limits, compile_graph
from weftline_executor.graph.definition import _CONFIG_KEYS, _CONFLICT_POLICIES, _FAILURE_POLICIES, DECORATION
from weftline_executor.graph.joins import DEFAULT_RULE, RULES
from weftline_executor.graph.policy import Retry
from weftline_executor.nodes import Registry
from weftline_executor.nodes.faults import FaultCode

DOCUMENT = ROOT / "docs" / "workflows.md"
PAGE = DOCUMENT.read_text()
WORKFLOWS = [block for block in blocks(DOCUMENT) if block.language == "json" and "nodes" in json.loads(block.content)]


POLICIES = [block for block in blocks(DOCUMENT) if block.language == "json" and "policy" in json.loads(block.content)]


def section(heading: str) -> str:
    """The text of one section of the page."""
    return PAGE.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]


def first_column(heading: str) -> set[str]:
    """The words in backquotes in the first column of the tables of a section."""
    rows = [row.split(" | ")[0] for row in section(heading).splitlines() if row.startswith("| ")]
    return {word for row in rows for word in re.findall(r"`([^`]+)`", row)}


def codes_of(source: Path) -> Iterator[str]:
    """The fault codes that a module writes down: the second argument of a fault, or a variable `code`."""
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Call) and len(node.args) > 1:
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            values = [node.args[1]] if name in ("Fault", "_fault") else []
        elif isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "code":
            values = [node.value]
        else:
            continue
        for value in values:
            found = ast.walk(value) if isinstance(value, ast.IfExp | ast.Constant) else ()
            yield from (each.value for each in found if isinstance(each, ast.Constant) and isinstance(each.value, str))


@pytest.mark.parametrize("block", WORKFLOWS, ids=str)
def test_every_workflow_of_the_page_is_valid(block: Block) -> None:
    assert len(compile_graph(block.content, Registry.with_builtins(), Limits())) > 0


@pytest.mark.parametrize("block", POLICIES, ids=str)
def test_every_policy_of_the_page_is_valid(block: Block) -> None:
    workflow = {"nodes": [{"id": "a", "type": "noop", "data": json.loads(block.content)}]}
    assert len(compile_graph(json.dumps(workflow), Registry.with_builtins(), Limits())) == 1


def test_the_page_has_workflows_and_policies() -> None:
    assert len(WORKFLOWS) >= 3
    assert len(POLICIES) >= 2


def test_the_defaults_of_a_retry_are_those_of_the_code() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([\d.]+) \|", section("Failures"), re.MULTILINE)
    assert {key: float(value) for key, value in rows} == asdict(Retry())


def test_the_table_of_joins_has_every_rule_and_names_the_default() -> None:
    assert first_column("Joins") == {*RULES, "join", '{"n_of": k}'} - {"n_of"}
    assert re.search(rf"^\| `{DEFAULT_RULE}` .*default", section("Joins"), re.MULTILINE)


def test_the_table_of_config_has_every_key_and_every_choice() -> None:
    assert first_column("config") >= _CONFIG_KEYS
    assert all(f"`{choice}`" in section("config") for choice in (*_FAILURE_POLICIES, *_CONFLICT_POLICIES))


def test_the_page_names_every_type_that_only_decorates() -> None:
    assert {name for name in DECORATION if f"`{name}`" not in section("Nodes")} == set()


def test_the_table_of_faults_has_the_codes_that_there_are() -> None:
    graph = PACKAGES["weftline_executor"] / "graph"
    written = {code for source in graph.glob("*.py") for code in codes_of(source)}
    assert first_column("Faults") - {"code"} == written | set(get_args(FaultCode))
