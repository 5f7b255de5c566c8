"""Runs one attempt in a worker process: finds the node type, calls its function, and says how that went."""

import asyncio
import importlib
import inspect
import os
import sys
import threading
import traceback
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, cast

import msgspec

from weftline_executor.graph.definition import MAX_DEPTH, too_deep
from weftline_executor.nodes.artifacts import NodeArtifacts
from weftline_executor.nodes.context import Context
from weftline_executor.nodes.errors import ConfigInvalid, ExpressionFailed, NodeFailed, SecretMissing, SecretUnreadable
from weftline_executor.nodes.node_type import NodeType
from weftline_executor.nodes.results import Branch, Skip, Wait
from weftline_executor.nodes.worker.channel import Channel, RemoteArtifacts, RemoteSecrets
from weftline_executor.nodes.worker.limits import address_space, bound_cpu, bound_memory, has_children
from weftline_executor.nodes.worker.messages import Begin, Begun, Failed, Succeeded
from weftline_executor.nodes.worker.sink import WorkerSink, clean, encode_object

_MAX_DETAILS = 1 << 20
_MAX_TRACE = 16 * 1024
_GROWTH = 4
"""A worker is not used again when an attempt leaves it larger by this part of what it might take."""


class TypeNotFound(Exception):
    """The module of a node type cannot be imported in the worker, or does not hold the type any more."""

    def __init__(self, name: str, module: str, reason: str) -> None:
        super().__init__(f"node type {name!r} cannot run in a process of its own: {reason}")
        self.name = name
        self.module = module
        self.reason = reason


