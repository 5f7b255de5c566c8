"""The node that runs Python code of its own configuration, in a worker process."""

import ast
import inspect
import io
import linecache
import traceback
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from types import CodeType, TracebackType
from typing import Annotated, cast

from pydantic import AfterValidator, Field

from weftline_executor.nodes.builtin.repeatable import Repeatable, idempotency_of
from weftline_executor.nodes.context import Context, Level
from weftline_executor.nodes.declare import Verbatim
from weftline_executor.nodes.decorator import node
from weftline_executor.nodes.errors import NodeFailed, NodeTypeError, clip

MAX_CODE = 64 * 1024
FILE = "<code>"
"""What the code's file is called in tracebacks."""

_MAX_TRACE = 8192
_MAX_HELD = 8192
_VALUES = "What the code finds in `values`: the place for expressions."
_MAIN = "main"
_PARAMETERS = ("ctx", "inputs", "params", "values")


def compile_code(source: str) -> CodeType:
    """Compile code as the body of a function `main`, which is a coroutine function if the code awaits something.

    Raises `ValueError`, saying in which line, for what is not such a body.
    """
    try:
        body = ast.parse(source, FILE).body
        header = f"{'async ' if _awaits(body) else ''}def {_MAIN}({', '.join(_PARAMETERS)}): pass"
        module = ast.parse(header, FILE)
        cast("ast.FunctionDef", module.body[0]).body = body or [ast.Pass(lineno=1, col_offset=0)]
        return compile(module, FILE, "exec")
    except SyntaxError as error:
        where = f" in line {error.lineno}" if error.lineno else ""
        raise ValueError(f"should be Python, which it is not{where}: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        reason = "it is nested too deep" if isinstance(error, RecursionError | MemoryError) else str(error)
        raise ValueError(f"should be Python that can be compiled: {reason}") from None


def _awaits(body: list[ast.stmt]) -> bool:
    waiting: list[ast.AST] = list(body)
    while waiting:
        found = waiting.pop()
        if isinstance(found, ast.Await | ast.AsyncFor | ast.AsyncWith):
            return True
        if isinstance(found, ast.comprehension) and found.is_async:
            return True
        # What a function within awaits is its own affair.
        if not isinstance(found, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting += ast.iter_child_nodes(found)
    return False


def _checked(source: str) -> str:
    compile_code(source)
    return source


Code = Annotated[
    str,
    Verbatim(),
    Field(max_length=MAX_CODE, description="The body of a function; braces in it are Python's, not an expression's."),
    AfterValidator(_checked),
]


@node(
    "python",
    title="Run Python",
    isolation="process",
    idempotency="unsafe",
    idempotency_of=idempotency_of,
    errors={
        "node_raised": "the code raised an error; the details hold the line and the traceback",
        "bad_code": "the code yields instead of returning",
        "worker_lost": "the process of the code ended by itself",
        "out_of_memory": "the code took more memory than it may",
        "cpu_limit": "the code computed for longer than it may",
    },
)
def run_python(
    ctx: Context,
    *,
    code: Code,
    values: Annotated[Mapping[str, object], Field(description=_VALUES)] = {},
    repeatable: Repeatable = False,
    inputs: dict[str, object],
    params: dict[str, object],
) -> object:
    """Runs code in a worker process; what it returns is the output.

    The code sees `inputs` (what arrived, by handle), `params` (of the run), `values` and `ctx`, the context of a node:
    `ctx.progress(0.5)`, `ctx.log("…")`, `ctx.secrets["NAME"]`. It may `await`, and import what is installed beside the
    executor. What it prints becomes log lines. Its errors name the line, and their `details` hold the traceback;
    `raise NodeFailed(message, code)` from `weftline_executor.nodes` fails with a code of its own.

    This keeps accidents away from the executor, not attackers: the code can do whatever the executor's user may do.
    """
    main = _load(code)
    with _told_by_line(), _printing_to(ctx):
        result = main(ctx, inputs, params, values)
    if inspect.iscoroutine(result):
        return _finish(ctx, result)
    if inspect.isgenerator(result) or inspect.isasyncgen(result):
        raise NodeFailed("the code must return its output, not yield it", "bad_code", retryable=False)
    return result


async def _finish(ctx: Context, work: Awaitable[object]) -> object:
    with _told_by_line(), _printing_to(ctx):
        return await work


def _load(source: str) -> Callable[..., object]:
    # Where tracebacks look for the text of lines.
    linecache.cache[FILE] = (len(source), None, source.splitlines(keepends=True), FILE)
    names: dict[str, object] = {"__name__": FILE, "__builtins__": __builtins__}
    exec(compile_code(source), names)  # noqa: S102 - that is what the node is for; it is off unless enabled
    return cast("Callable[..., object]", names[_MAIN])


@contextmanager
def _told_by_line() -> Iterator[None]:
    try:
        yield
    except (NodeTypeError, MemoryError):
        raise
    except Exception as error:
        trace = _own_part(error.__traceback__)
        told = traceback.format_exception(type(error), error, trace)
        line = next((frame.lineno for frame in reversed(traceback.extract_tb(trace)) if frame.filename == FILE), None)
        text = linecache.getline(FILE, line or 0).strip()
        where = f" (line {line}: {clip(text)})" if line else ""
        details = {"line": line, "traceback": "".join(told)[-_MAX_TRACE:]}
        raise NodeFailed(f"{type(error).__name__}: {error}{where}", "node_raised", details) from None


def _own_part(trace: TracebackType | None) -> TracebackType | None:
    """Give a traceback from the first frame of the code on."""
    own = trace
    while own is not None and own.tb_frame.f_code.co_filename != FILE:
        own = own.tb_next
    return own or trace


@contextmanager
def _printing_to(ctx: Context) -> Iterator[None]:
    out, err = _Lines(ctx, "info"), _Lines(ctx, "warn")
    try:
        with redirect_stdout(out), redirect_stderr(err):
            yield
    finally:
        out.finish()
        err.finish()


class _Lines(io.TextIOBase):
    """A stream whose text becomes log lines; what was written together stays together, since a secret may be in it."""

    def __init__(self, ctx: Context, level: Level) -> None:
        self._ctx = ctx
        self._level = level
        self._held = ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self._held += text
        if text.endswith("\n") or len(self._held) > _MAX_HELD:
            self.finish()
        return len(text)

    def finish(self) -> None:
        """Log what is held."""
        held, self._held = self._held.rstrip("\n"), ""
        if held:
            self._ctx.log(held, self._level)
