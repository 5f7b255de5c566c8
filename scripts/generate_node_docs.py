"""Writes docs/nodes.md from its introduction and the built-in node types; with --check, only compares."""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from weftline_executor.nodes import NodeType, Registry
from weftline_executor.nodes.filters import EXPRESSION_FILTERS
from weftline_executor.nodes.registry import ENABLE_SETTING, OFF_UNLESS_ENABLED

ROOT = Path(__file__).resolve().parents[1]
INTRODUCTION = ROOT / "scripts" / "node_docs_intro.md.in"
DOCUMENT = ROOT / "docs" / "nodes.md"

# One node of each type, as it stands in a workflow.
EXAMPLES: dict[str, dict[str, object]] = {
    "map": {
        "items": "{{ nodes.order.output.lines }}",
        "concurrency": 5,
        "onItemError": "drop",
        "workflow": {"nodes": [{"id": "price", "type": "output", "data": {"value": "{{ params.item.price }}"}}]},
    },
    "workflow": {
        "values": {"sku": "{{ nodes.order.output.id }}"},
        "workflow": {"nodes": [{"id": "say", "type": "log", "data": {"message": "checking {{ params.sku }}"}}]},
    },
    "aggregate": {
        "items": "{{ nodes.order.output.lines }}",
        "groupBy": "article.kind",
        "values": {"lines": {"op": "count"}, "total": {"op": "sum", "field": "price"}},
    },
    "approval": {"message": "Ship {{ params.sku }}?", "deadline": 86400, "default": {"approved": False}},
    "command": {"argv": ["wc", "-w"], "stdin": "{{ nodes.ticket.output.text }}", "timeout": 60},
    "condition": {"expression": "nodes.order.output.total > 100"},
    "delay": {"seconds": 2.5},
    "fail": {"message": "{{ nodes.order.output.id }} cannot be shipped"},
    "filter": {"items": "{{ nodes.order.output.lines }}", "where": "item.price > params.limit"},
    "http.request": {
        "method": "POST",
        "url": "https://api.example.org/orders",
        "body": {"sku": "{{ params.sku }}", "count": 2},
        "timeout": 10,
    },
    "input": {"values": {"sku": "A1", "count": 1}},
    "llm.chat": {
        "model": "gpt-4o-mini",
        "system": "You sum up tickets in one sentence.",
        "prompt": "{{ nodes.ticket.output.text }}",
        "maxTokens": 100,
    },
    "log": {"message": "{{ inputs.input }} items left", "level": "warn"},
    "merge": {},
    "noop": {},
    "output": {"value": {"total": "{{ nodes.order.output.total }}"}},
    "python": {
        "code": "best = max(values['lines'], key=lambda line: line['price'])\nprint('found', best)\nreturn best",
        "values": {"lines": "{{ nodes.order.output.lines }}"},
        "repeatable": True,
    },
    "set": {"values": {"total": "{{ nodes.order.output.price * params.count }}", "currency": "EUR"}},
    "switch": {
        "expression": "nodes.customer.output.tier",
        "cases": [{"value": "gold", "handle": "express"}, {"value": "silver", "handle": "standard"}],
        "default": "economy",
    },
    "wait_for_event": {"event": "paid-{{ nodes.order.output.id }}", "deadline": 3600},
    "template": {"template": "Dear {{ nodes.customer.output.name }}, thank you for your order."},
}

_INPUTS = {True: "is used", False: "is used where an expression reads it"}
_ISOLATION = {
    "async": "in the event loop of the nodes (`async`)",
    "inline": "in the event loop of the engine (`inline`)",
    "process": "in a worker process (`process`)",
    "thread": "in a thread of its own (`thread`)",
}
_IDEMPOTENCY = {
    "safe": "runs again",
    "keyed": "runs again with the same idempotency key",
    "unsafe": "makes the run pause until a person decides",
}
_BOUNDS = {"minimum": "from {}", "exclusiveMinimum": "over {}", "maximum": "up to {}", "exclusiveMaximum": "under {}"}


def document(registry: Registry) -> str:
    """Give the whole document."""
    filters = ", ".join(f"`{name}`" for name in sorted(EXPRESSION_FILTERS) if name.isidentifier())
    introduction = INTRODUCTION.read_text().replace("@FILTERS@", filters)
    return introduction + "\n".join("\n".join(section(node_type)) for node_type in registry)


