"""What the reference says of the bodies of one node: when they run, and what the node has to give in the end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from tests.support.engine_plans import GIVEN, Body

FINAL = ("success", "stopped", "error")
HELD = ("pausing", "paused")
PARENT_PAUSED, PARENT_STOPPED = "parent_paused", "parent_stopped"


class Run(Protocol):
    """What is known of the run of a body: its state, the reason of that, and the code that it failed with.

    One that is `terminated` is waited for by nobody.
    """

    state: str
    reason: str
    code: str
    terminated: bool


@dataclass(slots=True)
class Bodies:
    """The runs of a node's body, by the number of the item, which is 0 where there are no items.

    `anew` counts the attempts of the node that try again what failed; one after a crash goes on with the one before.
    """

    body: Body
    runs: dict[int, Run] = field(default_factory=dict)
    anew: int = 0
    _tried: dict[int, int] = field(default_factory=dict)

    def active(self) -> list[Run]:
        """The runs that have not ended."""
        return [run for run in self.runs.values() if run.state not in FINAL]

    @property
    def resting(self) -> bool:
        """Whether nothing runs in any of them."""
        return all(run.state == "paused" for run in self.active())

    @property
    def ending(self) -> bool:
        """Whether those that are not paused come to their end, because somebody has stopped them."""
        return all(run.state in ("paused", "stopping") for run in self.active())

    @property
    def awaited(self) -> bool:
        """Whether the run around does not come to its end before one of them has."""
        return any(not run.terminated for run in self.active())

    def begins(self, item: int, run: Run) -> None:
        """The run for an item begins: the first and only one."""
        assert 0 <= item < self.body.count
        assert item not in self.runs, f"a second run for the item {item}"
        self._tries(item)
        self.runs[item] = run

    def goes_on(self, item: int) -> None:
        """A run that had failed goes on where it failed."""
        assert self._tried[item] < self.anew, f"the item {item} is tried twice in one attempt"
        self._tries(item)

    def _tries(self, item: int) -> None:
        assert self.anew, "a body begins before its node"
        others = [run for run in self.active() if run is not self.runs.get(item)]
        assert len(others) < self.body.at_once or self.body.items is None, "too many items at once"
        self._tried[item] = self.anew

    def gives(self) -> object:
        """What the node gives that succeeded: what its body gave, or what it gave for each item, in their order."""
        assert len(self.runs) == self.body.count
        assert all(self._tried[item] == self.anew or run.state == "success" for item, run in self.runs.items())
        states = [self.runs[item].state for item in range(self.body.count)]
        cut_off = [run for run in self.runs.values() if (run.state, run.reason) == ("stopped", PARENT_STOPPED)]
        assert not cut_off, "it does without items that were stopped with the run around"
        assert set(states) <= ({"success"} if self._is_strict else set(FINAL))
        given = [GIVEN + item if state == "success" else None for item, state in enumerate(states)]
        if self.body.items is None:
            return given[0]
        return [value for value in given if value is not None] if self.body.on_error == "drop" else given

    def explains(self, code: str) -> bool:
        """Whether the node may fail with this code because of what became of its bodies."""
        if self.active() or not self._is_strict:
            return False
        failed = self._failed()
        if self.body.items is not None:
            return bool(failed) and code == "item_failed"
        return bool(failed) and code == ("body_stopped" if failed[0].state == "stopped" else failed[0].code)

    def _failed(self) -> list[Run]:
        """The runs that failed and are not tried again in this attempt."""
        tried = [run for item, run in self.runs.items() if self._tried[item] == self.anew]
        return [run for run in tried if run.state in ("error", "stopped")]

    @property
    def _is_strict(self) -> bool:
        return self.body.items is None or self.body.on_error == "fail"

    def at_rest(self, around: str, works: str, stops: bool, halted: bool) -> None:
        """Asserts that they are as the run `around` them is, which is in that state, and that one of them goes on.

        Their node `works`: it is `running`, may go on by and by because it is `recovered`, or does neither. Where the
        node is one of those that a stop ends, it `stops`; in a run that is `halted`, nothing new begins.
        """
        active, states = self.active(), [run.state for run in self.active()]
        # Without a node that runs again after a crash, bodies clean up on their own.
        cleaning = halted and set(states) <= {"stopping"}
        assert works or not active or cleaning, f"bodies are {states}, and their node has ended"
        if stops:
            assert set(states) <= {"stopping"}, f"the run around is {around}, and bodies are {states}"
        elif around in HELD:
            assert "running" not in states, f"the run around is {around}, and bodies are {states}"
        else:
            left_behind = [run for run in active if run.state in HELD and run.reason == PARENT_PAUSED]
            assert not left_behind, "bodies are paused with a run that goes on"
        if works != "running" or around in HELD:
            return
        assert active, "a node with bodies runs, and none of them does"
        if not stops and not self._failed():
            left = self.body.count - sum(run.state == "success" for run in self.runs.values())
            assert len(active) == min(left, self.body.at_once if self.body.items is not None else 1)
