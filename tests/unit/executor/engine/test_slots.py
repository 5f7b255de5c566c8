"""Facts about slots: never too many, none lost, and fair."""

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from weftline_executor.engine.slots import Slots


class Caller:
    """Somebody who wants slots, and notes when it is woken."""

    def __init__(self) -> None:
        self.woken = 0

    def wake(self) -> None:
        """See Slots."""
        self.woken += 1


def test_as_many_are_taken_as_there_are_and_no_more() -> None:
    slots, caller = Slots(2), Caller()
    assert [slots.acquire(caller.wake) for _ in range(3)] == [True, True, False]
    assert (slots.used, slots.waiting) == (2, 1)


def test_a_slot_given_back_is_kept_for_the_one_that_has_waited_longest() -> None:
    slots, holder, first, second = Slots(1), Caller(), Caller(), Caller()
    slots.acquire(holder.wake)
    slots.acquire(first.wake)
    slots.acquire(second.wake)
    slots.release()
    assert (holder.woken, first.woken, second.woken) == (0, 1, 0)
    assert not slots.acquire(holder.wake)
    assert slots.acquire(first.wake)
    slots.release()
    assert (holder.woken, first.woken, second.woken) == (0, 1, 1)


def test_who_asks_twice_waits_once() -> None:
    slots, caller = Slots(1), Caller()
    for _ in range(3):
        slots.acquire(caller.wake)
    assert slots.waiting == 1


def test_a_slot_that_is_not_wanted_any_more_is_passed_on() -> None:
    slots, holder, gone, next_one = Slots(1), Caller(), Caller(), Caller()
    slots.acquire(holder.wake)
    slots.acquire(gone.wake)
    slots.acquire(next_one.wake)
    slots.release()
    slots.pass_on(gone.wake)
    assert (gone.woken, next_one.woken) == (1, 1)
    assert slots.acquire(next_one.wake)
    assert slots.used == 1


def test_who_forgets_is_neither_woken_nor_keeps_a_slot() -> None:
    slots, holder, gone, next_one = Slots(1), Caller(), Caller(), Caller()
    slots.acquire(holder.wake)
    for caller in (gone, next_one):
        slots.acquire(caller.wake)
    slots.forget(gone.wake)
    slots.release()
    slots.forget(next_one.wake)
    assert (gone.woken, next_one.woken, slots.used, slots.waiting) == (0, 1, 0, 0)


def test_passing_on_what_one_does_not_have_changes_nothing() -> None:
    slots, caller = Slots(1), Caller()
    slots.acquire(caller.wake)
    slots.pass_on(caller.wake)
    assert slots.used == 1


class Wanter:
    """A run as slots see it: it wants a number of slots, one at a time, when it is woken or on its own."""

    def __init__(self, slots: Slots, wants: int) -> None:
        self.slots = slots
        self.wants = wants
        self.holds = 0
        self.turn = False

    def wake(self) -> None:
        """Asks for a turn."""
        self.turn = True

    def take_turn(self) -> None:
        """Takes what it wants, and passes on what it does not."""
        self.turn = False
        while self.wants and self.slots.acquire(self.wake):
            self.wants -= 1
            self.holds += 1
        self.slots.pass_on(self.wake)


@given(st.integers(1, 4), st.lists(st.integers(0, 6), min_size=1, max_size=6), st.data())
def test_everybody_gets_all_slots_that_they_want_in_any_order_of_events(
    limit: int, wants: list[int], data: st.DataObject
) -> None:
    slots = Slots(limit)
    wanters = [Wanter(slots, number) for number in wants]
    for wanter in wanters:
        wanter.take_turn()
    while True:
        acts: list[Callable[[], None]] = [wanter.take_turn for wanter in wanters if wanter.turn]
        acts += [give_back(wanter) for wanter in wanters if wanter.holds]
        acts += [forget(wanter) for wanter in wanters if wanter.wants and not wanter.turn]
        if not acts:
            break
        acts[data.draw(st.integers(0, len(acts) - 1))]()
        assert slots.used <= limit
    assert [wanter.wants for wanter in wanters] == [0] * len(wanters)
    assert (slots.used, slots.waiting) == (0, 0)


def give_back(wanter: Wanter) -> Callable[[], None]:
    """An act: a node of the run ends."""

    def act() -> None:
        wanter.holds -= 1
        wanter.slots.release()

    return act


def forget(wanter: Wanter) -> Callable[[], None]:
    """An act: the run is paused, so that it wants nothing when it is woken."""

    def act() -> None:
        wanter.wants = 0

    return act
