"""Validates messages against docs/asyncapi.yaml, taking fields that it does not name for faults."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "asyncapi.yaml"

Json = dict[str, Any]


@functools.cache
def document() -> Json:
    """The document, with every object closed that does not say that it is open."""
    found: Json = yaml.safe_load(DOCUMENT.read_text())
    for message in found["components"]["messages"].values():
        message["payload"]["unevaluatedProperties"] = False
    enveloped = {"Envelope", "Bare", "WorkflowMessage", "RunMessage", "Command", "Subscription", "EchoMessage"}
    for name, schema in found["components"]["schemas"].items():
        if name not in enveloped:
            _close(schema)
    return found


def _close(schema: Any) -> None:
    if isinstance(schema, list):
        for each in schema:
            _close(each)
    if not isinstance(schema, dict):
        return
    if "properties" in schema:
        schema.setdefault("additionalProperties", False)
    for each in schema.values():
        _close(each)


def message_names(channel: str, action: str) -> list[str]:
    """The names of the messages that the bridge receives or sends (`action`) in a dialect."""
    (operation,) = [
        each
        for each in document()["operations"].values()
        if each["action"] == action and each["channel"]["$ref"] == f"#/channels/{channel}"
    ]
    return [each["$ref"].rpartition("/")[2] for each in operation["messages"]]


def types(channel: str, action: str) -> dict[str, str]:
    """The message types that the bridge receives or sends in a dialect, each with its message's name."""
    messages = document()["components"]["messages"]
    return {messages[name]["name"]: name for name in message_names(channel, action)}


@functools.cache
def validator(name: str) -> Draft202012Validator:
    """A validator for one message."""
    return Draft202012Validator({**document(), "$ref": f"#/components/messages/{name}/payload"})


def faults(message: Json, channel: str, action: str) -> list[str]:
    """What is wrong with a message of a dialect; nothing when it is as the document says."""
    name = types(channel, action).get(message["type"])
    if name is None:
        return [f"{message['type']} is no message that the bridge would {action}"]
    return [f"{message['type']} {error.json_path}: {error.message}" for error in validator(name).iter_errors(message)]
