"""Reads a workflow from a file or standard input, and makes the changes that options ask for."""

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from weftline_cli.errors import Fault, InvalidWorkflowError, UsageError

STDIN: Final = "-"
_WORKFLOW_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_NODE_PATH = re.compile(r"nodes\[(\d+)\]")
_DEFINITION_PATH = re.compile(r"(nodes|edges|config|definition)\b|$")


@dataclass(frozen=True, slots=True)
class Definition:
    """A workflow as a canvas holds it; `source` is the name of where it came from, for messages."""

    source: str
    body: Mapping[str, Any]

    def to_json(self) -> str:
        """Return the workflow as JSON text."""
        return json.dumps(self.body, ensure_ascii=False, separators=(",", ":"))

    def owns(self, path: str) -> bool:
        """Whether the path of a fault (`nodes[3].data`) is one into a workflow, rather than into a request."""
        return _DEFINITION_PATH.match(path) is not None

    def node_at(self, path: str) -> str:
        """Return the id of the node that a fault's path leads through; empty when it leads through none."""
        match = _NODE_PATH.match(path)
        nodes = self.body.get("nodes")
        if match is None or not isinstance(nodes, list) or int(match[1]) >= len(nodes):
            return ""
        node = nodes[int(match[1])]
        found = node.get("id") if isinstance(node, dict) else None
        return found if isinstance(found, str) else ""

    def with_params(self, params: Mapping[str, Any]) -> "Definition":
        """Return the workflow with these parameters set, the others kept.

        Raises InvalidWorkflowError when `config` or `config.params` is no object.
        """
        if not params:
            return self
        present = self._object(self._config().get("params"), "config.params")
        return self._with_config(params={**present, **params})

    def with_conflict_policy(self, policy: str) -> "Definition":
        """Return the workflow with `config.onConflict` set to `reject`, `replace` or `attach`."""
        return self._with_config(onConflict=policy)

    def _with_config(self, **changes: Any) -> "Definition":
        return replace(self, body={**self.body, "config": {**self._config(), **changes}})

    def _config(self) -> Mapping[str, Any]:
        return self._object(self.body.get("config"), "config")

    def _object(self, value: Any, path: str) -> Mapping[str, Any]:
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise InvalidWorkflowError(self.source, [Fault(path, "wrong_type", f"{path} is a JSON object.")])
        return value


def load(file: str) -> Definition:
    """Read a workflow from the file of that name, or from standard input for `-`.

    Raises UsageError when the file can't be read, InvalidWorkflowError when it holds no JSON object.
    """
    return parse(*read_file(file))


def read_file(file: str) -> tuple[bytes, str]:
    """Return what is in the file of that name (standard input for `-`), and what to call it in messages.

    Raises UsageError when it can't be read.
    """
    try:
        return (sys.stdin.buffer.read(), "standard input") if file == STDIN else (Path(file).read_bytes(), file)
    except OSError as error:
        raise UsageError(f"{file} can't be read: {error.strerror}.") from error


def parse(raw: bytes, source: str) -> Definition:
    """Read a workflow from the bytes of a JSON text in UTF-8; `source` names where they came from."""
    try:
        body = json.loads(raw.decode("utf-8-sig"), parse_constant=refuse_constant)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise InvalidWorkflowError(source, [Fault(where, "bad_json", f"This is not JSON: {error.msg}.")]) from error
    except (ValueError, RecursionError) as error:
        raise InvalidWorkflowError(source, [Fault("", "bad_json", f"This is not JSON: {error}.")]) from error
    if not isinstance(body, dict):
        fault = Fault("", "wrong_type", "A workflow is a JSON object with nodes, edges and config.")
        raise InvalidWorkflowError(source, [fault])
    return Definition(source, body)


def workflow_id_of(file: str, given: str | None) -> str:
    """Return the workflow id to use for a file: the given one, else the file's stem; empty (minted) for `-`.

    Raises UsageError when it is not 1-128 characters of `A-Za-z0-9._:-`.
    """
    if given is None and file == STDIN:
        return ""
    workflow_id = Path(file).stem if given is None else given
    if _WORKFLOW_ID.fullmatch(workflow_id):
        return workflow_id
    advice = " Name one with --id." if given is None else ""
    raise UsageError(f"{workflow_id!r} can't be a workflow id: it takes 1-128 characters of A-Za-z0-9._:-.{advice}")


def parse_param(text: str) -> tuple[str, Any]:
    """Return the name and value of `NAME=VALUE`; a value that is JSON keeps its type, any other is a string.

    Raises UsageError when there is no name.
    """
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UsageError(f"--param takes NAME=VALUE, not {text!r}.")
    try:
        return name, json.loads(value, parse_constant=refuse_constant)
    except ValueError:
        return name, value


def refuse_constant(name: str) -> Any:
    """Refuse NaN and the infinities, which are no JSON; for `parse_constant`."""
    raise ValueError(f"{name} is no JSON value")
