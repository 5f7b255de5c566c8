"""What the run of a body is started as: the id of its workflow, and its definition with the parameters it is given."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from weftline_executor.model.events import ParentNode

_UNFIT = re.compile(r"[^A-Za-z0-9._-]+")


def body_workflow_id(parent: ParentNode) -> str:
    """The id of a body's workflow: the same whenever it is asked for, and of one run of the run around it alone."""
    key = "\0".join((parent.run_id, parent.node_id, "" if parent.item is None else str(parent.item)))
    digest = hashlib.sha256(key.encode()).hexdigest()[:16]
    node_id = _UNFIT.sub("-", parent.node_id)[:32]
    item = "" if parent.item is None else f".{parent.item}"
    return f"{parent.workflow_id[:48]}:{node_id}{item}:{digest}"


def with_params(body: bytes, params: Mapping[str, object]) -> bytes:
    """The definition of a body, as JSON text, with these parameters in place of its own of the same name."""
    definition = msgspec.json.decode(body, type=dict[str, Any])
    config = definition.get("config") or {}
    definition["config"] = {**config, "params": {**(config.get("params") or {}), **params}}
    return msgspec.json.encode(definition)
