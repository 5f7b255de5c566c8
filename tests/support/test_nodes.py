"""Node types for tests: they wait at a gate, leave a mark of each attempt, and misbehave in every way.

A gate is a file: a node that is given one goes on when the file exists. Marks are lines that nodes add to a file.
"""

import asyncio
import sys
import threading
import time
from pathlib import Path
from typing import Any

from weftline_executor.nodes import Branch, Context, NodeFailed, Wait, node

POLL_SECONDS = 0.01


def _mark(ctx: Context, marks: str) -> None:
    if marks:
        with Path(marks).open("a") as file:
            file.write(f"{ctx.node_id} {ctx.attempt} {ctx.idempotency_key}\n")


def _is_open(gate: str) -> bool:
    return not gate or Path(gate).exists()


async def _pass(gate: str) -> None:
    while not _is_open(gate):
        await asyncio.sleep(POLL_SECONDS)


@node("test.step")
async def step(ctx: Context, marks: str = "", gate: str = "", value: object = None) -> object:
    """Leaves a mark, waits at the gate, and gives `value`."""
    _mark(ctx, marks)
    await _pass(gate)
    return value


@node("test.keyed", idempotency="keyed")
async def keyed(ctx: Context, marks: str = "", gate: str = "") -> None:
    """Like `test.step`, with an idempotency key."""
    _mark(ctx, marks)
    await _pass(gate)


@node("test.unsafe", idempotency="unsafe")
async def unsafe(ctx: Context, marks: str = "", gate: str = "") -> None:
    """Like `test.step`, and must not run twice."""
    _mark(ctx, marks)
    await _pass(gate)


@node("test.cleanup")
async def cleanup(ctx: Context, marks: str = "", gate: str = "") -> None:
    """Leaves a mark, waits to be cancelled, waits at the gate while it cleans up, and leaves another mark."""
    _mark(ctx, marks)
    try:
        await asyncio.Event().wait()
    finally:
        await _pass(gate)
        _mark(ctx, marks)


@node("test.polite_thread")
def polite_thread(ctx: Context, marks: str = "") -> None:
    """Works in a thread until it is told that it should end."""
    while not ctx.cancelled:
        time.sleep(POLL_SECONDS)
    _mark(ctx, marks)


@node("test.deaf_thread")
def deaf_thread(ctx: Context, gate: str, marks: str = "") -> str:
    """Blocks its thread until the gate opens, whatever it is told; says something before it ends."""
    while not _is_open(gate):
        time.sleep(POLL_SECONDS)
    ctx.log("late")
    ctx.progress(1.0)
    _mark(ctx, marks)
    return "late"


@node("test.block_loop")
async def block_loop(ctx: Context, gate: str) -> None:
    """Blocks its event loop until the gate opens."""
    while not _is_open(gate):
        time.sleep(POLL_SECONDS)  # noqa: ASYNC251 - that is what it is for


@node("test.block_loop_below")
async def block_loop_below(ctx: Context, gate: str) -> None:
    """Blocks its event loop from a task of its own until the gate opens."""
    await asyncio.gather(block_loop(ctx, gate))


@node("test.raise")
def raise_error(ctx: Context, message: str = "out of paper") -> None:
    """Raises an error that nobody expects."""
    raise OSError(message)


@node("test.fail_with_code")
def fail_with_code(ctx: Context, code: str) -> None:
    """Fails in a way that has a name."""
    raise NodeFailed("as agreed", code)


@node("test.given")
async def given(
    ctx: Context, inputs: dict[str, object], params: dict[str, object], value: object = None
) -> list[object]:
    """Gives all that it is given."""
    return [inputs, params, value]


@node("test.echo")
async def echo(ctx: Context, value: object) -> object:
    """Gives what it is given."""
    return value


@node("test.complain")
async def complain(ctx: Context, message: str, code: str, details: dict[str, object]) -> None:
    """Fails with all of this."""
    raise NodeFailed(message, code, details)


@node("test.say")
async def say(ctx: Context, message: str, context: dict[str, object]) -> None:
    """Writes all of this to the log."""
    ctx.log(message, "info", **context)


@node("test.flaky")
async def flaky(ctx: Context, marks: str, failures: int, retry_after: float = 0.0, retryable: bool = True) -> int:
    """Leaves a mark and fails in its first `failures` attempts; then gives the attempt's number."""
    _mark(ctx, marks)
    if ctx.attempt <= failures:
        raise NodeFailed("not yet", "flaky", {"attempt": ctx.attempt}, retryable=retryable, retry_after=retry_after)
    return ctx.attempt


@node("test.fail_later")
async def fail_later(ctx: Context, gate: str, marks: str = "") -> None:
    """Leaves a mark, and fails when the gate opens."""
    _mark(ctx, marks)
    await _pass(gate)
    raise NodeFailed("as agreed")


class _Unshowable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not today")


@node("test.odd_error")
def odd_error(ctx: Context, kind: str) -> None:
    """Fails with what is no proper error."""
    _raise_odd(kind)


@node("test.odd_error_inline", isolation="inline")
def odd_error_inline(ctx: Context, kind: str) -> None:
    """Fails in the engine's event loop with what is no proper error."""
    _raise_odd(kind)


def _raise_odd(kind: str) -> None:
    odd: Any = {"message": ValueError("x"), "code": 404, "details": [1]}.get(kind)
    if kind == "message":
        raise NodeFailed(odd)
    if kind == "code":
        raise NodeFailed("x", odd)
    if kind == "details":
        raise NodeFailed("x", "y", odd)
    raise _Unshowable


