"""Expressions about each item of a list, which a node evaluates while it goes over the list."""

from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from weftline_executor.nodes.errors import ExpressionFailed
from weftline_executor.nodes.expressions import Template
from weftline_executor.nodes.scope import Scope
from weftline_executor.nodes.values import MAX_WORK, Budget

MAX_ITEM_WORK = 32 * MAX_WORK
"""What the evaluations of an expression for all items may do together: simple ones go over about 200,000 items."""


class ItemExpression:
    """An expression over `item`, `index`, and what all expressions read: a type for parameters marked `PerItem()`.

    All its evaluations share one budget, which is larger than that of other expressions; a node that evaluates it for
    lists of any length must not be `inline`.
    """

    __slots__ = ("_budget", "_path", "_scope", "_template")

    def __init__(self, template: Template, scope: Scope, path: str) -> None:
        self._template = template
        self._scope = scope
        self._path = path
        self._budget = Budget(MAX_ITEM_WORK)

    def of(self, item: object, index: int) -> object:
        """Give the value for one item; raises `ExpressionFailed`, naming the index."""
        try:
            return self._template.render(self._scope, self._budget, {"item": item, "index": index})
        except ExpressionFailed as error:
            failed = ExpressionFailed(f"at the item with index {index}: {error.reason}", error.source, self._path)
            raise failed from error.__cause__

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(cls._check)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "string", "format": "expression"}

    @classmethod
    def _check(cls, value: object) -> object:
        # Text is what it is before the node runs, when it has been compiled but there are no values.
        if not isinstance(value, str | cls):
            raise PydanticCustomError("expression_type", "Input should be the text of an expression")
        return value