def section(node_type: NodeType) -> Iterator[str]:
    """Give the lines of the section about one type."""
    yield f"### {node_type.name}"
    yield ""
    yield f"**{node_type.title}.** {node_type.description}"
    yield ""
    if node_type.name in OFF_UNLESS_ENABLED:
        yield f"It is off unless the executor is started with `{ENABLE_SETTING}={node_type.name}`."
        yield ""
    properties = node_type.config_schema["properties"]
    if isinstance(properties, dict) and properties:
        yield from settings_table(node_type.config_schema, properties)
    else:
        yield "It has no settings."
    yield ""
    yield f"- Output handles: {handles(node_type)}"
    yield f"- What arrives: {_INPUTS[node_type.declaration.wants_inputs]}"
    yield f"- Where it runs: {_ISOLATION[node_type.isolation]}"
    yield f"- If the executor dies while it runs: it {_IDEMPOTENCY[node_type.idempotency]}"
    if node_type.errors:
        yield "- Codes of its errors:"
        yield from (f"    - `{code}`: {when}" for code, when in sorted(node_type.errors.items()))
    yield ""
    yield "```json"
    example = {"id": "example", "type": node_type.name, "data": EXAMPLES[node_type.name]}
    yield json.dumps(example, indent=2, ensure_ascii=False)
    yield "```"
    yield ""


def settings_table(schema: Mapping[str, Any], properties: Mapping[str, Any]) -> Iterator[str]:
    """Give the lines of the table of a type's settings."""
    required = schema.get("required", [])
    yield "| setting | type | default | meaning |"
    yield "| --- | --- | --- | --- |"
    for name, setting in properties.items():
        default = "required" if name in required else shown_default(setting)
        meaning = setting.get("description", "").replace("|", "\\|")
        yield f"| `{name}` | {shown_type(setting, schema)} | {default} | {meaning} |"


def handles(node_type: NodeType) -> str:
    """Name the output handles of a type."""
    fixed = ", ".join(f"`{handle}`" for handle in node_type.outputs)
    named = "those that the settings name" if node_type.dynamic_handles else ""
    return " and ".join(part for part in (fixed, named) if part)


def shown_default(setting: Mapping[str, Any]) -> str:
    """Write a default as JSON; `none` where the setting may be left out and JSON cannot say what then holds."""
    return f"`{json.dumps(setting['default'], ensure_ascii=False)}`" if "default" in setting else "none"


def shown_type(setting: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """Write the type of a setting in a few words."""
    if "$ref" in setting:
        setting = schema["$defs"][setting["$ref"].rpartition("/")[2]]
    if setting.get("format") == "expression":
        return "expression"
    if "enum" in setting:
        return ", ".join(f"`{choice}`" for choice in setting["enum"])
    choices = setting.get("anyOf", setting.get("oneOf", []))
    if choices:
        # Null stands for what is left out.
        return " or ".join(shown_type(each, schema) for each in choices if each != {"type": "null"})
    if setting.get("type") in ("array", "object"):
        return shown_container(setting, schema)
    bounds = [text.format(setting[key]) for key, text in _BOUNDS.items() if key in setting]
    return " ".join([setting.get("type", "any value"), *bounds])


def shown_container(setting: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """Write the type of a list or an object in a few words."""
    if setting["type"] == "array":
        return f"list of {shown_type(setting['items'], schema)}"
    if isinstance(setting.get("additionalProperties"), dict):
        return f"object of {shown_type(setting['additionalProperties'], schema)}"
    return f"`{{{', '.join(setting['properties'])}}}`" if "properties" in setting else "object"


def main() -> int:
    """Rewrite the document, or with --check say whether it is current; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail when the document is not current")
    current = document(Registry.with_builtins(enabled=OFF_UNLESS_ENABLED))
    if not parser.parse_args().check:
        DOCUMENT.write_text(current)
        return 0
    if DOCUMENT.exists() and DOCUMENT.read_text() == current:
        return 0
    print("docs/nodes.md is not current: run scripts/generate_node_docs.py.", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
