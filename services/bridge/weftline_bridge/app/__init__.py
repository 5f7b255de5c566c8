"""Puts the bridge together, serves it over HTTP, and ends it."""

from weftline_bridge.app.lifecycle import run

__all__ = ["run"]
