"""Says on a screen what happens to a watch itself: its connection, and what is left out of it."""

from weftline_cli import text
from weftline_cli.items import Connected, ExecutorAway, Lost, Remark, Restated, Served, Skipped, Unresumed
from weftline_cli.screens.base import Screen

_MODES = {
    "normal": "The bridge sends everything again.",
    "conflating": "This watch is behind: of progress the bridge sends only the newest.",
    "shedding": "This watch is far behind: the bridge leaves logs out, or sends the state in place of events.",
}
_REASONS = {
    "slow_client": "this watch was too slow",
    "filtered": "they were not asked for",
    "quarantined": "the bridge could not make sense of them",
    "compacted": "the events are not kept any more",
    "wrong_epoch": "the executor has another log than before",
    "seq_ahead": "the executor's log ends before the last event that was seen",
}


class Remarks:
    """What has been said to whoever looks at `screen`; a break, and the return from it, is said once."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._lost = False
        self._gaps = 0
        self._skipped = 0

    def show(self, item: Remark) -> None:
        """Say one thing, if it is news."""
        if isinstance(item, Skipped):
            self._gaps += 1
            self._skipped += item.last - item.first + 1
        words = self._words(item)
        if words:
            self._screen.notice(words)
        if isinstance(item, Lost | Connected):
            self._lost = isinstance(item, Lost)

    def sum_up(self) -> None:
        """Say how many events were left out, unless that has been said."""
        if self._gaps > 1:
            self._screen.notice(f"In all {text.count(self._skipped, 'event')} were left out.")

    def _words(self, item: Remark) -> str:
        if isinstance(item, Lost):
            lost = f"The connection to the {item.peer} broke: {item.problem} Trying again …"
            return "" if self._lost else lost
        if isinstance(item, Connected):
            return "Connected again." if self._lost else ""
        return _words(item)


def _words(item: Skipped | Restated | Served | ExecutorAway | Unresumed) -> str:
    match item:
        case Skipped():
            return _skipped(item)
        case Restated():
            return f"Of {item.workflow_id} the state comes in place of events: {_reason(item.reason)}."
        case Served():
            late = f" It is {text.duration(item.lag_ms)} late." if item.lag_ms else ""
            return _MODES.get(item.mode, f"The bridge serves this watch as {text.one_line(item.mode)}.") + late
        case ExecutorAway():
            return f"The bridge has {'lost the executor, and looks for it' if item.away else 'the executor again'}."
        case Unresumed():
            return f"Of {text.count(item.workflows, 'more workflow')} the state comes in place of what was missed."


def _skipped(item: Skipped) -> str:
    seqs = f"Event {item.first}" if item.first == item.last else f"Events {item.first} to {item.last}"
    was = "was" if item.first == item.last else "were"
    dropped = ", ".join(f"{number} {text.one_line(kind)}" for kind, number in item.dropped.items())
    what = f" ({dropped})" if dropped else ""
    return f"{seqs} of {item.workflow_id} {was} left out{what}: {_reason(item.reason)}."


def _reason(reason: str) -> str:
    return _REASONS.get(reason, text.one_line(reason))
