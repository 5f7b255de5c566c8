"""The node types that come with Weftline."""

from weftline_executor.nodes.builtin.basics import fail, log, noop
from weftline_executor.nodes.builtin.timing import delay

__all__ = ["delay", "fail", "log", "noop"]
