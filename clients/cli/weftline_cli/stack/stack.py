"""An executor and a bridge as one thing that is started, guarded and ended together."""

import asyncio
import os
from collections.abc import Callable, Coroutine
from importlib.util import find_spec
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from weftline_cli.errors import StackError
from weftline_cli.stack.child import Child
from weftline_cli.stack.data_dir import in_use, is_in_use, prepare_data_dir
from weftline_cli.stack.plan import StackPlan, unusable_listener
from weftline_cli.stack.readiness import bridge_ready, executor_ready, until

READY_S: Final = 30.0
STOP_S: Final = 15.0
FREE_S: Final = 1.0
_NEEDED: Final = ("weftline_executor", "weftline_bridge", "grpc_health", "aiohttp", "msgspec", "pydantic_settings")
_LOCKED: Final = ("in use by another executor", "store_locked")

Result = TypeVar("Result")


class Stack:
    """Both services of a plan, to be used with `async with`: entering starts them and waits until they are ready.

    Leaving ends the bridge, then the executor. `echo` gets the serious log lines, each with its service's name.
    Entering raises StackError when they can't be started or are not ready within 30 s.
    """

    def __init__(self, plan: StackPlan, echo: Callable[[str, str], None]) -> None:
        self._plan = plan
        self._echo = echo
        self._children: list[Child] = []

    async def __aenter__(self) -> Self:
        _require_services()
        logs = prepare_data_dir(self._plan.data_dir)
        await self._until_free()
        executor = Child(
            "executor",
            "weftline_executor",
            self._plan.executor_environment(os.environ),
            logs / "executor.log",
            self._echo,
        )
        bridge = Child(
            "bridge", "weftline_bridge", self._plan.bridge_environment(os.environ), logs / "bridge.log", self._echo
        )
        self._children = [executor, bridge]
        try:
            for child in self._children:
                await child.start()
            await self.guard(self._ready())
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    async def guard(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Return what `work` returns; raises StackError, and cancels it, when a service ends first."""
        task = asyncio.create_task(work, name="stack-work")
        deaths = {asyncio.create_task(child.ended(), name=f"await-{child.name}"): child for child in self._children}
        try:
            await asyncio.wait([task, *deaths], return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            death = next(each for each in deaths if each.done())
            raise self._died(deaths[death], death.result())
        finally:
            for each in (task, *deaths):
                each.cancel()
            await asyncio.gather(task, *deaths, return_exceptions=True)

    async def serve(self) -> None:
        """Wait until a service ends, which raises StackError; otherwise for ever."""
        await self.guard(asyncio.Event().wait())

    async def _ready(self) -> None:
        waiting = "executor"
        try:
            async with asyncio.timeout(READY_S):
                await until(lambda: executor_ready(self._plan.executor.dial))
                waiting = "bridge"
                await until(lambda: bridge_ready(self._plan.bridge.dial))
        except TimeoutError:
            late = next(child for child in self._children if child.name == waiting)
            message = f"The {waiting} was not ready within {READY_S:.0f} s."
            raise StackError("service_not_ready", message, late.tail) from None

    async def _until_free(self) -> None:
        """Wait a moment for services that were killed just now to let go of their data directory and addresses."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + FREE_S
        while (error := self._obstacle()) is not None:
            if loop.time() > deadline:
                raise error
            await asyncio.sleep(0.05)

    def _obstacle(self) -> StackError | None:
        # A Weftline that runs here holds the addresses too, and says more than they do.
        data_dir = self._plan.data_dir
        return in_use(data_dir) if is_in_use(data_dir) else unusable_listener(self._plan)

    async def _stop(self) -> None:
        try:
            for child in reversed(self._children):
                if not await child.stop(STOP_S):
                    self._echo(child.name, f"did not end within {STOP_S:.0f} s of SIGTERM and was killed")
        finally:
            for child in self._children:
                child.kill()

    def _died(self, child: Child, code: int) -> StackError:
        if child.name == "executor" and any(sign in line for line in child.tail for sign in _LOCKED):
            return in_use(self._plan.data_dir)
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        message = f"The {child.name} ended with {how}; its log is {child.log_file}."
        return StackError("service_ended", message, child.tail)


def _require_services() -> None:
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise StackError(
            "services_not_installed",
            f"The services are not installed ({', '.join(missing)} missing): install weftline[executor,bridge].",
        )
