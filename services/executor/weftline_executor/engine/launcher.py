"""Runs a node's code where its type wants it (inline, nodes' event loop, thread, process) and says how it went."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from typing import Any, cast

from weftline_executor.engine.attempt import AttemptSink
from weftline_executor.engine.launch import Launch
from weftline_executor.engine.node_artifacts import ArtifactAccess
from weftline_executor.engine.nodeloop import NodeLoops
from weftline_executor.engine.outcome import Failure, Result, failure_of, result_of, without_secrets
from weftline_executor.engine.processes import Processes
from weftline_executor.nodes import Context, NodeArtifacts, SecretSession
from weftline_executor.tracing import attempt_traceparent


class Launcher:
    """Runs attempts; `Owner.finish` is called once for each, in the engine's event loop.

    Nodes are told their place in a trace where the executor `traces`.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        loops: NodeLoops,
        processes: Processes,
        secrets: Mapping[str, str],
        max_output: int,
        access: ArtifactAccess,
        *,
        traces: bool = False,
    ) -> None:
        self._loop = loop
        self._loops = loops
        self._processes = processes
        self._secrets = secrets
        self._max_output = max_output
        self._access = access
        self._traces = traces

    def launch(self, launch: Launch) -> None:
        """Begins an attempt; an inline node has finished when this returns."""
        attempt = launch.attempt
        attempt.secrets = secrets = SecretSession(self._secrets)
        sink = AttemptSink(attempt, launch.owner, self._loop)
        context = Context(
            launch.workflow_id,
            launch.run_id,
            attempt.node_id,
            attempt.number,
            f"{launch.run_id}:{attempt.node_id}",
            sink,
            secrets,
            attempt.already_ms / 1000,
            body=launch.body,
            artifacts=NodeArtifacts(self._access.of(launch.run_id, secrets)),
            traceparent=self._traceparent(launch) if self._traces else "",
        )
        isolation = launch.node.type.isolation
        try:
            if isolation == "process":
                self._processes.launch(launch, context, sink, secrets)
                return
            kwargs = launch.node.call.bind(launch.scope)
        except Exception as error:
            launch.owner.finish(attempt, self._failure(launch, error))
            return
        match isolation:
            case "inline" if not launch.heavy:
                launch.owner.finish(attempt, without_secrets(self._call(launch, context, kwargs), secrets))
            case "inline" | "thread":
                self._in_thread(launch, context, kwargs)
            case _:
                self._in_loop(launch, context, kwargs)

    def _traceparent(self, launch: Launch) -> str:
        return attempt_traceparent(launch.trace, launch.run_id, launch.attempt.node_id, launch.attempt.number)

    def _call(self, launch: Launch, context: Context, kwargs: Mapping[str, object]) -> Result:
        try:
            return self._result(launch, launch.node.call.call(context, kwargs, launch.inputs))
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
                result: Result = Failure("CancelledError: the node cancelled itself", "node_raised")
            elif (error := task.exception()) is not None:
                result = self._failure(launch, error)
            else:
                result = cast("Result", task.result())
            self._report(launch, result)

        async def work() -> Result:
            try:
                awaitable = launch.node.call.call(context, kwargs, launch.inputs)
                return self._result(launch, await cast("Coroutine[Any, Any, object]", awaitable))
            except (SystemExit, KeyboardInterrupt) as error:
                # A task that lets these through ends its event loop, and every other node in it.
                return self._failure(launch, error)

        attempt.cancel = self._loops.submit(launch.node.type.loop, attempt, work(), done)

    def _report(self, launch: Launch, result: Result) -> None:
        shown = without_secrets(result, launch.attempt.secrets)
        # The loop is closed when the process ends before the node does; nobody waits for it then.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(launch.owner.finish, launch.attempt, shown)

    def _result(self, launch: Launch, value: object) -> Result:
        return result_of(value, launch.node.handles, self._max_output)

    def _failure(self, launch: Launch, error: BaseException) -> Failure:
        return failure_of(error, launch.where, launch.attempt.secrets)
