"""Watches a workflow to the end of a run: drives the fold and a screen with what a followed stream brings."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass

from weftline.v1 import events_pb2 as ev
from weftline_cli.errors import NotFoundError
from weftline_cli.items import Arrived, Connected, Item, Remark, Replaced
from weftline_cli.outcome import Outcome
from weftline_cli.remarks import Remarks
from weftline_cli.screens.base import Screen
from weftline_cli.view import RunView


@dataclass(frozen=True, slots=True)
class Ending:
    """When a watch is over.

    With `run_id` when that run ended, or was found to be replaced by a newer one; with `any_run` when a run ended, or
    has ended already; otherwise never. Ends up to the seq `past` are those of earlier generations and do not count.
    `must_exist` is the id of a workflow that must have a run, empty for none; `known` is how the newest run is known to
    have ended when only the past is watched.
    """

    run_id: str = ""
    any_run: bool = False
    must_exist: str = ""
    past: int = 0
    known: ev.RunState.ValueType = ev.RUN_STATE_UNSPECIFIED


def now_ms() -> int:
    """Return the time in milliseconds since the Unix epoch."""
    return time.time_ns() // 1_000_000


async def show_all(screen: Screen, items: AsyncGenerator[Item, None]) -> None:
    """Show everything that `items` brings of any workflow, until they run out."""
    remarks = Remarks(screen)
    with screen:
        try:
            async with aclosing(items):
                async for item in items:
                    if isinstance(item, Replaced):
                        view = RunView()
                        view.replace(item.snapshot, now_ms())
                        screen.snapshot(item.snapshot, view)
                    elif isinstance(item, Arrived):
                        for event in item.events:
                            screen.event(event, RunView())
                    else:
                        remarks.show(item)
        finally:
            remarks.sum_up()


class RunWatch:
    """One workflow on one screen, until the ending."""

    def __init__(self, screen: Screen, ending: Ending, clock_ms: Callable[[], int] = now_ms) -> None:
        self.view = RunView()
        self._screen = screen
        self._ending = ending
        self._clock_ms = clock_ms
        self._remarks = Remarks(screen)

    async def run(self, items: AsyncGenerator[Item, None]) -> Outcome:
        """Show everything that `items` brings; return how it ended.

        The state is the known one when the items ran out, RUN_STATE_UNSPECIFIED when a newer run replaced the awaited
        one.
        Raises NotFoundError when the workflow must exist and does not.
        """
        with self._screen:
            refreshing = self._start_refreshing()
            try:
                async with aclosing(items):
                    outcome = await self._until_end(items, refreshing)
            finally:
                await _cancel(refreshing)
                self._remarks.sum_up()
            if outcome.state and self.view.final:
                self._screen.summary(self.view)
        return outcome

    async def _until_end(self, items: AsyncGenerator[Item, None], refreshing: asyncio.Task[None] | None) -> Outcome:
        async for item in items:
            if refreshing is not None and refreshing.done():
                refreshing.result()
            outcome = self._show(item)
            if outcome is not None:
                return outcome
        return Outcome(self.view.workflow_id, self.view.run_id, self._ending.known)

    def _show(self, item: Item) -> Outcome | None:
        if isinstance(item, Replaced):
            self.view.replace(item.snapshot, self._clock_ms())
            self._screen.snapshot(item.snapshot, self.view)
            for event in item.since:
                self._take(event)
            return self._ended()
        if isinstance(item, Arrived):
            return self._events(item)
        self._remark(item)
        return None

    def _remark(self, item: Remark) -> None:
        self._remarks.show(item)
        if self._ending.must_exist and isinstance(item, Connected) and not item.exists:
            raise NotFoundError(f"There is no run of workflow {self._ending.must_exist} yet.")

    def _events(self, item: Arrived) -> Outcome | None:
        for event in item.events:
            self._take(event)
            if event.WhichOneof("payload") in ("complete", "error") and event.seq > self._ending.past:
                outcome = self._ended()
                if outcome is not None:
                    return outcome
        return None

    def _take(self, event: ev.Event) -> None:
        self.view.apply(event, self._clock_ms())
        self._screen.event(event, self.view)

    def _ended(self) -> Outcome | None:
        view, wanted = self.view, self._ending.run_id
        if wanted and view.run_id != wanted:
            newer = view.run_id > wanted
            return Outcome(view.workflow_id, wanted, ev.RUN_STATE_UNSPECIFIED) if newer else None
        if view.final and (wanted or self._ending.any_run):
            return Outcome(view.workflow_id, view.run_id, view.state)
        return None

    def _start_refreshing(self) -> asyncio.Task[None] | None:
        period_s = self._screen.refresh_s
        if period_s is None:
            return None
        return asyncio.create_task(self._keep_refreshing(period_s), name="screen-refresh")

    async def _keep_refreshing(self, period_s: float) -> None:
        while True:
            self._screen.refresh(self.view, self._clock_ms())
            await asyncio.sleep(period_s)


async def _cancel(task: asyncio.Task[None] | None) -> None:
    if task is None:
        return
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
