"""Writes docs/semantics.md from its text and the tables of the executor; with --check, only compares."""

import argparse
import ast
import inspect
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from itertools import combinations_with_replacement, pairwise
from pathlib import Path

from weftline_executor.engine.commands import _LEGAL
from weftline_executor.engine.failing import _HANDLING
from weftline_executor.graph.joins import RULES, Join
from weftline_executor.model import states
from weftline_executor.model.events import Event
from weftline_executor.model.states import (
    FINAL_STATES,
    Handling,
    NodeStatus,
    PendingReason,
    RunState,
    SkipReason,
    SuccessReason,
)
from weftline_executor.replay.transitions import NODE_TRANSITIONS, RUN_TRANSITIONS

ROOT = Path(__file__).resolve().parents[1]
TEXT = ROOT / "scripts" / "semantics.md.in"
NAMED = ROOT / "scripts" / "semantics_proofs.toml"
DOCUMENT = ROOT / "docs" / "semantics.md"
ARRIVED = ("taken", "failed", "skipped")
"""What may have become of an edge; the counts that a join decides by."""


class Unproven(Exception):
    """A rule names no test that exists; `what` is the rule or the test."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


class Proofs:
    """Where each test of the suite is."""

    def __init__(self, folder: Path) -> None:
        self._files: dict[str, Path] = {}
        for file in sorted(folder.rglob("test_*.py")):
            for name in re.findall(r"^(?:async )?def (test_\w+)\(", file.read_text(), re.MULTILINE):
                self._files[name] = file

    def link(self, name: str) -> str:
        """A link to a test, called by the fact that it states. Raises Unproven for a test that does not exist."""
        if name not in self._files:
            raise Unproven(f"there is no test {name}")
        fact = name.removeprefix("test_").replace("_", " ")
        return f"[{fact}](../{self._files[name].relative_to(ROOT)})"


def kind(event: type[Event]) -> str:
    """The type of an event as clients see it."""
    return str(event.__struct_config__.tag)


def meanings(enum: type[StrEnum]) -> dict[str, str]:
    """What the source says below each member of an enumeration."""
    tree = ast.parse(inspect.getsource(states))
    body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == enum.__name__)
    found = {}
    for member, text in pairwise(body):
        if isinstance(member, ast.Assign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            found[ast.unparse(member.targets[0])] = str(text.value.value)
    return found


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """The lines of a table."""
    yield f"| {' | '.join(head)} |"
    yield f"|{' --- |' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def words(enum: type[StrEnum], what: str, tests: Proofs) -> Iterator[str]:
    """The table of an enumeration: each word, what it means, and the test that shows it. Raises Unproven."""
    told, proofs = meanings(enum), tomllib.loads(NAMED.read_text()).get(enum.__name__, {})
    rows = []
    for member in enum:
        if member.name not in told:
            raise Unproven(f"{enum.__name__}.{member.name} has no sentence below it that says what it means")
        if member.name not in proofs:
            raise Unproven(f"scripts/{NAMED.name} names no test of {enum.__name__}.{member.name}")
        shown = f"`{member.value}`" if member.value else "none"
        rows.append((shown, told[member.name], tests.link(proofs[member.name])))
    return table((what, "meaning", "shown by"), rows)


def diagram(ways: Mapping[tuple[str, str], Sequence[str]], first: str, last: Iterable[str]) -> Iterator[str]:
    """The lines of a state diagram: for each pair of states, the events that lead from one to the other."""
    yield "```mermaid"
    yield "stateDiagram-v2"
    yield f"  [*] --> {first}"
    for (before, after), events in ways.items():
        yield f"  {before} --> {after}: {', '.join(events)}"
    for state in last:
        yield f"  {state} --> [*]"
    yield "```"


def run_ways() -> dict[tuple[str, str], list[str]]:
    """From a run's state to its next: the events."""
    ways: dict[tuple[str, str], list[str]] = {}
    for (before, event), targets in RUN_TRANSITIONS.items():
        for after in sorted(targets):
            ways.setdefault((before.value, after.value), []).append(kind(event))
    return ways


