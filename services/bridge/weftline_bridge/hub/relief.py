"""Brings readers that were too slow for the events of a workflow up to date by its state, as soon as they have room."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from weftline_bridge.errors import CommandRefusedError
from weftline_bridge.hub.audience import Audience, View
from weftline_bridge.hub.errands import Errands
from weftline_bridge.hub.feed import Feed
from weftline_bridge.hub.group import Reader
from weftline_bridge.hub.joining import Joiner
from weftline_bridge.hub.watcher import Backoff

SLOW_CLIENT = "slow_client"


class Relief:
    """Tells states to readers that were cut off.

    `named` are the subscriptions of each reader, `everyone` the readers of all workflows.
    """

    def __init__(
        self,
        joiner: Joiner,
        errands: Errands,
        *,
        feeds: Callable[[], Mapping[str, Feed]],
        named: Mapping[Reader, Mapping[str, View]],
        everyone: Audience,
    ) -> None:
        self._joiner = joiner
        self._errands = errands
        self._feeds = feeds
        self._named = named
        self._everyone = everyone

    def relieve(self, reader: Reader, workflow_ids: Sequence[str]) -> None:
        """These workflows were cut off from `reader`: tell their states, once all that waits has been taken."""
        # A subscription that is being answered in this turn begins its own errand, in whose place this one comes.
        asyncio.get_running_loop().call_soon(self._begin, reader, workflow_ids)

    def dismiss(self, reader: Reader, workflow_id: str) -> None:
        """`reader` ended its subscription to a workflow by name, or to all, or begins it anew."""
        if workflow_id in reader.cut_off and self._view(reader, workflow_id) is not None:
            # It goes on as one of those who read all workflows, and still lacks the state.
            return
        self._errands.end(reader, workflow_id)
        reader.reopen(workflow_id)

    def _view(self, reader: Reader, workflow_id: str) -> View | None:
        view = self._named.get(reader, {}).get(workflow_id)
        if view is not None:
            return view
        view = self._everyone.view_of(reader)
        return view if view is not None and view.covers(workflow_id) else None

    def _begin(self, reader: Reader, workflow_ids: Sequence[str]) -> None:
        feeds = self._feeds()
        for workflow_id in workflow_ids:
            feed = feeds.get(workflow_id)
            if workflow_id not in reader.cut_off:
                continue
            if feed is None or self._view(reader, workflow_id) is None:
                reader.reopen(workflow_id)
            else:
                self._errands.run(reader, workflow_id, self._replace(feed, reader))

    async def _replace(self, feed: Feed, reader: Reader) -> None:
        backoff = Backoff()
        while True:
            try:
                await reader.room()
                known = await self._joiner.refresh(feed)
                break
            except CommandRefusedError:
                await asyncio.sleep(backoff.next())
        # From here on nothing waits: what is published now comes after what is told.
        workflow_id = feed.workflow_id
        view = self._view(reader, workflow_id)
        if view is None:
            reader.reopen(workflow_id)
            return
        feed.caster.settle(view)
        reader.reopen(workflow_id)
        if known:
            after = feed.tell_state(reader, view, reason=SLOW_CLIENT)
        else:
            after = feed.tip
            feed.answer(reader, "gone", after, reason=SLOW_CLIENT)
        if workflow_id in self._named.get(reader, {}):
            feed.attach(reader, view, after)
        else:
            feed.caster.exempt.discard(reader)
            feed.skip_to(reader, after)