@dataclass(frozen=True, slots=True)
class _Surroundings:
    """What of a process an attempt may change, and the next one should find as it was."""

    folder: str
    environment: dict[str, str]
    threads: int
    space: int

    @classmethod
    def look(cls) -> "_Surroundings":
        return cls(os.getcwd(), dict(os.environ), threading.active_count(), address_space())

    def restore(self, memory: int) -> bool:
        """Put back what can be; say whether nothing else was left."""
        try:
            os.chdir(self.folder)
        except OSError:
            return False
        if os.environ != self.environment:
            os.environ.clear()
            os.environ.update(self.environment)
        grown = address_space() - self.space
        return (
            threading.active_count() <= self.threads
            and not has_children()
            and not (memory and grown > memory // _GROWTH)
        )


def find_type(name: str, module: str) -> NodeType:
    """Give the node type `name` that `module` holds, importing it if need be. Raises `TypeNotFound`."""
    try:
        found = vars(importlib.import_module(module)).values()
    except Exception as error:
        raise TypeNotFound(name, module, f"{module} fails to import: {type(error).__name__}: {error}") from error
    for value in found:
        node_type = value if isinstance(value, NodeType) else getattr(value, "node_type", None)
        if isinstance(node_type, NodeType) and node_type.name == name:
            return node_type
    raise TypeNotFound(name, module, f"{module} holds no such type at its top level")


def run_attempt(channel: Channel, begin: Begin, max_output: int) -> Succeeded | Failed:
    """Run an attempt within its bounds; whatever the node's code raises becomes `Failed`."""
    sink = WorkerSink(channel.send, lambda: channel.cancelled)
    context = Context(
        begin.workflow_id,
        begin.run_id,
        begin.node_id,
        begin.attempt,
        begin.idempotency_key,
        sink,
        RemoteSecrets(channel),
        begin.already_elapsed,
        # In a message the bytes are text, which is a third longer.
        artifacts=NodeArtifacts(RemoteArtifacts(channel, max_output // 4 * 3)),
        traceparent=begin.traceparent,
    )
    before = _Surroundings.look()
    try:
        node_type = find_type(begin.type, begin.module)
        kwargs = _arguments(node_type, begin)
        before = _Surroundings.look()
        channel.send(Begun())
        bound_memory(begin.memory)
        bound_cpu(begin.cpu)
        result = _success(_call(channel, node_type, context, kwargs), max_output)
    except BaseException as error:
        # Also `sys.exit`: a worker ends when the executor says so.
        bound_memory(0)
        result = _failure(error, begin.memory)
    bound_memory(0)
    bound_cpu(0)
    sink.close()
    _flush()
    return msgspec.structs.replace(result, reusable=before.restore(begin.memory))


def _arguments(node_type: NodeType, begin: Begin) -> dict[str, object]:
    kwargs = node_type.arguments(msgspec.json.decode(begin.config))
    if node_type.declaration.wants_inputs:
        kwargs["inputs"] = msgspec.json.decode(begin.inputs)
    if node_type.declaration.wants_params:
        kwargs["params"] = msgspec.json.decode(begin.params)
    return kwargs


def _call(channel: Channel, node_type: NodeType, context: Context, kwargs: dict[str, object]) -> object:
    value = node_type.function(context, **kwargs)
    return asyncio.run(_with_cancel(channel, value)) if inspect.iscoroutine(value) else value


async def _with_cancel(channel: Channel, work: Coroutine[Any, Any, object]) -> object:
    loop = asyncio.get_running_loop()
    task = cast("asyncio.Task[object]", asyncio.current_task())

    def cancel() -> None:
        loop.call_soon_threadsafe(task.cancel)

    channel.on_cancel = cancel
    try:
        if channel.cancelled:
            task.cancel()
        return await work
    finally:
        channel.on_cancel = _ignore


def _success(value: object, max_output: int) -> Succeeded | Failed:
    handle = None
    if isinstance(value, Branch):
        handle, value = clean(str(value.handle)), value.output
    if isinstance(value, Skip):
        return Succeeded(skip=value)
    try:
        if isinstance(value, Wait):
            # Where it holds what is not JSON, that shows here.
            return Succeeded(wait=msgspec.json.decode(msgspec.json.encode(value), type=Wait))
        body = msgspec.json.encode(value)
        # Only what has that many brackets can nest too deep.
        if body.count(b"[") + body.count(b"{") > MAX_DEPTH and too_deep(msgspec.json.decode(body)):
            return Failed(f"the node's output nests deeper than {MAX_DEPTH} levels", "bad_output", retryable=False)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        return Failed(clean(f"the node returned what is not JSON: {error}"), "bad_output", retryable=False)
    if len(body) > max_output:
        message = f"the node's output is {len(body)} bytes, over the limit of {max_output}"
        return Failed(message, "output_too_large", retryable=False)
    return Succeeded(msgspec.Raw(body), handle)


def _failure(error: BaseException, memory: int) -> Failed:
    """Say what an error means. Never raises, whatever the node's code made of its error."""
    try:
        return _known(error, memory) or Failed(
            clean(f"{type(error).__name__}: {error}"), "node_raised", trace=_trace(error)
        )
    except Exception:
        return Failed(f"{type(error).__name__}, which can't be shown", "node_raised")


def _known(error: BaseException, memory: int) -> Failed | None:
    match error:
        case NodeFailed():
            details = encode_object(error.details, _MAX_DETAILS) if error.details else msgspec.Raw(b"null")
            retry_after = error.retry_after or 0.0
            return Failed(clean(error.message), clean(error.code), details, error.retryable, retry_after)
        case ConfigInvalid() | ExpressionFailed():
            return Failed(clean(str(error)), error.code, retryable=False)
        case SecretMissing() | SecretUnreadable():
            code = "secret_missing" if isinstance(error, SecretMissing) else "secret_unreadable"
            return Failed(clean(str(error)), code, retryable=False)
        case TypeNotFound():
            return Failed(clean(str(error)), "type_not_found", retryable=False, trace=_trace(error))
        case MemoryError():
            bound = f", which may take {memory >> 20} MB" if memory else ""
            return Failed(f"the node ran out of memory{bound}", "out_of_memory", trace=_trace(error))
        case _:
            return None


def _unknown(error: BaseException) -> Failed:
    if isinstance(error, asyncio.CancelledError):
        return Failed("CancelledError: the node cancelled itself", "node_raised")
    return Failed(clean(f"{type(error).__name__}: {error}"), "node_raised", trace=_trace(error))


def _trace(error: BaseException) -> str:
    return clean("".join(traceback.format_exception(error))[-_MAX_TRACE:])


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            # The node's code may have closed it.
            continue


def _ignore() -> None:
    """There is nothing to cancel."""
