"""Runs a command's coroutine so that Ctrl-C and SIGTERM cancel it, and it can say what goes on without it."""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from weftline_cli.errors import InterruptedCommandError

Result = TypeVar("Result")

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine to its end and return its result.

    A signal cancels it and raises InterruptedCommandError, with the hint of the one that the coroutine raised, if any.
    """
    return asyncio.run(_supervised(coroutine))


async def _supervised(coroutine: Coroutine[Any, Any, Result]) -> Result:
    task = asyncio.create_task(coroutine, name="command")
    received: list[int] = []

    def interrupt(number: int) -> None:
        received.append(number)
        task.cancel()

    loop = asyncio.get_running_loop()
    for number in SIGNALS:
        loop.add_signal_handler(number, interrupt, number)
    try:
        return await task
    except (asyncio.CancelledError, InterruptedCommandError) as error:
        if not received:
            raise
        hint = error.hint if isinstance(error, InterruptedCommandError) else ""
        raise InterruptedCommandError(terminated=received[0] != signal.SIGINT, hint=hint) from None
    finally:
        for number in SIGNALS:
            loop.remove_signal_handler(number)
