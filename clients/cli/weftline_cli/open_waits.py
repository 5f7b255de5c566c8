"""What a node waits for that only a person or something outside can end, and the command that ends it."""

import shlex
from dataclasses import dataclass
from typing import Final, Self

from weftline.v1 import events_pb2 as ev
from weftline_cli import text

APPROVAL: Final = "approval"
EVENT: Final = "event"
OPEN_WAITS: Final = (APPROVAL, EVENT)
"""The reasons of a pending node that waits so."""


@dataclass(frozen=True, slots=True)
class OpenWait:
    """A wait of one node: `kind` is one of OPEN_WAITS, `message` says what for, `event` is the awaited one's name.

    `until_ms` is when it ends by itself, in milliseconds since the Unix epoch; None when it does not.
    """

    node_id: str
    kind: str
    message: str = ""
    event: str = ""
    until_ms: int | None = None

    @classmethod
    def of(cls, node: ev.NodeTransition) -> Self | None:
        """Return the wait that a transition tells of, None when it tells of none."""
        if node.status != ev.NODE_STATUS_PENDING or node.reason not in OPEN_WAITS:
            return None
        data = text.decode_json(node.data_json)
        said = data if isinstance(data, dict) else {"message": data}
        until_ms = node.due_ms if node.HasField("due_ms") else None
        return cls(node.node_id, node.reason, _words(said.get("message")), _words(said.get("event")), until_ms)

    def what(self) -> str:
        """Return what is waited for: `approval: Send it?`."""
        what = f"event {text.one_line(self.event, 80)}" if self.kind == EVENT and self.event else self.kind
        return f"{what}: {text.one_line(self.message)}" if self.message else what

    def words(self) -> str:
        """Return what is waited for, and until when: `waits for approval: Send it?, until 2026-11-22 12:00:00`."""
        until = "" if self.until_ms is None else f", until {text.moment(self.until_ms)}"
        return f"waits for {self.what()}{until}"

    def advice(self, workflow_id: str) -> str:
        """Return the command that ends the wait."""
        node = f"weftline complete {_argument(workflow_id)} {_argument(self.node_id)}"
        if self.kind == APPROVAL:
            return f"{node} approves it; with --reject it is rejected."
        if self.event:
            named = f"weftline complete {_argument(workflow_id)} --event {_argument(self.event)}"
            return f"{named} tells all nodes that wait for it; {node} only this one."
        return f"{node} lets it go on."


def _words(value: object) -> str:
    return value if isinstance(value, str) else ""


def _argument(value: str) -> str:
    return shlex.quote(text.one_line(value))
