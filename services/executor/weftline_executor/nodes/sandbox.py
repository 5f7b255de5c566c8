"""The environment of expressions: a small part of Jinja2 in which nothing unsafe or unbounded can be said."""

import difflib
from collections.abc import Mapping
from itertools import islice
from typing import Any

from jinja2 import StrictUndefined, Undefined
from jinja2.exceptions import SecurityError, UndefinedError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from weftline_executor.nodes.filters import EXPRESSION_FILTERS, EXPRESSION_TESTS, bound, budget_of
from weftline_executor.nodes.values import MAX_INT_BITS, ValueTooLarge

_TEXT_METHODS = frozenset(
    {
        *("capitalize", "casefold", "count", "endswith", "find", "index", "isalnum", "isalpha", "isdecimal", "isdigit"),
        *("islower", "isnumeric", "isspace", "isupper", "lower", "lstrip", "partition", "removeprefix", "removesuffix"),
        *(
            "rfind",
            "rindex",
            "rpartition",
            "rsplit",
            "rstrip",
            "split",
            "splitlines",
            "startswith",
            "strip",
            "swapcase",
        ),
        *("title", "upper"),
    }
)
_MAPPING_METHODS = frozenset({"get", "items", "keys", "values"})
_LIST_METHODS = frozenset({"count", "index"})

_MAX_KEYS_NAMED = 8
_MAX_KEYS_LOOKED_AT = 500


def methods_of(value: object) -> frozenset[str]:
    """Give the names of the methods that an expression may call on a value."""
    if isinstance(value, str):
        return _TEXT_METHODS
    if isinstance(value, Mapping):
        return _MAPPING_METHODS
    if isinstance(value, list | tuple):
        return _LIST_METHODS
    return frozenset()


METHODS = _TEXT_METHODS | _MAPPING_METHODS | _LIST_METHODS


class Missing(StrictUndefined):
    """A value that is not there: may be tested or given a default, and says what is missing when it is used."""

    __slots__ = ()

    @property
    def _undefined_message(self) -> str:
        name, owner = self._undefined_name, self._undefined_obj
        if isinstance(owner, Mapping):
            keys = [str(key) for key in islice(owner, _MAX_KEYS_LOOKED_AT)]
            known = ", ".join(keys[:_MAX_KEYS_NAMED]) + (", …" if len(keys) > _MAX_KEYS_NAMED else "")
            near = difflib.get_close_matches(str(name), keys, 1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; it has {known}" if keys else "; it is empty"
            return f"the object has no key {name!r}{hint}"
        return f"{_kind(owner)} has no {name!r}"


class Sandbox(ImmutableSandboxedEnvironment):
    """Evaluates expressions over JSON values, with no globals, no statements and no attributes of Python objects."""

    intercepted_binops = frozenset({"+", "*", "%", "**"})

    def __init__(self) -> None:
        # Statements and comments are moved to marks that no text holds, so that `{%` and `{#` mean nothing here.
        super().__init__(
            block_start_string="\0{%",
            block_end_string="%}\0",
            comment_start_string="\0{#",
            comment_end_string="#}\0",
            keep_trailing_newline=True,
            optimized=False,
            undefined=Missing,
            autoescape=False,
            cache_size=0,
        )
        self.globals = {}
        self.filters = dict(EXPRESSION_FILTERS)
        self.tests = dict(EXPRESSION_TESTS)

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Read a key of an object, or a harmless method; a key wins over a method of the same name."""
        if isinstance(obj, Undefined):
            return obj
        if isinstance(obj, Mapping):
            try:
                return obj[attribute]
            except KeyError:
                pass
        if attribute in methods_of(obj):
            return getattr(obj, attribute)
        return self.undefined(obj=obj, name=attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """Read an item; never an attribute."""
        if isinstance(obj, Undefined):
            return obj
        try:
            return obj[argument]
        except (LookupError, TypeError):
            return self.undefined(obj=obj, name=argument)

    def is_safe_callable(self, obj: Any) -> bool:
        """Allow only the methods that `methods_of` names."""
        return getattr(obj, "__name__", None) in methods_of(getattr(obj, "__self__", None))

    def call(self, context: Context, obj: Any, *args: Any, **kwargs: Any) -> Any:
        """Call a method, which pays for all that it looks at and for its result."""
        _require(obj)
        budget = budget_of(context)
        owner = getattr(obj, "__self__", None)
        # Of an object no method looks at more than its keys.
        if isinstance(owner, Mapping):
            budget.pay(owner)
        else:
            budget.pay_deep(owner)
        result = super().call(context, obj, *args, **kwargs)
        budget.pay(result)
        return result

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Compute `left operator right` when its result is sure to be small."""
        _require(left, right)
        if operator == "**":
            raise SecurityError("the operator ** is not available")
        if operator == "%" and not isinstance(left, int | float):
            raise SecurityError("the operator % is for numbers only")
        if operator == "*":
            _check_product(left, right)
        elif isinstance(left, str | list | tuple) and isinstance(right, str | list | tuple):
            bound(len(left) + len(right))
        result = super().call_binop(context, operator, left, right)
        budget_of(context).pay(result)
        return result


def _require(*values: object) -> None:
    for value in values:
        if isinstance(value, Undefined):
            raise UndefinedError(value._undefined_message)


def _check_product(left: Any, right: Any) -> None:
    if isinstance(left, int) and isinstance(right, int):
        if left.bit_length() + right.bit_length() > MAX_INT_BITS:
            raise ValueTooLarge
    elif isinstance(left, str) and isinstance(right, int):
        bound(len(left) * right)
    elif isinstance(left, int) and isinstance(right, str):
        bound(len(right) * left)
    elif not (isinstance(left, int | float) and isinstance(right, int | float)):
        # Lists are not repeated: lists of lists would grow exponentially without taking any memory at first.
        raise TypeError(f"the operator * cannot be used on {_kind(left)} and {_kind(right)}")


def _kind(value: object) -> str:
    if value is None:
        return "null"
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "a list", tuple: "a list"}
    return names.get(type(value), "an object" if isinstance(value, Mapping) else f"a {type(value).__name__}")
