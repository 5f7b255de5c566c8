"""Facts about running a node's code: where it runs, what it is given, and how its end is told."""

import asyncio
import threading
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from weftline_executor.artifacts import MEMORY, Artifacts, Files
from weftline_executor.engine.attempt import Attempt
from weftline_executor.engine.launch import Launch, PreparedNode
from weftline_executor.engine.launcher import Launcher
from weftline_executor.engine.node_artifacts import ArtifactAccess
from weftline_executor.engine.nodeloop import NodeLoops
from weftline_executor.engine.outcome import Failure, Result, Success
from weftline_executor.engine.processes import Processes
from weftline_executor.engine.workers import WorkerConfig
from weftline_executor.graph.definition import NodeDef
from weftline_executor.metrics import Metrics
from weftline_executor.nodes import Branch, Context, NodeFailed, Registry, Scope, node

SEEN: list[Any] = []
"""What the nodes below saw; emptied before each test."""


def seen_of(ctx: Context) -> None:
    """Notes what a node sees of its run and in which thread it is."""
    SEEN.append((ctx.run_id, ctx.node_id, ctx.attempt, ctx.idempotency_key, ctx.secrets.get("TOKEN")))
    SEEN.append(threading.current_thread().name)


@node("launch.inline", isolation="inline")
def inline(ctx: Context, n: int = 0) -> int:
    """Runs in the engine's loop."""
    seen_of(ctx)
    return n


@node("launch.thread")
def in_thread(ctx: Context, inputs: dict[str, object]) -> dict[str, object]:
    """Runs in a thread."""
    seen_of(ctx)
    return inputs


@node("launch.async")
async def in_loop(ctx: Context, params: dict[str, object]) -> dict[str, object]:
    """Runs in the nodes' loop."""
    seen_of(ctx)
    await asyncio.sleep(0)
    return params


@node("launch.sleep")
async def sleep(ctx: Context, seconds: float) -> None:
    """Sleeps durably."""
    await ctx.sleep(seconds)


@node("launch.forever")
async def forever(ctx: Context) -> None:
    """Waits until it is cancelled."""
    SEEN.append("begun")
    await asyncio.Event().wait()


@node("launch.branch", outputs=("left", "right"), isolation="inline")
def branch(ctx: Context, handle: str) -> Branch:
    """Goes a way."""
    return Branch(handle, 1)


@node("launch.fail", isolation="inline")
def fail(ctx: Context) -> None:
    """Fails with details."""
    raise NodeFailed("no paper", "paper", {"tray": 2})


@dataclass(slots=True)
class Owner:
    """What a run would be told."""

    results: list[Result] = field(default_factory=list)
    threads: list[str] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def finish(self, attempt: Attempt, result: Result) -> None:
        """See Owner."""
        self.results.append(result)
        self.threads.append(threading.current_thread().name)
        self.ended.set()

    def report_progress(self, attempt: Attempt) -> None:
        """See Reporter."""

    def report_log(self, attempt: Attempt, level: str, message: str, context: Mapping[str, object]) -> None:
        """See Reporter."""


@pytest.fixture
async def launcher() -> AsyncIterator[Launcher]:
    SEEN.clear()
    loop, loops = asyncio.get_running_loop(), NodeLoops(5.0)
    access = ArtifactAccess(Artifacts(Files(MEMORY)), loop, 100)
    yield Launcher(loop, loops, Processes(loop, WorkerConfig(), 100, Metrics()), {"TOKEN": "secret"}, 100, access)
    loops.stop()


def prepare(
    owner: Owner, kind: str, data: dict[str, object], *, elapsed: float = 0.0, inputs: dict[str, object] | None = None
) -> Launch:
    """All that is needed to run an attempt of a node of this type."""
    registry = Registry()
    registry.load_module(__name__)
    prepared = PreparedNode.all([NodeDef("a", kind, data, 0)], registry)[0]
    scope = Scope(params={"p": 1})
    attempt = Attempt(0, "a", 2)
    attempt.already_ms = round(elapsed * 1000)
    return Launch(attempt, prepared, inputs or {}, scope, "w", "r", owner)


async def outcome(launcher: Launcher, kind: str, **data: object) -> Result:
    """How an attempt of a node of this type ends."""
    owner = Owner()
    launcher.launch(prepare(owner, kind, data, inputs={"left": [1]}))
    async with asyncio.timeout(10):
        await owner.ended.wait()
    assert len(owner.results) == 1
    assert owner.threads == [threading.current_thread().name]
    return owner.results[0]


async def test_an_inline_node_has_finished_when_its_launch_returns(launcher: Launcher) -> None:
    owner = Owner()
    launcher.launch(prepare(owner, "launch.inline", {"n": 3}))
    assert owner.results == [Success(b"3", "")]


@pytest.mark.parametrize(
    ("kind", "output", "thread"),
    [
        ("launch.inline", b"0", threading.main_thread().name),
        ("launch.thread", b'{"left":[1]}', "node:a"),
        ("launch.async", b'{"p":1}', "weftline-nodes-1"),
    ],
)
async def test_a_node_runs_where_its_type_says_and_is_given_what_it_asks_for(
    launcher: Launcher, kind: str, output: bytes, thread: str
) -> None:
    assert await outcome(launcher, kind) == Success(output, "")
    attempt, ran_in = SEEN
    assert attempt == ("r", "a", 2, "r:a", "secret")
    assert ran_in == thread


async def test_a_sleep_takes_only_what_earlier_attempts_have_left(launcher: Launcher) -> None:
    owner = Owner()
    launcher.launch(prepare(owner, "launch.sleep", {"seconds": 1000}, elapsed=1000.0))
    async with asyncio.timeout(10):
        await owner.ended.wait()
    assert owner.results == [Success(b"", "")]


async def test_a_cancelled_node_ends_as_a_failure(launcher: Launcher) -> None:
    owner = Owner()
    launch = prepare(owner, "launch.forever", {})
    launcher.launch(launch)
    assert launch.attempt.cancel is not None
    launch.attempt.cancel()
    async with asyncio.timeout(10):
        await owner.ended.wait()
    assert [type(result) for result in owner.results] == [Failure]


async def test_a_branch_tells_its_handle_if_the_node_has_it(launcher: Launcher) -> None:
    assert await outcome(launcher, "launch.branch", handle="left") == Success(b"1", "left")
    result = await outcome(launcher, "launch.branch", handle="up")
    assert isinstance(result, Failure)
    assert result.code == "bad_handle"


async def test_a_failure_keeps_its_code_and_details(launcher: Launcher) -> None:
    assert await outcome(launcher, "launch.fail") == Failure("no paper", "paper", b'{"tray":2}')


async def test_a_setting_that_cannot_be_used_fails_the_attempt_before_the_code_runs(launcher: Launcher) -> None:
    result = await outcome(launcher, "launch.inline", n="{{ params.p ~ 'x' }}")
    assert isinstance(result, Failure)
    assert result.code == "bad_config"
    assert SEEN == []


async def test_nodes_that_are_configured_alike_are_prepared_once() -> None:
    registry = Registry()
    registry.load_module(__name__)
    one, two, other = (
        NodeDef(str(at), "launch.inline", {"n": n}, at, kind=kind_of(n)) for at, n in enumerate((1, 1, 2))
    )
    prepared = PreparedNode.all([one, two, other], registry)
    assert prepared[0] is prepared[1]
    assert prepared[0] is not prepared[2]


def kind_of(n: int) -> tuple[str, bytes]:
    """The kind of a node with this setting."""
    return ("launch.inline", str(n).encode())