@node("test.tell_secret")
async def tell_secret(ctx: Context, name: str, raises: bool = False) -> object:
    """Says a secret wherever it can."""
    value = ctx.secrets[name]
    ctx.log(f"it is {value}", value=value, nested=[{"value": value}])
    if raises:
        raise KeyError(value)
    return {"value": value, value: "key"}


@node("test.draw")
def draw(ctx: Context, size: int = 10, text: str = "") -> dict[str, object]:
    """Writes a picture of so many bytes, or a text, and gives the reference."""
    data = text.encode() or bytes(range(256)) * (size // 256) + bytes(size % 256)
    return ctx.artifacts.write(data, "image/x-test")


@node("test.draw_async")
async def draw_async(ctx: Context, size: int = 10) -> list[object]:
    """Writes a picture and reads it again."""
    reference = await ctx.artifacts.awrite(bytes(size), "image/x-test")
    return [reference, len(await ctx.artifacts.aread(reference))]


@node("test.look")
def look(ctx: Context, picture: object) -> int:
    """Gives the size of a picture."""
    return len(ctx.artifacts.read(picture))  # type: ignore[arg-type]


@node("test.draw_wrongly")
async def draw_wrongly(ctx: Context) -> object:
    """Writes a picture in a way that would hold up its event loop."""
    return ctx.artifacts.write(b"x")


@node("test.draw_secret")
async def draw_secret(ctx: Context, name: str) -> object:
    """Writes a secret into a picture."""
    return await ctx.artifacts.awrite(b"\xff\x00" + ctx.secrets[name].encode() + b"\xff")


@node("test.tell_large_secret")
async def tell_large_secret(ctx: Context, name: str) -> object:
    """Says a secret at the end of a long list."""
    return [*range(20_000), ctx.secrets[name]]


@node("test.exit_thread")
def exit_thread(ctx: Context) -> None:
    """Asks its thread to exit."""
    sys.exit(3)


@node("test.exit_async")
async def exit_async(ctx: Context) -> None:
    """Asks its event loop to exit."""
    sys.exit(3)


@node("test.exit_inline", isolation="inline")
def exit_inline(ctx: Context) -> None:
    """Asks the engine's event loop to exit."""
    sys.exit(3)


@node("test.cancel_itself")
async def cancel_itself(ctx: Context) -> None:
    """Raises what stands for a cancellation, though nobody cancelled it."""
    raise asyncio.CancelledError


@node("test.not_json")
def not_json(ctx: Context) -> object:
    """Gives what is not JSON."""
    return object()


@node("test.half_a_character")
async def half_a_character(ctx: Context, raises: bool = False) -> None:
    """Says what is no Unicode, in its log, its context or its error."""
    ctx.log("half \ud800", half="\ud800")
    if raises:
        raise ValueError("half \ud800")


@node("test.big")
def big(ctx: Context, size: int) -> str:
    """Gives text of this size."""
    return "x" * size


@node("test.rows")
async def rows(ctx: Context, count: int, gate: str = "", marks: str = "") -> dict[str, object]:
    """Leaves a mark, waits at the gate, and gives so many rows of a number and a text."""
    _mark(ctx, marks)
    await _pass(gate)
    return {"rows": [{"n": number, "text": f"row {number}"} for number in range(count)]}


@node("test.nested")
def nested(ctx: Context, depth: int) -> object:
    """Gives arrays within arrays."""
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


@node("test.inputs")
async def give_inputs(ctx: Context, inputs: dict[str, object]) -> dict[str, object]:
    """Gives what arrived, by handle."""
    return inputs


@node("test.params")
async def give_params(ctx: Context, params: dict[str, object]) -> dict[str, object]:
    """Gives the parameters of the run."""
    return params


@node("test.branch", outputs=("left", "right"))
async def branch(ctx: Context, handle: str) -> Branch:
    """Goes the way it is told, also one that it does not have."""
    return Branch(handle, handle)


@node("test.large_branch", outputs=("left", "right"))
async def large_branch(ctx: Context, handle: str) -> Branch:
    """Goes the way it is told, with an output that is too large for an event."""
    return Branch(handle, "x" * 100_000)


@node("test.progress")
async def progress(ctx: Context, reports: list[float], pause: float = 0.0, gate: str = "") -> None:
    """Reports each number, `pause` seconds apart, then waits at the gate."""
    for fraction in reports:
        ctx.progress(fraction)
        await asyncio.sleep(pause)
    await _pass(gate)


@node("test.partial")
async def partial(ctx: Context, texts: list[str], pause: float = 0.0, gate: str = "", secret: str = "") -> str:
    """Shows each text, and a secret if it is given the name of one, `pause` seconds apart; then waits at the gate."""
    text = ""
    for text in texts:
        ctx.partial(text + (ctx.secrets[secret] if secret else ""))
        await asyncio.sleep(pause)
    await _pass(gate)
    return text


@node("test.log")
async def log(ctx: Context, lines: int = 1) -> None:
    """Writes lines to the log, each with its number as context."""
    for number in range(lines):
        ctx.log(f"line {number}", "warn", number=number, node=ctx.node_id)


@node("test.nap")
async def nap(ctx: Context, seconds: float, marks: str = "") -> None:
    """Sleeps durably."""
    _mark(ctx, marks)
    await ctx.sleep(seconds)


@node("test.thread_name")
def thread_name(ctx: Context) -> str:
    """Gives the name of the thread it runs in."""
    return threading.current_thread().name


@node("test.ask_with_secret", isolation="inline")
def ask_with_secret(ctx: Context) -> Wait:
    """Waits for an approval, and shows a secret."""
    return Wait("approval", message=f"use {ctx.secrets['TOKEN']}?")
