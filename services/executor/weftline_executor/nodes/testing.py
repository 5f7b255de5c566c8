"""What authors need to test their nodes without an executor: a context that records what a node says."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from weftline_executor.nodes.artifacts import ArtifactKeeper, NodeArtifacts
from weftline_executor.nodes.context import Body, Context
from weftline_executor.nodes.errors import NodeFailed


@dataclass(slots=True)
class RecordingSink:
    """A sink that keeps everything, and an attempt that is cancelled when `is_cancelled` says so.

    `reports` are `(fraction, message)`, `partials` the texts so far, `lines` are `(level, message, context)`, `sleeps`
    are the seconds waited for.
    """

    reports: list[tuple[float, str | None]] = field(default_factory=list)
    partials: list[str] = field(default_factory=list)
    lines: list[tuple[str, str, dict[str, object]]] = field(default_factory=list)
    sleeps: list[float] = field(default_factory=list)
    is_cancelled: bool = False

    def progress(self, fraction: float, message: str | None) -> None:
        """Keep a report of progress."""
        self.reports.append((fraction, message))

    def partial(self, text: str) -> None:
        """Keep a text so far."""
        self.partials.append(text)

    def log(self, level: str, message: str, context: Mapping[str, object]) -> None:
        """Keep a log line."""
        self.lines.append((level, message, dict(context)))

    def cancelled(self) -> bool:
        """Say what `is_cancelled` says."""
        return self.is_cancelled

    async def sleep(self, seconds: float) -> None:
        """Keep a wait, without waiting."""
        self.sleeps.append(seconds)


@dataclass(slots=True)
class RecordingKeeper:
    """Keeps artifacts in `kept`, as bytes and content type by uri."""

    kept: dict[str, tuple[bytes, str]] = field(default_factory=dict)

    def put(self, data: bytes, content_type: str) -> dict[str, object]:
        """Keep bytes."""
        digest = hashlib.sha256(data).hexdigest()
        uri = f"weftline:test-run/{digest}"
        self.kept[uri] = (data, content_type)
        return {"uri": uri, "size": len(data), "sha256": digest, "contentType": content_type}

    def get(self, uri: str) -> bytes:
        """Give what was kept."""
        if uri not in self.kept:
            raise NodeFailed(f"there is no artifact {uri!r}", "artifact_not_found", retryable=False)
        return self.kept[uri][0]


def make_context(
    sink: RecordingSink,
    *,
    attempt: int = 1,
    idempotency_key: str = "test-key",
    secrets: Mapping[str, str] | None = None,
    already_elapsed: float = 0.0,
    body: Body | None = None,
    keeper: ArtifactKeeper | None = None,
    traceparent: str = "",
) -> Context:
    """Make a context whose `sleep` returns at once and whose every word goes to `sink`.

    Its artifacts are kept by `keeper`, or in memory.
    """
    return Context(
        "test-workflow",
        "test-run",
        "test-node",
        attempt,
        idempotency_key,
        sink,
        secrets or {},
        already_elapsed,
        sink.sleep,
        body,
        NodeArtifacts(keeper or RecordingKeeper()),
        traceparent,
    )
