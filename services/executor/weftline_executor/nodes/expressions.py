"""Expressions in a node's configuration: `{{ ... }}` over the outputs of nodes, the inputs and the run's parameters."""

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from jinja2 import nodes as ast
from jinja2.environment import Template as JinjaTemplate
from jinja2.exceptions import TemplateError, UndefinedError
from jinja2.parser import Parser
from jinja2.visitor import NodeTransformer

from weftline_executor.nodes.errors import ExpressionFailed
from weftline_executor.nodes.filters import BUDGET_NAME, COMPARE, SLICE, bound
from weftline_executor.nodes.sandbox import METHODS, Sandbox
from weftline_executor.nodes.scope import EMPTY, Scope
from weftline_executor.nodes.values import Budget, plain, text

MAX_SOURCE = 8 * 1024
MAX_DEPTH = 80
ROOTS = ("nodes", "inputs", "params", "run")
ITEM_ROOTS = (*ROOTS, "item", "index")

# What makes do with a value that is not there.
_OPTIONAL = frozenset({"default", "d", "defined", "undefined"})

_SANDBOX = Sandbox()
_RESULT = "result"

# What an evaluation counts before it does anything.
_RENDER = 1024

Parse = Callable[[str], list[str | ast.Expr]]


def is_template(source: str) -> bool:
    """Say whether a string holds an expression, or a statement, which is refused when it is compiled."""
    return "{{" in source or "{%" in source


@dataclass(slots=True, eq=False)
class Template:
    """A checked string: `parts` are literal texts and, where it is None, the next of the expressions.

    `whole` says that the string is exactly one expression, whose value keeps its type. `node_ids` are the nodes that
    the expressions read, `handles` the inputs that they can't do without. With `per_item` they read `item` and `index`,
    too. The code is made at the first use, because that takes three times as long as the checks.
    """

    source: str
    parts: tuple[str | None, ...]
    whole: bool
    node_ids: tuple[str, ...]
    handles: tuple[str, ...]
    _parse: Parse
    per_item: bool = False
    _code: JinjaTemplate | None = None

    def render(self, scope: Scope, budget: Budget | None = None, names: Mapping[str, object] = EMPTY) -> object:
        """Give the value of a whole expression, else the text; raises `ExpressionFailed`.

        The work is paid for out of `budget`, which the expressions of one node share; without one it has its own.
        `names` are values that it reads beside those of the scope.
        """
        budget = budget or Budget()
        try:
            budget.spend(_RENDER + len(self.source))
            values = self._evaluate({**scope.variables(), **names, BUDGET_NAME: budget})
            return plain(values[0], budget) if self.whole else self._text(values, budget)
        except RecursionError:
            raise ExpressionFailed("the value is nested too deeply", self.source) from None
        except UndefinedError as error:
            raise ExpressionFailed(error.message or "a value is missing", self.source) from None
        except Exception as error:
            # Filters and operators raise whatever Python raises for the values at hand.
            raise ExpressionFailed(str(error) or type(error).__name__, self.source) from error

    def _evaluate(self, variables: dict[str, object]) -> list[object]:
        code = self._code
        if code is None:
            expressions = [piece for piece in self._parse(self.source) if not isinstance(piece, str)]
            assign = ast.Assign(ast.Name(_RESULT, "store"), ast.List(expressions), lineno=1)
            self._code = code = _SANDBOX.from_string(ast.Template([assign], lineno=1))
        context = code.new_context(variables)
        for _ in code.root_render_func(context):
            pass
        values: list[object] = context.vars[_RESULT]
        return values

    def _text(self, values: list[object], budget: Budget) -> str:
        remaining = iter(values)
        pieces: list[str] = []
        size = 0
        for part in self.parts:
            pieces.append(text(next(remaining), budget) if part is None else part)
            size += len(pieces[-1])
            budget.spend(len(pieces[-1]))
            bound(size)
        return "".join(pieces)


@lru_cache(maxsize=4096)
def compile_text(source: str) -> Template:
    """Compile a string that holds `{{ ... }}`; raises `ExpressionFailed` when it is not valid."""
    return _compile(source, _parse_text)


