"""Node types for tests that run in worker processes: they work, fail, crash, block, and take all they can get."""

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from weftline_executor.nodes import Branch, Context, NodeFailed, Wait, node

POLL_SECONDS = 0.01
ENDLESS = [sys.executable, "-c", "import time; time.sleep(600)"]


def _note(path: str, text: object) -> None:
    if path:
        with Path(path).open("a") as file:
            file.write(f"{text}\n")


@node("process.give", isolation="process")
def give(ctx: Context, value: object, inputs: dict[str, object], params: dict[str, object]) -> dict[str, object]:
    """Gives what it is given, and where it runs."""
    return {"value": value, "inputs": inputs, "params": params, "pid": os.getpid(), "attempt": ctx.attempt}


@node("process.draw", isolation="process")
def draw(ctx: Context, size: int) -> list[object]:
    """Writes an artifact and reads it again."""
    reference = ctx.artifacts.write(bytes(size), "image/x-test")
    return [reference, len(ctx.artifacts.read(reference))]


@node("process.look_at", isolation="process")
def look_at(ctx: Context, picture: object) -> int:
    """Gives the size of an artifact."""
    return len(ctx.artifacts.read(picture))  # type: ignore[arg-type]


@node("process.nap", isolation="process")
async def nap(ctx: Context, seconds: float = 0.0, notes: str = "") -> int:
    """Sleeps in an event loop, and notes that it was cancelled."""
    _note(notes, os.getpid())
    try:
        await ctx.sleep(seconds)
    except asyncio.CancelledError:
        _note(notes, "cancelled")
        raise
    return os.getpid()


@node("process.branch", isolation="process", outputs=("left", "right"))
def branch(ctx: Context, handle: str, empty: bool = False) -> Branch:
    """Goes the way it is told, also one that it does not have."""
    return Branch(handle) if empty else Branch(handle, {"went": handle})


@node("process.ask", isolation="process")
def ask(ctx: Context, answer: object) -> Wait:
    """Asks for approval, and takes an answer for given at once."""
    return Wait("approval", "may it go on?", deadline=0.1, default=answer)


@node("process.fail", isolation="process")
def fail(ctx: Context, kind: str, retry_after: float = 0.0) -> object:
    """Fails in the way it is told."""
    match kind:
        case "named":
            raise NodeFailed("no paper", "paper", {"tray": 2}, retryable=False, retry_after=retry_after)
        case "raised":
            raise OSError("out of paper")
        case "exit":
            sys.exit(3)
        case "not_json":
            return object()
        case "large":
            return "x" * (2 << 20)
        case "deep":
            value: list[object] = []
            for _ in range(900):
                value = [value]
            return value
        case "half":
            raise ValueError("half \ud800")
        case _:
            raise asyncio.CancelledError


@node("process.flaky", isolation="process")
def flaky(ctx: Context, deaths: int) -> int:
    """Dies in its first attempts."""
    if ctx.attempt <= deaths:
        os.kill(os.getpid(), signal.SIGKILL)
    return ctx.attempt


@node("process.say", isolation="process")
def say(ctx: Context) -> None:
    """Says all that can be said."""
    ctx.progress(0.25, "a quarter")
    for step in range(26, 100):
        ctx.progress(step / 100)
    ctx.partial("so far")
    ctx.log("half \ud800", "warn", half="\ud800", n=1)
    print("printed by a node", flush=True)


@node("process.secret", isolation="process")
def tell_secret(ctx: Context, name: str, raises: bool = False) -> object:
    """Says a secret wherever it can."""
    value = ctx.secrets[name]
    print("the secret is", value)
    ctx.log(f"it is {value}", value=value, nested=[{"value": value}], names=sorted(ctx.secrets))
    ctx.partial(f"it is {value}")
    if raises:
        raise KeyError(value)
    return {"value": value, value: "key"}


@node("process.spin", isolation="process")
def spin(ctx: Context, notes: str = "", polite: bool = False) -> str:
    """Computes without end, or until it is told to stop when it is polite."""
    _note(notes, os.getpid())
    while not (polite and ctx.cancelled):
        pass
    _note(notes, "stopped")
    return "stopped"


@node("process.hold", isolation="process")
def hold(ctx: Context, notes: str = "") -> None:
    """Never lets go of the interpreter, so that no other thread of its process runs."""
    _note(notes, os.getpid())
    ctypes.pythonapi.sleep(600)


@node("process.crash", isolation="process")
def crash(ctx: Context, how: str) -> None:
    """Ends its process."""
    match how:
        case "exit":
            os._exit(7)
        case "segfault":
            ctypes.string_at(0)
        case _:
            os.kill(os.getpid(), signal.SIGKILL)


@node("process.eat", isolation="process")
def eat(ctx: Context, megabytes: int = 1 << 20) -> int:
    """Takes memory, bit by bit."""
    return len([bytearray(1 << 20) for _ in range(megabytes)])


@node("process.eat_more", isolation="process", memory_mb=2048)
def eat_more(ctx: Context, megabytes: int) -> int:
    """Takes memory of which its type may take more than others."""
    return len([bytearray(1 << 20) for _ in range(megabytes)])


@node("process.compute", isolation="process", cpu_seconds=1)
def compute(ctx: Context) -> None:
    """Computes for longer than it may."""
    while True:
        pass


@node("process.children", isolation="process")
def leave_children(ctx: Context, notes: str, wait: bool = True) -> None:
    """Starts a process and one that leaves its session, and waits for them or leaves them behind."""
    child = subprocess.Popen(ENDLESS)
    detached = subprocess.Popen(ENDLESS, start_new_session=True)
    _note(notes, child.pid)
    _note(notes, detached.pid)
    if wait:
        child.wait()


@node("process.untidy", isolation="process")
def leave_untidy(ctx: Context, folder: str) -> None:
    """Changes its process in ways that the next attempt must not see."""
    os.chdir(folder)
    os.environ["LEFT_BEHIND"] = "yes"


@node("process.thread", isolation="process")
def leave_thread(ctx: Context) -> int:
    """Leaves a thread behind."""
    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
    return os.getpid()


@node("process.look", isolation="process")
def look(ctx: Context) -> dict[str, object]:
    """Gives what it sees of its process."""
    return {"folder": os.getcwd(), "environment": dict(os.environ), "pid": os.getpid()}
