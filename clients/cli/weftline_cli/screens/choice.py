"""Chooses the screen that fits: NDJSON when asked for, a drawing on a terminal, lines elsewhere."""

import sys

from weftline_cli.options import Output
from weftline_cli.screens.base import Screen
from weftline_cli.screens.live import LiveScreen
from weftline_cli.screens.ndjson import NdjsonScreen
from weftline_cli.screens.plain import PlainScreen


def choose_screen(output: Output, *, all_workflows: bool = False) -> Screen:
    """Return the screen for an output; several workflows are never drawn, but shown line by line."""
    if output.as_json:
        return NdjsonScreen(sys.stdout, sys.stderr)
    if output.console.is_terminal and not all_workflows:
        return LiveScreen(output.console)
    return PlainScreen(output.console, output.errors, all_workflows=all_workflows)
