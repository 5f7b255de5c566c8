"""What a node sees of the run that it is part of."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

from weftline_executor.nodes.artifacts import NodeArtifacts
from weftline_executor.nodes.errors import NodeFailed

Level = Literal["debug", "info", "warn", "error"]

LEVELS: frozenset[str] = frozenset(get_args(Level))


class ContextSink(Protocol):
    """Where a context sends what its node says; called from the event loop or from the thread of the node."""

    def progress(self, fraction: float, message: str | None) -> None:
        """Take how far the attempt is, 0 to 1."""

    def partial(self, text: str) -> None:
        """Take all text that the attempt has made so far."""

    def log(self, level: str, message: str, context: Mapping[str, object]) -> None:
        """Take a log line."""

    def cancelled(self) -> bool:
        """Say whether the attempt should end early."""


@dataclass(frozen=True, slots=True)
class BodyEnd:
    """How a run of a node's body ended: `state` is success, error or stopped; `error` and `code` say why not well.

    `workflow_id` is that of the run, by which it can be watched.
    """

    workflow_id: str
    state: str
    output: object = None
    error: str = ""
    code: str = ""
    node_id: str = ""


class Body(Protocol):
    """The body of a node, which runs as a workflow of its own."""

    async def run(self, params: Mapping[str, object], item: int | None = None) -> BodyEnd:
        """Run the body with these parameters, for the item of this number if it is run for several, and wait.

        Where the executor died meanwhile, or an earlier attempt failed, this goes on with the run that there was.
        """

    async def under_way(self) -> list[int]:
        """Give the items whose runs had begun when the executor died, and go on: somebody has to wait for them."""


class _NoKeeper:
    """Stands where nobody keeps anything."""

    def put(self, data: bytes, content_type: str) -> dict[str, object]:
        """See ArtifactKeeper."""
        raise NodeFailed("artifacts can't be stored here", "artifact_failed", retryable=False)

    def get(self, uri: str) -> bytes:
        """See ArtifactKeeper."""
        raise NodeFailed("artifacts can't be read here", "artifact_failed", retryable=False)


class Context:
    """One attempt of one node, as the first argument of its function.

    `already_elapsed` is the time in seconds that earlier attempts spent before the executor stopped; `sleep` counts it.
    `body` is there for the types that have one. `artifacts` keeps bytes of any kind for as long as the run is kept.
    `traceparent` is the attempt's place in its trace, to be passed on to whom it asks; empty where nobody traces.
    """

    __slots__ = (
        "_credit",
        "_sink",
        "_sleep",
        "artifacts",
        "attempt",
        "body",
        "idempotency_key",
        "node_id",
        "run_id",
        "secrets",
        "traceparent",
        "workflow_id",
    )

    def __init__(
        self,
        workflow_id: str,
        run_id: str,
        node_id: str,
        attempt: int,
        idempotency_key: str,
        sink: ContextSink,
        secrets: Mapping[str, str],
        already_elapsed: float = 0.0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        body: Body | None = None,
        artifacts: NodeArtifacts | None = None,
        traceparent: str = "",
    ) -> None:
        self.workflow_id = workflow_id
        self.run_id = run_id
        self.node_id = node_id
        self.attempt = attempt
        self.idempotency_key = idempotency_key
        self.secrets = secrets
        self.body = body
        self.traceparent = traceparent
        self.artifacts = artifacts or NodeArtifacts(_NoKeeper())
        self._sink = sink
        self._credit = already_elapsed
        self._sleep = sleep

    def progress(self, fraction: float, message: str | None = None) -> None:
        """Report how far the attempt is, from 0 to 1; raises `ValueError` outside of that."""
        if not 0.0 <= fraction <= 1.0:
            raise ValueError(f"progress must be between 0 and 1, not {fraction!r}")
        self._sink.progress(fraction, message)

    def partial(self, text: str) -> None:
        """Show those who watch what the attempt has made so far: the whole text each time, not what is new in it.

        It is not kept: of what comes in quick succession only the newest is shown, and of a long text the end.
        """
        self._sink.partial(text)

    def log(self, message: str, /, level: Level = "info", **context: object) -> None:
        """Write a log line; `context` holds JSON values. Raises `ValueError` for an unknown level."""
        if level not in LEVELS:
            raise ValueError(f"a log level is one of debug, info, warn, error, not {level!r}")
        self._sink.log(level, message, context)

    @property
    def cancelled(self) -> bool:
        """Whether the attempt should end early; a plain function polls it, an async one is cancelled anyway."""
        return self._sink.cancelled()

    async def sleep(self, seconds: float) -> None:
        """Wait, durably: time that earlier attempts of this node already spent counts, over all sleeps together.

        Raises `ValueError` when `seconds` is negative or not finite.
        """
        if not (seconds >= 0.0 and math.isfinite(seconds)):
            raise ValueError(f"a sleep takes 0 seconds or more, not {seconds!r}")
        spent = min(self._credit, seconds)
        self._credit -= spent
        if seconds > spent:
            await self._sleep(seconds - spent)

    def __repr__(self) -> str:
        return f"Context({self.workflow_id!r}, {self.run_id!r}, {self.node_id!r}, attempt={self.attempt})"