@lru_cache(maxsize=4096)
def compile_bare(source: str) -> Template:
    """Compile a string that is an expression without braces around it; raises `ExpressionFailed`."""
    return _compile(source, _parse_bare)


@lru_cache(maxsize=4096)
def compile_item(source: str) -> Template:
    """Compile an expression about one `item` of many and its `index`, with braces or without; raises as the others."""
    return _one(_compile(source, _parse_text if is_template(source) else _parse_bare, ITEM_ROOTS))


def compile_one(source: str) -> Template:
    """Compile a string that is one expression, with braces or without; raises `ExpressionFailed`."""
    return _one(compile_text(source)) if is_template(source) else compile_bare(source)


def _one(template: Template) -> Template:
    if not template.whole:
        raise ExpressionFailed("it must be one expression, with nothing around its braces", template.source)
    return template


def _compile(source: str, parse: Parse, roots: Sequence[str] = ROOTS) -> Template:
    if len(source) > MAX_SOURCE:
        raise ExpressionFailed(f"it is longer than {MAX_SOURCE} characters", source)
    try:
        pieces = parse(source)
        expressions = [piece for piece in pieces if not isinstance(piece, str)]
        found = [node_id for expression in expressions for node_id in _inspect(expression, roots)]
        handles = [handle for expression in expressions for handle in _handles(expression)]
    except _Refused as refused:
        raise ExpressionFailed(str(refused), source) from None
    except TemplateError as error:
        reason = (error.message or "it is not an expression").replace("'end of print statement'", "'}}'")
        raise ExpressionFailed(reason, source) from None
    except RecursionError:
        raise ExpressionFailed("it is nested too deeply", source) from None
    except ValueError as error:
        raise ExpressionFailed(f"it is not an expression ({error})", source) from None
    parts = tuple(piece if isinstance(piece, str) else None for piece in pieces)
    node_ids, named = tuple(dict.fromkeys(found)), tuple(dict.fromkeys(handles))
    return Template(source, parts, parts == (None,), node_ids, named, parse, roots is ITEM_ROOTS)


def _parse_text(source: str) -> list[str | ast.Expr]:
    if "{%" in source:
        raise _Refused("statements ({% ... %}) are not available, only expressions ({{ ... }})")
    pieces: list[str | ast.Expr] = []
    for statement in _SANDBOX.parse(source).body:
        if not isinstance(statement, ast.Output):
            raise _Refused("only expressions ({{ ... }}) are available")
        pieces += [
            piece.data if isinstance(piece, ast.TemplateData) else _rewritten(piece) for piece in statement.nodes
        ]
    return pieces


def _parse_bare(source: str) -> list[str | ast.Expr]:
    parser = Parser(_SANDBOX, source, state="variable")
    expression = parser.parse_expression()
    if not parser.stream.eos:
        raise _Refused("there is more after the end of the expression")
    return [_rewritten(expression)]


class _Refused(Exception):
    """An expression says something that is not available."""


class _Rewriter(NodeTransformer):
    """Turns what Jinja2 would compute by itself into operators and filters that the sandbox bounds."""

    def visit_Concat(self, node: ast.Concat) -> ast.Expr:  # noqa: N802
        """Make `a ~ b` an addition of strings."""
        strings = [_filter(self.visit(operand), "string") for operand in node.nodes]
        joined: ast.Expr = strings[0]
        for string in strings[1:]:
            joined = ast.Add(joined, string, lineno=node.lineno)
        return joined

    def visit_Compare(self, node: ast.Compare) -> ast.Expr:  # noqa: N802
        """Make `a < b <= c` a filter."""
        self.generic_visit(node)
        operators = ast.Const(" ".join(operand.op for operand in node.ops), lineno=node.lineno)
        return _filter(node.expr, COMPARE, operators, *(operand.expr for operand in node.ops))

    def visit_Getitem(self, node: ast.Getitem) -> ast.Expr:  # noqa: N802
        """Make `a[b:c]` a filter."""
        self.generic_visit(node)
        if not isinstance(node.arg, ast.Slice):
            return node
        ends = (node.arg.start, node.arg.stop, node.arg.step)
        return _filter(node.node, SLICE, *(ast.Const(None, lineno=node.lineno) if end is None else end for end in ends))