def node_ways() -> dict[tuple[str, str], list[str]]:
    """From a node's status to its next: the events."""
    ways: dict[tuple[str, str], list[str]] = {}
    for (before, event), after in NODE_TRANSITIONS.items():
        ways.setdefault((before.value, after.value), []).append(kind(event))
    return ways


def transitions(ways: Mapping[tuple[str, str], Sequence[str]]) -> Iterator[str]:
    """The table of a diagram."""
    rows = [
        (f"`{before}`", ", ".join(f"`{each}`" for each in by), f"`{after}`") for (before, after), by in ways.items()
    ]
    return table(("from", "by", "to"), rows)


def joins() -> Iterator[str]:
    """What each join rule says of a node with two edges, by what has become of them."""
    cases = [(one,) for one in ARRIVED] + list(combinations_with_replacement(ARRIVED, 2))
    head = ["`join`", *(", ".join(case) if len(case) == 2 else f"{case[0]}, …" for case in cases)]
    rows = []
    for rule in RULES:
        join = Join(rule, 2 if rule == "n_of" else 0)
        name = f"`{rule}`" if rule != "n_of" else '`{"n_of": 2}`'
        counts = [{word: case.count(word) for word in ARRIVED} for case in cases]
        verdicts = [join.decide(edges=2, **count).value for count in counts]
        rows.append([name, *(verdict if verdict != "wait" else "…" for verdict in verdicts)])
    return table(head, rows)


def failures() -> Iterator[str]:
    """How the event of a failure says that each word of `onError` handled it."""
    rows = [(f"`{word}`", f"`{how}`" if how else "none") for word, how in _HANDLING.items()]
    return table(("`onError`", "`handled`"), rows)


def commands() -> Iterator[str]:
    """Which commands a run takes in which state."""
    rows = [[f"`{state}`", *("yes" if state in legal else "…" for legal in _LEGAL.values())] for state in RunState]
    return table(["state of the newest run", *(f"`{name}`" for name in _LEGAL)], rows)


def document(tests: Proofs) -> str:
    """The whole page. Raises Unproven."""
    parts = {
        "RUN_STATES": words(RunState, "state", tests),
        "RUN_DIAGRAM": diagram(run_ways(), RunState.RUNNING, [state for state in RunState if state in FINAL_STATES]),
        "RUN_TRANSITIONS": transitions(run_ways()),
        "NODE_STATES": words(NodeStatus, "status", tests),
        "NODE_DIAGRAM": diagram(node_ways(), NodeStatus.PENDING, ()),
        "NODE_TRANSITIONS": transitions(node_ways()),
        "JOINS": joins(),
        "SKIP_REASONS": words(SkipReason, "reason", tests),
        "PENDING_REASONS": words(PendingReason, "reason", tests),
        "SUCCESS_REASONS": words(SuccessReason, "reason", tests),
        "HANDLINGS": words(Handling, "`handled`", tests),
        "FAILURES": failures(),
        "COMMANDS": commands(),
    }
    page = TEXT.read_text()
    for name, lines in parts.items():
        page = page.replace(f"@{name}@", "\n".join(lines))
    return re.sub(r"`(test_\w+)`", lambda found: tests.link(found[1]), page)


def main() -> int:
    """Rewrites the page, or with --check says whether it is current; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail when the page is not current")
    check = parser.parse_args().check
    try:
        current = document(Proofs(ROOT / "tests"))
    except Unproven as error:
        print(f"docs/semantics.md: {error}", file=sys.stderr)
        return 1
    if not check:
        DOCUMENT.write_text(current)
        return 0
    if DOCUMENT.exists() and DOCUMENT.read_text() == current:
        return 0
    print("docs/semantics.md is not current: run make generate.", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
