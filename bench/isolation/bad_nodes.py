"""Node types that misbehave, each in the isolation that it is told to be measured in."""

from __future__ import annotations

import os
import time

from weftline_executor.nodes import Context, node


@node("bad.async_block")
async def async_block(ctx: Context, seconds: float) -> None:
    """Blocks the event loop of the nodes, as an author should not."""
    time.sleep(seconds)  # noqa: ASYNC251 - that is what is measured


@node("bad.thread_block")
def thread_block(ctx: Context, seconds: float) -> None:
    """Blocks its thread, as a driver of a database does."""
    time.sleep(seconds)


@node("bad.thread_spin")
def thread_spin(ctx: Context, seconds: float) -> None:
    """Computes in a thread, in Python, which holds the interpreter's lock."""
    _spin(seconds)


@node("bad.process_spin", isolation="process")
def process_spin(ctx: Context, seconds: float) -> None:
    """Computes in a worker process."""
    _spin(seconds)


@node("bad.process_crash", isolation="process")
def process_crash(ctx: Context, seconds: float) -> None:
    """Ends its worker process."""
    os._exit(1)


@node("bad.process_eat", isolation="process")
def process_eat(ctx: Context, seconds: float) -> int:
    """Takes all memory that it can get."""
    taken = []
    while True:
        taken.append(bytearray(1 << 20))


def _spin(seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass
