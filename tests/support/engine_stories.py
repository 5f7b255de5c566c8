"""The steps that stories of an engine with several lives consist of; after each all has come to rest."""

from __future__ import annotations

from typing import Any

from tests.support.engine_lives import Lives

START: dict[str, Any] = {"by": "ada", "command_id": ""}
BY: dict[str, Any] = {**START, "reason": ""}


def start(lives: Lives, text: str) -> None:
    """Starts a run of a definition."""
    lives.ask(lives.engine.commands.start(lives.workflow_id, text.encode(), **START))
    lives.rest()


def command(lives: Lives, name: str, **more: Any) -> None:
    """Asks something of the newest run, and waits for what follows."""
    common = START if name == "complete" else BY
    lives.ask(getattr(lives.engine.commands, name)(lives.workflow_id, **common, **more))
    lives.rest()


def opens(lives: Lives, name: str, outcome: str = "") -> None:
    """Lets a node that waits at its gate go on, to this outcome."""
    lives.board.open(name, outcome)
    lives.rest()


def crash(lives: Lives, times: int = 1) -> None:
    """The engine dies and begins again."""
    for _ in range(times):
        lives.die()
        lives.begin()
