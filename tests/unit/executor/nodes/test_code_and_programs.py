"""Facts about the code of a `python` node and what is kept of a program's output, without running either."""

import asyncio
import inspect
import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weftline_executor.nodes import Registry
from weftline_executor.nodes.builtin.program import MAX_KEPT, MAX_LINES, Stream
from weftline_executor.nodes.builtin.python_code import compile_code, run_python
from weftline_executor.nodes.testing import RecordingSink, make_context


@given(st.text(max_size=200) | st.lists(st.sampled_from(list("()[]{}:.,=+\n\t\\'\"#f 1ax")), max_size=60).map("".join))
def test_any_text_is_either_a_body_or_refused(source: str) -> None:
    with suppress(ValueError):
        compile_code(source)


@pytest.mark.parametrize(
    "source",
    ["-" * 60_000 + "1", "a" + ".b" * 30_000, "1+" * 30_000 + "1", "(" * 300, "if a: pass\n" + "elif a: pass\n" * 4000],
    ids=["minus", "attributes", "sum", "brackets", "branches"],
)
def test_code_that_is_nested_too_deep_is_refused(source: str) -> None:
    with pytest.raises(ValueError, match="should be Python"):
        compile_code(source)


@pytest.mark.parametrize(
    ("source", "line"), [("a b", 1), ("x = 1\n\nreturn (", 3), ("pass\nbreak", 2), ("def f(:\n pass", 1)]
)
def test_a_fault_names_the_line_as_its_author_counts(source: str, line: int) -> None:
    with pytest.raises(ValueError, match=f"not in line {line}: "):
        compile_code(source)


@pytest.mark.parametrize(
    ("source", "is_async"),
    [
        ("", False),
        ("return 1", False),
        ("await x", True),
        ("async with x: pass", True),
        ("return [y async for y in x]", True),
        ("async def f():\n  await x\nreturn 1", False),
    ],
)
def test_code_is_asynchronous_when_it_awaits_itself(source: str, is_async: bool) -> None:
    [main] = [each for each in compile_code(source).co_consts if isinstance(each, type(compile_code(source)))]
    assert bool(main.co_flags & inspect.CO_COROUTINE) is is_async


def test_code_runs_as_it_is_where_it_is_called() -> None:
    sink = RecordingSink()
    found = run_python(
        make_context(sink), code="print(values)\nreturn inputs", values={"n": 1}, inputs={"a": 2}, params={}
    )
    assert found == {"a": 2}
    assert sink.lines == [("info", "{'n': 1}", {})]


def test_braces_in_code_are_no_expression_and_in_values_they_are() -> None:
    node_type = Registry.with_builtins(enabled={"python"}).get("python")
    assert node_type is not None
    assert node_type.check({"code": "return {{1}: '{{ nodes.x.output }}'}"}) == []
    assert [
        each.node_id for each in node_type.references({"code": "'{{ nodes.x }}'", "values": {"v": "{{ nodes.y }}"}})
    ] == ["y"]
    assert node_type.config_schema["properties"]["code"]["format"] == "verbatim"  # type: ignore[index]


@pytest.mark.parametrize(
    ("repeatable", "idempotency"), [(True, "safe"), (False, "unsafe"), ("{{ params.x }}", "unsafe")]
)
def test_only_its_author_can_say_that_code_may_run_twice(repeatable: object, idempotency: str) -> None:
    assert run_python.node_type.idempotency_for({"repeatable": repeatable}) == idempotency


async def followed(stream: Stream, *chunks: bytes) -> None:
    """Lets a stream read these chunks."""
    pipe = asyncio.StreamReader()
    for chunk in chunks:
        pipe.feed_data(chunk)
    pipe.feed_eof()
    await stream.follow(pipe)


@given(st.binary(max_size=2000).map(lambda piece: piece * 700))
def test_what_is_kept_of_a_stream_fits_and_is_its_end(data: bytes) -> None:
    stream = Stream(None, "info")
    asyncio.run(followed(stream, data))
    kept = stream.text()
    assert len(json.dumps(kept, ensure_ascii=False).encode()) <= MAX_KEPT
    assert data.decode(errors="replace").endswith(kept[4:])
    assert stream.truncated or kept == data.decode(errors="replace")


async def test_lines_become_log_lines_also_the_last_and_long_ones() -> None:
    sink = RecordingSink()
    await followed(Stream(make_context(sink), "warn"), b"one\n\ntwo\r\n" + b"x" * 5000 + b"\nlast")
    assert [(level, len(text)) for level, text, _ in sink.lines] == [
        *(("warn", size) for size in (3, 3, 4096, 904, 4)),
    ]


async def test_so_many_lines_are_logged_and_no_more() -> None:
    sink = RecordingSink()
    await followed(Stream(make_context(sink), "info"), b"x\n" * (MAX_LINES + 500))
    assert len(sink.lines) == MAX_LINES
