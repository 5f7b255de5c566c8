"""Messages for the tests of the pure parts."""

from __future__ import annotations

from weftline_bridge.frames import Message


def durable(
    seq: int, *, kind: str = "node.success", level: int = 0, size: int = 20, workflow_id: str = "wf"
) -> Message:
    """A durable message of about `size` bytes."""
    data = b'{"seq":%d}' % seq
    return Message(data + b" " * max(0, size - len(data)), kind, workflow_id, seq, level)


def log(seq: int, level: int, size: int = 20) -> Message:
    """A log line of level 1 (debug) to 4 (error)."""
    return durable(seq, kind="execution.log", level=level, size=size)


def snapshot(seq: int, workflow_id: str = "wf") -> Message:
    """A whole state as of `seq`."""
    return Message(b"%d" % seq, "workflow.snapshot", workflow_id, v1_only=True)


def answer(workflow_id: str) -> Message:
    """The answer to a command."""
    return Message(b'{"answer":true}', "command.accepted", workflow_id, v1_only=True)


def telemetry(node_id: str, progress: float, workflow_id: str = "wf") -> Message:
    """Progress of a node."""
    return Message(
        b'{"progress":%f}' % progress,
        "node.running",
        workflow_id,
        key=(workflow_id, node_id),
        state=("run", node_id, progress),
        node_id=node_id,
    )
