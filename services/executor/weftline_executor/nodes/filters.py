"""The filters of expressions, each of which pays for what it makes out of the budget of one evaluation."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec
from jinja2.filters import FILTERS
from jinja2.runtime import Context
from jinja2.utils import pass_context

from weftline_executor.nodes.values import MAX_SIZE, Budget, ValueTooLarge, plain, text

# The budget is a variable whose name no expression can say.
BUDGET_NAME = "_budget"

# Filters of Jinja2 whose result is no larger than what they are given.
_BOUNDED = (
    *("abs", "capitalize", "count", "d", "default", "dictsort", "first", "float", "int", "items", "last", "length"),
    *("list", "lower", "map", "max", "min", "reject", "rejectattr", "reverse", "select", "selectattr", "sort"),
    *("title", "trim", "truncate", "unique", "upper", "urlencode", "wordcount"),
)

_MAX_ROUND_DIGITS = 15


def budget_of(context: Context) -> Budget:
    """Give the budget of the evaluation that a context belongs to."""
    budget: Budget = context.parent[BUDGET_NAME]
    return budget


def metered(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a filter pay for what it takes and for its result, item by item if it gives one after the other."""
    wanted = getattr(getattr(function, "jinja_pass_arg", None), "name", None)

    @pass_context
    def filter_(context: Context, *args: Any, **kwargs: Any) -> Any:
        budget = budget_of(context)
        budget.pay(args[0])
        if wanted == "context":
            result = function(context, *args, **kwargs)
        elif wanted == "environment":
            result = function(context.environment, *args, **kwargs)
        elif wanted == "eval_context":
            result = function(context.eval_ctx, *args, **kwargs)
        else:
            result = function(*args, **kwargs)
        budget.pay(result)
        return _pay_each(result, budget) if isinstance(result, Iterator) else result

    return filter_


def _pay_each(items: Iterator[object], budget: Budget) -> Iterator[object]:
    for item in items:
        budget.pay(item)
        yield item


def bound(size: int) -> None:
    """Raise `ValueTooLarge` when a value of `size` characters would be too large."""
    if size > MAX_SIZE:
        raise ValueTooLarge


def _join(items: Iterable[object], separator: str = "") -> str:
    parts = [text(item) for item in items]
    bound(sum(map(len, parts)) + len(separator) * len(parts))
    return separator.join(parts)


def _replace(value: object, old: str, new: str, count: int = -1) -> str:
    source = text(value)
    found = source.count(old) if count < 0 else min(count, source.count(old))
    bound(len(source) + found * len(new))
    return source.replace(old, new, count)


def _round(value: float, precision: int = 0) -> float:
    if not 0 <= precision <= _MAX_ROUND_DIGITS:
        raise ValueError(f"round takes 0 to {_MAX_ROUND_DIGITS} digits, not {precision}")
    return round(value, precision) if precision else round(value)


def _sum(values: Iterable[float]) -> float:
    # Adding up lists would copy each of them again for every one that follows.
    numbers = list(values)
    if not all(isinstance(number, int | float) for number in numbers):
        raise TypeError("sum is for numbers only")
    return sum(numbers)


def _slice(value: Any, start: int | None, stop: int | None, step: int | None) -> Any:
    return value[start:stop:step]


def _to_json(value: object) -> str:
    return msgspec.json.encode(plain(value)).decode()


def _from_json(value: str) -> object:
    return msgspec.json.decode(value)


# No expression can say this name; the slices in it are rewritten to use the filter.
SLICE = "[:]"

_OWN: dict[str, Callable[..., Any]] = {
    SLICE: _slice,
    "fromjson": _from_json,
    "join": _join,
    "replace": _replace,
    "round": _round,
    "string": text,
    "sum": _sum,
    "tojson": _to_json,
}

EXPRESSION_FILTERS = {name: metered(FILTERS[name]) for name in _BOUNDED} | {
    name: metered(function) for name, function in _OWN.items()
}