def _rewritten(expression: ast.Expr) -> ast.Expr:
    rewritten: ast.Expr = _Rewriter().visit(expression)
    return rewritten


def _filter(operand: ast.Expr, name: str, *args: ast.Expr) -> ast.Filter:
    return ast.Filter(operand, name, list(args), [], None, None, lineno=operand.lineno)


def _inspect(expression: ast.Expr, roots: Sequence[str]) -> Iterable[str]:
    """Refuse what the sandbox would, as far as it can be seen, and give the ids of the nodes that are read."""
    owners: set[int] = set()
    names: list[ast.Name] = []
    found: list[str] = []
    for node in _walk(expression):
        if isinstance(node, ast.Getattr | ast.Getitem) and _is_nodes(node.node):
            owners.add(id(node.node))
            found.append(_node_id(node))
        if isinstance(node, ast.Getattr) and node.attr.startswith("_"):
            raise _Refused(f'names that begin with an underscore are not available; write ["{node.attr}"] for a key')
        if isinstance(node, ast.Pow):
            raise _Refused("the operator ** is not available")
        if isinstance(node, ast.Call):
            _check_call(node)
        if isinstance(node, ast.Filter):
            _check_known("filter", node.name, _SANDBOX.filters)
        if isinstance(node, ast.Test):
            _check_known("test", node.name, _SANDBOX.tests)
        if isinstance(node, ast.Name):
            names.append(node)
    for name in names:
        _check_name(name, id(name) in owners, roots)
    return found


def _handles(expression: ast.Expr) -> Iterable[str]:
    """Give the input handles that are read, but for those that have a default, or are asked whether they are there."""
    spared: set[int] = set()
    for node in _walk(expression):
        if isinstance(node, ast.Call):
            spared.add(id(node.node))
        elif isinstance(node, ast.Filter | ast.Test) and node.name in _OPTIONAL and node.node is not None:
            spared.update(id(part) for part in _walk(node.node))
        elif isinstance(node, ast.Getattr | ast.Getitem) and isinstance(node.node, ast.Name):
            handle = node.attr if isinstance(node, ast.Getattr) else _constant(node.arg)
            if node.node.name == "inputs" and id(node) not in spared and handle is not None:
                yield handle


def _constant(node: ast.Node) -> str | None:
    return node.value if isinstance(node, ast.Const) and isinstance(node.value, str) else None


def _walk(node: ast.Node, depth: int = 1) -> Iterator[ast.Node]:
    if depth > MAX_DEPTH:
        raise _Refused("it is nested too deeply")
    yield node
    for child in node.iter_child_nodes():
        yield from _walk(child, depth + 1)


def _check_known(kind: str, name: str, known: Iterable[str]) -> None:
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        raise _Refused(f"there is no {kind} {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))


def _is_nodes(node: ast.Node) -> bool:
    return isinstance(node, ast.Name) and node.name == "nodes"


def _node_id(node: ast.Getattr | ast.Getitem) -> str:
    if isinstance(node, ast.Getattr):
        return node.attr
    if isinstance(node.arg, ast.Const) and isinstance(node.arg.value, str):
        return node.arg.value
    raise _Refused('a node is named in the expression itself: nodes.ID or nodes["ID"]')


def _check_name(name: ast.Name, owned: bool, roots: Sequence[str]) -> None:
    if name.name not in roots:
        near = difflib.get_close_matches(name.name, roots, 1)
        known = f"there are {', '.join(roots[:-1])} and {roots[-1]}, and text is put in quotes"
        hint = f"did you mean {near[0]}?" if near else known
        raise _Refused(f"the name {name.name!r} is not known; {hint}")
    if name.name == "nodes" and not owned:
        raise _Refused('nodes is not a value by itself; write nodes.ID or nodes["ID"]')


def _check_call(call: ast.Call) -> None:
    if not isinstance(call.node, ast.Getattr):
        raise _Refused("only methods can be called")
    if call.node.attr not in METHODS:
        raise _Refused(f"the method {call.node.attr!r} is not available")
