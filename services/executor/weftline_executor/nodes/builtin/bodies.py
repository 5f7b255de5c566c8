"""Nodes that run the nodes inside them."""

import asyncio
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from pydantic import Field

from weftline_executor.nodes.context import Body, BodyEnd, Context
from weftline_executor.nodes.decorator import node
from weftline_executor.nodes.errors import NodeFailed
from weftline_executor.nodes.results import Skip

MAX_ITEMS = 10_000

_FAILED = object()

_VALUES = Field(description="Parameters of the body, beside those of the run.")


@node("workflow", title="Sub-workflow")
async def workflow(
    ctx: Context, params: dict[str, object], values: Annotated[Mapping[str, object], _VALUES] = {}
) -> object:
    """Runs the nodes inside it as a workflow of its own, and gives what that gives.

    The body has the parameters of the run, with `values` in place of those of the same name. Its output is that of its
    `output` node, or, when it has several, an object of theirs by id; without one it is that of the nodes that lead
    nowhere. When the body fails, so does the node, with the code of that failure; tried again, the body goes on where
    it failed. A pause, a resume and a stop of the run reach the body too.
    """
    return _output_of(await _body(ctx).run({**params, **values}))


@node("map", title="For each")
async def map_items(
    ctx: Context,
    params: dict[str, object],
    items: Annotated[list[object], Field(max_length=MAX_ITEMS, description="What the body is run for.")],
    concurrency: Annotated[int, Field(ge=1, le=1000, description="How many items are worked on at once.")] = 10,
    on_item_error: Annotated[
        Literal["fail", "null", "drop"],
        Field(alias="onItemError", description="What an item that fails does: fail the map, give null, or nothing."),
    ] = "fail",
    on_empty: Annotated[
        Literal["succeed", "skip"],
        Field(alias="onEmpty", description="What becomes of the map when there are no items."),
    ] = "succeed",
    values: Annotated[Mapping[str, object], _VALUES] = {},
) -> list[object] | Skip:
    """Runs the nodes inside it once for each item, several at once, and gives the list of what that gives.

    The body reads the item as `params.item` and its number, from 0, as `params.index`, and gives an output as that of
    `workflow` does. The outputs are in the order of the items. With `onItemError` `fail`, when an item has failed no
    further one begins, and the map fails with the code `item_failed` when those on their way have ended; tried again,
    only the items run that had not succeeded. No items give an empty list, or with `onEmpty` `skip` skip the node.
    """
    if not items and on_empty == "skip":
        return Skip("empty_map")
    # With what is on its way first, nothing of it is left behind by a failure that was there before.
    order = list(dict.fromkeys([*await _body(ctx).under_way(), *range(len(items))]))
    each = _Items(ctx, {**params, **values}, items, order, drops=on_item_error != "fail")
    async with asyncio.TaskGroup() as group:
        for number in range(min(concurrency, len(items))):
            group.create_task(each.work(), name=f"map:{ctx.node_id}:{number}")
    if each.failure is not None:
        raise each.failure
    if on_item_error == "drop":
        return [output for output in each.outputs if output is not _FAILED]
    return [None if output is _FAILED else output for output in each.outputs]


class _Items:
    """The items of a map on their way, begun in `order`; `failure` is the first that is not to be tolerated."""

    def __init__(
        self, ctx: Context, params: Mapping[str, object], items: list[object], order: list[int], drops: bool
    ) -> None:
        self.outputs: list[object] = [_FAILED] * len(items)
        self.failure: NodeFailed | None = None
        self._ctx = ctx
        self._params = params
        self._items = items
        self._drops = drops
        self._left: Iterator[int] = iter(order)
        self._done = 0

    async def work(self) -> None:
        """Works on one item after the other, until none is left or one has failed."""
        body = _body(self._ctx)
        while self.failure is None and (index := next(self._left, None)) is not None:
            params = {**self._params, "item": self._items[index], "index": index}
            try:
                self.outputs[index] = _output_of(await body.run(params, index))
            except NodeFailed as error:
                self._failed(index, error)
            self._done += 1
            self._ctx.progress(self._done / len(self._items))

    def _failed(self, index: int, error: NodeFailed) -> None:
        message = f"item {index} failed: {error.message}"
        details: dict[str, object] = {"index": index, "code": error.code}
        details.update(error.details or {})
        # What was stopped with the run has not failed, and is no item to do without: the run may be retried.
        if self._drops and not self._ctx.cancelled:
            self._ctx.log(message, level="warn", **details)
        elif self.failure is None:
            self.failure = NodeFailed(message, code="item_failed", details=details, retryable=error.retryable)


def _body(ctx: Context) -> Body:
    if ctx.body is None:
        raise NodeFailed("the node has no body", code="missing_body", retryable=False)
    return ctx.body


def _output_of(end: BodyEnd) -> object:
    if end.state == "success":
        return end.output
    details = {"workflowId": end.workflow_id, "nodeId": end.node_id}
    if end.state == "stopped":
        raise NodeFailed("the body was stopped", code="body_stopped", details=details)
    raise NodeFailed(end.error, code=end.code or "body_failed", details=details)
