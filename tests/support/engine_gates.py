"""Node types whose every attempt waits for a test to say how it ends."""

import asyncio
from dataclasses import dataclass, field

from tests.support.engine_plans import FAILS
from weftline_executor.nodes import Branch, Context, NodeFailed, node

LATER_SECONDS = 3600.0
"""After how long a failure that asks for time may be tried again."""


@dataclass(eq=False)
class Visit:
    """An attempt that waits; `outcome` is a handle to fire, or FAILS with `how`.

    `name` is that of its node, in a body behind that of the node around.
    """

    run_id: str
    node_id: str
    attempt: int
    name: str
    opened: asyncio.Event = field(default_factory=asyncio.Event)
    outcome: str = ""
    how: str = ""
    gone: bool = False


class Board:
    """The attempts that wait. `opened` is how each was told to end, by run, node and number, `begun` all that began."""

    def __init__(self) -> None:
        self.opened: dict[tuple[str, str, int], str] = {}
        self.begun: list[tuple[str, str, int]] = []
        self._waiting: dict[str, Visit] = {}

    def enter(self, visit: Visit) -> None:
        """An attempt waits; an earlier one of its node does not count any more."""
        self.begun.append((visit.run_id, visit.node_id, visit.attempt))
        self._waiting[visit.name] = visit

    def leave(self, visit: Visit) -> None:
        """An attempt waits no longer."""
        if self._waiting.get(visit.name) is visit:
            del self._waiting[visit.name]

    def waiting(self) -> list[str]:
        """The nodes that wait."""
        return sorted(self._waiting)

    def waits(self, run_id: str, node_id: str, attempt: int) -> bool:
        """Whether this attempt waits."""
        known = {(visit.run_id, visit.node_id, visit.attempt) for visit in self._waiting.values()}
        return (run_id, node_id, attempt) in known

    def open(self, name: str, outcome: str, how: str = "") -> None:
        """Lets the attempt that waits end like this."""
        visit = self._waiting.pop(name)
        self.opened[visit.run_id, visit.node_id, visit.attempt] = outcome
        visit.outcome, visit.how = outcome, how
        visit.opened.set()

    def forget(self) -> None:
        """The process died, and all attempts with it."""
        waiting, self._waiting = self._waiting, {}
        for visit in waiting.values():
            visit.gone = True


BOARDS: dict[str, Board] = {}
"""The board of each workflow."""


async def _pass(ctx: Context, *, stubborn: bool = False) -> Branch | None:
    workflow_id, *bodies = ctx.workflow_id.split(":")
    board = BOARDS[workflow_id]
    visit = Visit(ctx.run_id, ctx.node_id, ctx.attempt, "/".join([*bodies[::2], ctx.node_id]))
    board.enter(visit)
    try:
        try:
            await visit.opened.wait()
        except asyncio.CancelledError:
            if not stubborn or visit.gone:
                raise
            await visit.opened.wait()
    finally:
        board.leave(visit)
    if visit.outcome == FAILS:
        after = LATER_SECONDS if visit.how == "later" else None
        code = "hopeless" if visit.how == "hopeless" else "as_agreed"
        raise NodeFailed("as agreed", code, retryable=visit.how != "hopeless", retry_after=after)
    return Branch(visit.outcome) if visit.outcome else None


@node("model.safe")
async def safe(ctx: Context) -> None:
    """Waits, and may run twice."""
    await _pass(ctx)


@node("model.keyed", idempotency="keyed")
async def keyed(ctx: Context) -> None:
    """Waits, and may run twice with its key."""
    await _pass(ctx)


@node("model.unsafe", idempotency="unsafe")
async def unsafe(ctx: Context) -> None:
    """Waits, and must not run twice."""
    await _pass(ctx)


@node("model.stubborn")
async def stubborn(ctx: Context) -> None:
    """Waits, also when it is cancelled once."""
    await _pass(ctx, stubborn=True)


@node("model.branch", outputs=("left", "right"))
async def branch(ctx: Context) -> Branch | None:
    """Waits, and goes one of two ways."""
    return await _pass(ctx)
