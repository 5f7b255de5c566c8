"""Hands what is published about one workflow to its readers, once a turn, each in the view it asked for."""

from __future__ import annotations

from collections.abc import Sequence

from weftline_bridge.frames import Batch
from weftline_bridge.hub.audience import Audience, Filter, View
from weftline_bridge.hub.group import Group, Reader, Turns
from weftline_bridge.protocol.minting import Mint


class Caster:
    """The readers of one workflow.

    `readers` asked for this workflow, `everyone` for all of them; those in `exempt` get it in another way than
    as one of everyone. A reader with a floor has all up to that seq already.
    """

    __slots__ = ("_filters", "_floors", "_mint", "_pending", "_turns", "_workflow_id", "everyone", "exempt", "readers")

    def __init__(self, workflow_id: str, everyone: Audience, turns: Turns, mint: Mint) -> None:
        self.readers = Audience(turns, mint.now)
        self.everyone = everyone
        self.exempt: set[Reader] = set()
        self._workflow_id = workflow_id
        self._turns = turns
        self._mint = mint
        self._pending: list[Batch] = []
        self._filters: dict[View, Filter] = {}
        self._floors: dict[Reader, int] = {}

    def publish(self, batch: Batch) -> None:
        """Have a batch handed to all readers at the end of this turn."""
        if not self._pending:
            self._turns.mark(self)
        self._pending.append(batch)

    def flush(self) -> None:
        """Hand what was published in this turn to the groups of readers, which write it one after the other."""
        batches, self._pending = self._pending, []
        if not batches:
            return
        own, everyone = self.readers.views, self.everyone.views
        covering = {view: groups for view, groups in everyone.items() if view.covers(self._workflow_id)}
        for view in {*own, *covering}:
            shaped = batches if view.whole else self._shaped(view, batches)
            if shaped:
                self._hand_out(shaped, own.get(view, ()), covering.get(view, ()))
        if self._floors:
            head = max(message.seq for batch in batches for message in batch.messages)
            self._floors = {reader: floor for reader, floor in self._floors.items() if floor > head}

    def complete(self) -> None:
        """Have all that was published written to all readers, now."""
        self.flush()
        for views in (self.readers.views, self.everyone.views):
            for groups in views.values():
                for group in groups:
                    group.flush()

    def attach(self, reader: Reader, view: View) -> None:
        """Hand to `reader` what is published from now on."""
        self.settle(view)
        self.readers.add(reader, view)
        self.exempt.add(reader)

    def detach(self, reader: Reader) -> bool:
        """Hand to `reader` no more (but as one of everyone, if it is); whether it was attached."""
        self.complete()
        self.exempt.discard(reader)
        self._floors.pop(reader, None)
        return self.readers.discard(reader)

    def raise_floor(self, reader: Reader, seq: int) -> None:
        """`reader` has all up to `seq`, though it has not been published yet."""
        self._floors[reader] = seq

    def floor(self, reader: Reader) -> int:
        """The seq up to which `reader` has all though it was not published yet, 0 when there is none."""
        return self._floors.get(reader, 0)

    def all_readers(self) -> list[Reader]:
        """Everyone to whom this workflow is handed now."""
        return self.readers.readers() + [
            reader for reader in self.everyone.readers_of(self._workflow_id) if reader not in self.exempt
        ]

    def settle(self, view: View) -> None:
        """Hand over what was published, and account for what was withheld from one view."""
        self.complete()
        found = self._filters.get(view)
        gap = found.flush() if found is not None else []
        if gap:
            batch = Batch(gap)
            for reader in self.readers.readers_in(view):
                reader.offer(batch)
            for reader in self.everyone.readers_in(view):
                if reader not in self.exempt:
                    reader.offer(batch)

    def settle_all(self) -> None:
        """The same for all views, so that every reader has been told all up to the head."""
        for view in list(self._filters):
            self.settle(view)

    def start_over(self) -> None:
        """What is published from now on does not follow what was before."""
        self.complete()
        self._filters.clear()
        self._floors.clear()

    def _shaped(self, view: View, batches: list[Batch]) -> list[Batch]:
        filter_ = self._filters.get(view)
        if filter_ is None:
            filter_ = self._filters[view] = Filter(view, self._workflow_id, self._mint)
        passed = filter_.apply([message for batch in batches for message in batch.messages])
        return [Batch(passed)] if passed else []

    def _hand_out(self, shaped: list[Batch], own: Sequence[Group], everyone: Sequence[Group]) -> None:
        exempt, turns = self.exempt, self._turns
        if self._floors:
            for group in (*own, *everyone):
                group.flush()
            readers = [reader for group in own for reader in group.readers]
            readers += [reader for group in everyone for reader in group.readers if reader not in exempt]
            self._offer_above_floors(shaped, readers)
            return
        for group in own:
            group.push(shaped)
        for group in everyone:
            if exempt.isdisjoint(group.readers):
                group.push(shaped)
                continue
            group.flush()
            delivery = turns.share(shaped)
            for reader in group.readers:
                if reader not in exempt:
                    reader.take(delivery)
            turns.account(delivery.wire(group.dialect))

    def _offer_above_floors(self, batches: list[Batch], readers: list[Reader]) -> None:
        messages = [message for batch in batches for message in batch.messages]
        for reader in readers:
            floor = self._floors.get(reader, 0)
            above = [message for message in messages if not message.seq or message.seq > floor]
            if above:
                reader.offer(Batch(above))
