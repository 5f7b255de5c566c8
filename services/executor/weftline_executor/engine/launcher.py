"""Runs a node's code where its type wants it (inline, in the nodes' event loop, in a thread) and says how it went."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Protocol, cast

import msgspec

from weftline_executor.engine.attempt import Attempt, AttemptSink, Reporter
from weftline_executor.engine.nodeloop import NodeLoops
from weftline_executor.engine.verdict import clean, json_object, nests_too_deep
from weftline_executor.graph import NodeDef
from weftline_executor.graph.definition import MAX_DEPTH
from weftline_executor.nodes import (
    Branch,
    ConfigInvalid,
    Context,
    ExpressionFailed,
    NodeFailed,
    NodeType,
    PreparedCall,
    Scope,
    SecretMissing,
    SecretSession,
    SecretUnreadable,
)

MAX_ERROR = 4096
MAX_CODE = 128
MAX_DETAILS = 16_384
_log = logging.getLogger(__name__)
_encoder = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class Success:
    """The attempt gave `output` (JSON text); `handle` is the output handle that fired, or empty."""

    output: bytes
    handle: str


@dataclass(frozen=True, slots=True)
class Failure:
    """The attempt failed: `error` for a person, `code` for a program, `details` a JSON object or empty.

    Trying again makes no sense unless it is `retryable`, and none before `retry_after` seconds have passed.
    """

    error: str
    code: str
    details: bytes = b""
    retryable: bool = True
    retry_after: float = 0.0


class Catalog(Protocol):
    """The node types that exist."""

    def get(self, name: str) -> NodeType | None:
        """The type of this name."""

    def nearest(self, name: str) -> str | None:
        """The known name that is most like this one."""


@dataclass(frozen=True, slots=True)
class PreparedNode:
    """A node made ready to be launched: its type, its call, and the output handles it has."""

    type: NodeType
    call: PreparedCall
    handles: tuple[str, ...]

    @classmethod
    def all(cls, nodes: Sequence[NodeDef], catalog: Catalog) -> list[PreparedNode]:
        """Prepares the nodes of a valid graph; those that are configured alike share one."""
        made: dict[tuple[str, bytes], PreparedNode] = {}
        for node in nodes:
            if node.kind in made:
                continue
            node_type = catalog.get(node.type)
            if node_type is None:
                raise LookupError(f"the graph was compiled with a node type {node.type!r} that is gone")
            made[node.kind] = cls(node_type, node_type.prepare(node.data), node_type.handles(node.data))
        return [made[node.kind] for node in nodes]


class Owner(Reporter, Protocol):
    """Whose attempt it is; called in the engine's event loop only."""

    def finish(self, attempt: Attempt, result: Success | Failure) -> None:
        """The attempt ended."""


@dataclass(frozen=True, slots=True)
class Launch:
    """All that is needed to run one attempt; `already_elapsed` is what earlier attempts took, in seconds."""

    attempt: Attempt
    node: PreparedNode
    inputs: Mapping[str, object]
    scope: Scope
    workflow_id: str
    run_id: str
    already_elapsed: float
    owner: Owner


