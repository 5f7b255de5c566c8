"""Nodes that go over a list: keep some of its items, or make few values of many."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag

from weftline_executor.nodes.builtin.aggregates import KEY, Aggregate, aggregate, group
from weftline_executor.nodes.builtin.conditions import Condition, all_of
from weftline_executor.nodes.builtin.fields import FieldPath
from weftline_executor.nodes.context import Context
from weftline_executor.nodes.declare import PerItem
from weftline_executor.nodes.decorator import node
from weftline_executor.nodes.items import ItemExpression

# Stands for a list that was not given.
_NOT_GIVEN: Any = object()


def _form(value: object) -> str:
    return "conditions" if isinstance(value, list) else "expression"


Where = Annotated[
    Annotated[ItemExpression, Tag("expression")] | Annotated[list[Condition], Tag("conditions")],
    Discriminator(_form),
    PerItem(),
    Field(description="An expression over `item` and `index`, or a list of conditions `{field, op, value}`."),
]
Items = Annotated[list[object], Field(description="The list; without it, what arrived, lists joined into one.")]
Match = Annotated[Literal["all", "any"], Field(description="How many of the conditions have to hold.")]


def _without_key(values: Mapping[str, Aggregate]) -> Mapping[str, Aggregate]:
    if KEY in values:
        raise ValueError(f"should not have the name {KEY!r}, which is that of a group")
    return values


GroupBy = Annotated[
    FieldPath | None, Field(alias="groupBy", description="The field by whose value items belong together.")
]
Values = Annotated[
    dict[str, Aggregate],
    Field(min_length=1, description="What is made of the list: `{op, field, separator}` by name."),
    AfterValidator(_without_key),
]


@node(
    "filter",
    title="Filter a list",
    errors={
        "bad_expression": "the expression cannot be evaluated for an item, for example where a key is missing",
        "wrong_type": "a condition cannot compare the field of an item with its value",
    },
)
def filter_items(
    ctx: Context, inputs: dict[str, object], *, where: Where, items: Items = _NOT_GIVEN, match: Match = "all"
) -> list[object]:
    """Keeps the items of a list for which `where` holds, in their order. The output is the list of them.

    As an expression, with braces or without, `where` sees each `item` and its `index`, as in `item.price > 10`, beside
    all that expressions see; it holds unless its value is false, null, 0, or empty. One over many items may do
    about as much as 200,000 comparisons.

    A condition is `{field, op, value}`. Its `field` is a path such as `address.city` or `lines.0`; without it, the item
    itself is meant. Its `op` is `==` (without it), `!=`, `>`, `>=`, `<`, `<=`, `contains` (a text, an item, or a key),
    `in` (a list), `exists`, `startswith` or `endswith`. Where a field is missing, only `!=` and `exists` with false
    hold; where it is null, nothing that compares sizes or looks into it does.
    """
    given = _listed(inputs) if items is _NOT_GIVEN else items
    if isinstance(where, ItemExpression):
        return [item for index, item in enumerate(given) if where.of(item, index)]
    holds = all_of(where, match)
    return [item for index, item in enumerate(given) if holds(item, index)]


@node(
    "aggregate",
    title="Aggregate a list",
    errors={
        "wrong_type": "the field of an item, which the details name, is not of a type that the operation takes",
        "number_too_large": "a sum or a mean is larger than numbers can be",
    },
)
def aggregate_items(
    ctx: Context,
    inputs: dict[str, object],
    *,
    values: Values,
    items: Items = _NOT_GIVEN,
    group_by: GroupBy = None,
) -> dict[str, object] | list[dict[str, object]]:
    """Makes few values of many. The output is an object with the name of each of `values`.

    Each is `{op, field}`, where `field` is a path such as `address.city`, and without it the item itself. With
    `groupBy` the output is a list of such objects, one for each value of that field, which is their `key`, in the order
    in which they first come; items without the field belong to the group of null.

    The operations are `count`, `sum`, `mean` (or `average`), `min`, `max`, `first`, `last`, `collect` (a list),
    `unique` (a list without what is equal to an earlier one) and `join` (a text, with `separator`, or else a comma and
    a space, between). All of them pass over items whose field is missing or null. Over nothing `sum` and `count` are 0,
    a list or a text is empty, and the others are null. Sums of integers are exact, and so are their means where they
    are integers.
    """
    given = _listed(inputs) if items is _NOT_GIVEN else items
    return aggregate(given, values) if group_by is None else group(given, group_by, values)


def _listed(inputs: Mapping[str, object]) -> list[object]:
    """Give what arrived as one list, in the order of the edges: lists are joined, and null is nothing."""
    listed: list[object] = []
    for value in inputs.values():
        for item in value if isinstance(value, list) else [value]:
            listed += item if isinstance(item, list) else [] if item is None else [item]
    return listed
