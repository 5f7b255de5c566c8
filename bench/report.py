"""Prints the table of claims, and writes every figure to a file."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.claims import Claim, Outcome

HEADINGS = ("benchmark", "load", "measure", "Weftline", "beside", "theirs", "ratio", "target", "verdict")
BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"


def table(outcomes: Sequence[Outcome]) -> str:
    """The claims of all benchmarks as one Markdown table."""
    rows = [_row(outcome.name, claim) for outcome in outcomes for claim in outcome.claims]
    widths = [max(len(row[column]) for row in [HEADINGS, *rows]) for column in range(len(HEADINGS))]
    rule = tuple("-" * width for width in widths)
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in [HEADINGS, rule, *rows]
    )


def write(outcomes: Sequence[Outcome], machine: dict[str, Any], folder: Path, *, quick: bool) -> Path:
    """Writes claims and single figures as JSON into a folder; returns where."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{time.strftime('%Y%m%dT%H%M%S')}.json"
    content = {
        "machine": machine,
        "quick": quick,
        "benchmarks": {
            outcome.name: {
                "claims": [_claim(claim) for claim in outcome.claims],
                "figures": outcome.figures,
                "notes": outcome.notes,
            }
            for outcome in outcomes
        },
    }
    path.write_text(json.dumps(content, indent=2) + "\n")
    return path


def document(outcomes: Sequence[Outcome], machine: dict[str, Any], path: Path) -> None:
    """Puts the machine's shape and the table between two marks of a Markdown document.

    A benchmark that has marks of its own there, `<!-- figures of NAME -->` and so on, gets a table of its own. Raises
    ValueError when the document does not have the marks.
    """
    text = path.read_text()
    own = [outcome for outcome in outcomes if f"<!-- figures of {outcome.name} -->" in text]
    others = [outcome for outcome in outcomes if outcome not in own]
    for outcome in own:
        marks = f"<!-- figures of {outcome.name} -->", f"<!-- end of figures of {outcome.name} -->"
        text = _between(text, *marks, f"{_machine(machine)}\n\n{table([outcome])}", path)
    if others or not own:
        text = _between(text, BEGIN, END, f"{_machine(machine)}\n\n{table(others)}", path)
    path.write_text(text)


def _between(text: str, begin: str, end: str, content: str, path: Path) -> str:
    before, begins, rest = text.partition(begin)
    _, ends, after = rest.partition(end)
    if not begins or not ends:
        raise ValueError(f"{path} has no {begin} and {end}")
    return f"{before}{begin}\n{content}\n{end}{after}"


def progress(text: str) -> None:
    """Tells on standard error what is being measured."""
    print(f"  {text}", file=sys.stderr, flush=True)


def _machine(machine: dict[str, Any]) -> str:
    return (
        f"{machine['cores']} cores ({machine['architecture']}), {machine['memoryGiB']} GiB, {machine['system']}, "
        f"Python {machine['python']}, node {machine['node']}; load average before: {machine['loadBefore']}."
    )


def _claim(claim: Claim) -> dict[str, Any]:
    target = str(claim.target) if claim.target else None
    return asdict(claim) | {"ratio": claim.ratio, "target": target, "verdict": claim.verdict}


def _row(name: str, claim: Claim) -> tuple[str, ...]:
    measure = f"{claim.measure}, {claim.unit}" if claim.unit else claim.measure
    return (
        name,
        claim.load,
        measure,
        _figure(claim.ours),
        claim.peer,
        _figure(claim.theirs) if claim.peer else "",
        _figure(claim.ratio) if claim.ratio is not None else "",
        str(claim.target or ""),
        claim.verdict,
    )


def _figure(value: float | None) -> str:
    if value is None:
        return "-"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
