"""Runs several bridge processes as one: starts them, keeps them running, and tells their metrics together."""

from weftline_bridge.supervisor.supervisor import supervise

__all__ = ["supervise"]
