"""The node types that come with Weftline, but for `http.request` and `llm.chat`, which are made for a fence."""

from weftline_executor.nodes.builtin.basics import fail, log, noop
from weftline_executor.nodes.builtin.bodies import map_items, workflow
from weftline_executor.nodes.builtin.branching import condition, switch
from weftline_executor.nodes.builtin.data import input_values, merge, output_value, set_values, template
from weftline_executor.nodes.builtin.lists import aggregate_items, filter_items
from weftline_executor.nodes.builtin.timing import delay
from weftline_executor.nodes.builtin.waiting import approval, wait_for_event

__all__ = [
    "aggregate_items",
    "approval",
    "condition",
    "delay",
    "fail",
    "filter_items",
    "input_values",
    "log",
    "map_items",
    "merge",
    "noop",
    "output_value",
    "set_values",
    "switch",
    "template",
    "wait_for_event",
    "workflow",
]
