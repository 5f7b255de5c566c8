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
    """Puts the machine's shape and the table between the two marks of a Markdown document.

    Raises ValueError when the document does not have them.
    """
    text = path.read_text()
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{path} has no {BEGIN} and {END}")
    path.write_text(f"{before}{BEGIN}\n{_machine(machine)}\n\n{table(outcomes)}\n{END}{after}")


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
