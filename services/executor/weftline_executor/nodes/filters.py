"""The filters of expressions, each of which pays for what it makes out of the budget of one evaluation."""

import operator
from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

import msgspec
from jinja2.filters import FILTERS
from jinja2.runtime import Context
from jinja2.tests import TESTS
from jinja2.utils import pass_context

from weftline_executor.nodes.values import MAX_SIZE, Budget, ValueTooLarge, plain, size_of, text

# The budget is a variable whose name no expression can say.
BUDGET_NAME = "_budget"

# Filters of Jinja2 whose result is no larger than what they are given.
_BOUNDED = (
    *("abs", "capitalize", "count", "d", "default", "dictsort", "first", "float", "int", "items", "last", "length"),
    *("list", "lower", "map", "max", "min", "reject", "rejectattr", "reverse", "select", "selectattr", "sort"),
    *("title", "trim", "truncate", "unique", "upper", "urlencode", "wordcount"),
)

_Operator = Callable[[Any, Any], Any]
OPERATORS: dict[str, _Operator] = {
    **{"eq": operator.eq, "ne": operator.ne, "lt": operator.lt, "lteq": operator.le},
    **{"gt": operator.gt, "gteq": operator.ge},
    "in": lambda left, right: left in right,
    "notin": lambda left, right: left not in right,
}

# Tests of Jinja2 that compare, by what they are called.
_COMPARING = {
    **{"eq": "eq", "equalto": "eq", "==": "eq", "ne": "ne", "!=": "ne", "lt": "lt", "lessthan": "lt", "<": "lt"},
    **{"le": "lteq", "<=": "lteq", "gt": "gt", "greaterthan": "gt", ">": "gt", "ge": "gteq", ">=": "gteq"},
}

# Filters that look at no more of a value than its own size; all others may look at all that is in it.
_SHALLOW = frozenset(
    {
        *("abs", "count", "d", "default", "first", "float", "int", "items", "last", "length", "list", "map", "reject"),
        *("rejectattr", "reverse", "round", "select", "selectattr", "[:]"),
    }
)

# How much longer than others these filters take for each character; those that sort look at each item several times.
_FACTORS = {
    **{"dictsort": 4, "join": 2, "max": 2, "min": 2, "sort": 4, "string": 2, "title": 16, "tojson": 2, "unique": 2},
    **{"urlencode": 8, "wordcount": 8},
}

_MAX_ROUND_DIGITS = 15


def budget_of(context: Context) -> Budget:
    """Give the budget of the evaluation that a context belongs to."""
    budget: Budget = context.parent[BUDGET_NAME]
    return budget


def metered(function: Callable[..., Any], *, is_shallow: bool, factor: int = 1) -> Callable[..., Any]:
    """Make a filter or a test pay for what it takes and gives, item by item if it gives one after the other."""
    wanted = getattr(getattr(function, "jinja_pass_arg", None), "name", None)

    @pass_context
    def filter_(context: Context, *args: Any, **kwargs: Any) -> Any:
        budget = budget_of(context)
        if is_shallow:
            budget.pay(args[0])
        else:
            args = (_at_hand(args[0]), *args[1:])
            budget.pay_deep(args[0], factor)
        # A name of an attribute may be long, and is followed for each item.
        each = sum(len(arg) for arg in (*args[1:], *kwargs.values()) if isinstance(arg, str))
        if isinstance(args[0], list | tuple):
            budget.spend(each * len(args[0]))
        if wanted == "context":
            result = function(context, *args, **kwargs)
        elif wanted == "environment":
            result = function(context.environment, *args, **kwargs)
        elif wanted == "eval_context":
            result = function(context.eval_ctx, *args, **kwargs)
        else:
            result = function(*args, **kwargs)
        budget.pay(result)
        return _pay_each(result, budget, each) if isinstance(result, Iterator) else result

    return filter_


def _at_hand(value: Any) -> Any:
    # What is given one after the other can be measured only when all of it is there.
    return list(value) if isinstance(value, Iterator) else value


def _pay_each(items: Iterator[object], budget: Budget, each: int) -> Iterator[object]:
    for item in items:
        budget.pay(item)
        budget.spend(each)
        yield item


def bound(size: int) -> None:
    """Raise `ValueTooLarge` when a value of `size` characters would be too large."""
    if size > MAX_SIZE:
        raise ValueTooLarge


def _json_text(value: object) -> str:
    # Numbers are what there is many of, and need no copy.
    return str(value) if type(value) is int and abs(value) < 1 << 63 else text(value)


def _join(items: Iterable[object], separator: str = "") -> str:
    parts = [item if type(item) is str else _json_text(item) for item in items]
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


@pass_context
def _compare(context: Context, left: Any, operators: str, *others: Any) -> Any:
    budget = budget_of(context)
    result: Any = True
    for name, other in zip(operators.split(" "), others, strict=True):
        right = _at_hand(other)
        _pay_comparison(budget, name, left, right)
        result = OPERATORS[name](left, right)
        if not result:
            return result
        left = right
    return result


def _pay_comparison(budget: Budget, name: str, left: Any, right: Any) -> None:
    if name in ("in", "notin"):
        # The items are looked into only as far as they are like what is sought.
        if isinstance(left, str | list | tuple | dict):
            budget.pay_deep(right)
        else:
            budget.pay(right)
    elif type(left) is type(right) or (isinstance(left, list | tuple) and isinstance(right, list | tuple)):
        budget.pay_deep(left if size_of(left) <= size_of(right) else right)
    else:
        budget.pay(None)


def _metered_comparison(name: str) -> Callable[..., Any]:
    @pass_context
    def test(context: Context, left: Any, right: Any) -> Any:
        # A test takes about three times as long as a comparison in an expression.
        budget = budget_of(context)
        budget.pay(None)
        budget.pay(None)
        return _compare(context, left, _COMPARING[name], right)

    return test


def _slice(value: Any, start: int | None, stop: int | None, step: int | None) -> Any:
    return value[start:stop:step]


def _to_json(value: object) -> str:
    return msgspec.json.encode(plain(value)).decode()


def _from_json(value: str) -> object:
    return msgspec.json.decode(value)


# No expression can say these names; the slices and comparisons in it are rewritten to use the filters.
SLICE = "[:]"
COMPARE = "[<]"

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


def _metered_filter(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    return metered(function, is_shallow=name in _SHALLOW, factor=_FACTORS.get(name, 1))


EXPRESSION_FILTERS = {name: _metered_filter(name, FILTERS[name]) for name in _BOUNDED} | {
    name: _metered_filter(name, function) for name, function in _OWN.items()
}
EXPRESSION_FILTERS[COMPARE] = _compare

_TESTS = cast("dict[str, Callable[..., Any]]", TESTS)

# As an argument of `select`, the test `in` would compare every item with every other.
EXPRESSION_TESTS = {
    name: metered(function, is_shallow=name not in ("lower", "upper"))
    for name, function in _TESTS.items()
    if name != "in"
} | {name: _metered_comparison(name) for name in _COMPARING}