class Launcher:
    """Runs attempts; `Owner.finish` is called once for each, in the engine's event loop."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, loops: NodeLoops, secrets: Mapping[str, str], max_output: int
    ) -> None:
        self._loop = loop
        self._loops = loops
        self._secrets = secrets
        self._max_output = max_output

    def launch(self, launch: Launch) -> None:
        """Begins an attempt; an inline node has finished when this returns."""
        attempt = launch.attempt
        attempt.secrets = secrets = SecretSession(self._secrets)
        context = Context(
            launch.workflow_id,
            launch.run_id,
            attempt.node_id,
            attempt.number,
            f"{launch.run_id}:{attempt.node_id}",
            AttemptSink(attempt, launch.owner, self._loop),
            secrets,
            launch.already_elapsed,
        )
        try:
            kwargs = launch.node.call.bind(launch.scope)
        except Exception as error:
            launch.owner.finish(attempt, self._failure(launch, error))
            return
        match launch.node.type.isolation:
            case "inline":
                launch.owner.finish(attempt, _without_secrets(attempt, self._call(launch, context, kwargs)))
            case "thread":
                self._in_thread(launch, context, kwargs)
            case _:
                self._in_loop(launch, context, kwargs)

    def _call(self, launch: Launch, context: Context, kwargs: Mapping[str, object]) -> Success | Failure:
        try:
            return self._success(launch, launch.node.call.call(context, kwargs, launch.inputs))
        except BaseException as error:
            # Also `sys.exit`: code of a node must end neither its thread unheard nor the engine.
            return self._failure(launch, error)

    def _in_thread(self, launch: Launch, context: Context, kwargs: Mapping[str, object]) -> None:
        attempt = launch.attempt

        def work() -> None:
            result = self._call(launch, context, kwargs)
            self._report(launch, result)

        # A thread a node, not a pool: a node that never returns is abandoned, and must not hold up another.
        try:
            threading.Thread(target=work, name=f"node:{attempt.node_id}", daemon=True).start()
        except RuntimeError as error:
            launch.owner.finish(attempt, self._failure(launch, error))

    def _in_loop(self, launch: Launch, context: Context, kwargs: Mapping[str, object]) -> None:
        attempt = launch.attempt

        def done(task: asyncio.Task[Any]) -> None:
            if task.cancelled():
                result: Success | Failure = Failure("CancelledError: the node cancelled itself", "node_raised")
            elif (error := task.exception()) is not None:
                result = self._failure(launch, error)
            else:
                result = cast("Success | Failure", task.result())
            self._report(launch, result)

        async def work() -> Success | Failure:
            try:
                awaitable = launch.node.call.call(context, kwargs, launch.inputs)
                return self._success(launch, await cast("Coroutine[Any, Any, object]", awaitable))
            except (SystemExit, KeyboardInterrupt) as error:
                # A task that lets these through ends its event loop, and every other node in it.
                return self._failure(launch, error)

        attempt.cancel = self._loops.submit(attempt, work(), done)

    def _report(self, launch: Launch, result: Success | Failure) -> None:
        shown = _without_secrets(launch.attempt, result)
        # The loop is closed when the process ends before the node does; nobody waits for it then.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(launch.owner.finish, launch.attempt, shown)

    def _success(self, launch: Launch, value: object) -> Success | Failure:
        handle = ""
        if isinstance(value, Branch):
            if value.handle not in launch.node.handles:
                known = ", ".join(launch.node.handles)
                return Failure(
                    f"the node chose the handle {value.handle!r}, which it does not have ({known})",
                    "bad_handle",
                    retryable=False,
                )
            handle, value = value.handle, value.output
        if value is None:
            return Success(b"", handle)
        try:
            output = _encoder.encode(value)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            return Failure(f"the node returned what is not JSON: {error}", "bad_output", retryable=False)
        if len(output) > self._max_output:
            return Failure(
                f"the node's output is {len(output)} bytes, over the limit of {self._max_output}",
                "output_too_large",
                retryable=False,
            )
        if nests_too_deep(output):
            return Failure(f"the node's output nests deeper than {MAX_DEPTH} levels", "bad_output", retryable=False)
        return Success(output, handle)

    def _failure(self, launch: Launch, error: BaseException) -> Failure:
        """What an error means. Never raises, whatever the node's code made of its error."""
        try:
            secrets = launch.attempt.secrets
            return _known_failure(error, secrets) or self._unknown_failure(launch, error, secrets)
        except Exception:
            return Failure(f"{type(error).__name__}, which can't be shown", "node_raised")

    def _unknown_failure(self, launch: Launch, error: BaseException, secrets: SecretSession | None) -> Failure:
        where = f"run {launch.run_id}, node {launch.attempt.node_id!r} ({launch.node.type.name})"
        secret = secrets is not None and secrets.used
        _log.info("%s raised %s", where, type(error).__name__, exc_info=None if secret else error)
        return Failure(_told(f"{type(error).__name__}: {error}", MAX_ERROR, secrets), "node_raised")


def _without_secrets(attempt: Attempt, result: Success | Failure) -> Success | Failure:
    """The result with every secret that the attempt has read taken out."""
    secrets = attempt.secrets
    if secrets is None or not secrets.used:
        return result
    if isinstance(result, Success):
        return Success(secrets.scrub_json(result.output), result.handle)
    return replace(result, error=secrets.scrub(result.error), details=secrets.scrub_json(result.details))


def _told(text: str, limit: int, secrets: SecretSession | None) -> str:
    """A text for an event. Secrets are taken out before it is cut, since half of one would not be recognised."""
    return clean(secrets.scrub(text) if secrets is not None else text, limit)


def _known_failure(error: BaseException, secrets: SecretSession | None) -> Failure | None:
    match error:
        case NodeFailed():
            details = bytes(json_object(error.details, MAX_DETAILS)) if error.details else b""
            return Failure(
                _told(error.message, MAX_ERROR, secrets),
                _told(error.code, MAX_CODE, secrets),
                details,
                error.retryable,
                error.retry_after or 0.0,
            )
        case ConfigInvalid() | ExpressionFailed():
            return Failure(_told(str(error), MAX_ERROR, secrets), error.code, retryable=False)
        case SecretMissing() | SecretUnreadable():
            code = "secret_missing" if isinstance(error, SecretMissing) else "secret_unreadable"
            return Failure(str(error), code, retryable=False)
        case _:
            return None
