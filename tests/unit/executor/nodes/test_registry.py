"""Facts about the registry: what it finds in plugins, and how it names those that fail."""

from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from weftline_executor.nodes import Context, DuplicateNodeType, PluginFailed, Registry, node
from weftline_executor.nodes.registry import ENTRY_POINT_GROUP

GOOD = """
from weftline_executor.nodes import Context, node
from weftline_executor.nodes.builtin import noop

@node("test.good")
def good(ctx: Context) -> None: ...

helper = 3
"""


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A folder on the import path, whose modules are forgotten after the test."""
    import sys

    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def entry_point(value: str, name: str = "plugin") -> EntryPoint:
    return EntryPoint(name, value, ENTRY_POINT_GROUP)


def test_the_builtin_types_are_there() -> None:
    assert Registry.with_builtins().names() == [
        *("aggregate", "approval", "condition", "delay", "fail", "filter", "http.request", "input", "llm.chat"),
        *("log", "map", "merge", "noop", "output", "set", "switch", "template", "wait_for_event", "workflow"),
    ]


def test_types_that_run_anything_are_there_only_where_they_are_enabled() -> None:
    registry = Registry.with_builtins(enabled={"python"})
    assert set(registry.names()) - set(Registry.with_builtins().names()) == {"python"}
    assert registry.why_off("python") is None
    assert registry.why_off("delay") is None
    assert registry.why_off("no.such") is None
    assert "WEFTLINE_EXECUTOR_ENABLE_NODES=command" in (registry.why_off("command") or "")


def test_a_type_is_found_by_its_name() -> None:
    registry = Registry.with_builtins()
    delay = registry.get("delay")
    assert delay is not None
    assert delay.name == "delay"
    assert registry.get("dela") is None
    assert [node_type.name for node_type in registry] == registry.names()
    assert len(registry) == len(registry.names())


@pytest.mark.parametrize(
    ("name", "nearest"), [("dely", "delay"), ("http", "http.request"), ("request", "http.request"), ("zzz", None)]
)
def test_the_nearest_name_is_suggested(name: str, nearest: str | None) -> None:
    assert Registry.with_builtins().nearest(name) == nearest


def test_a_module_gives_the_types_declared_in_it_and_not_those_it_imports(plugins: Path) -> None:
    (plugins / "good_nodes.py").write_text(GOOD)
    registry = Registry()
    registry.load_module("good_nodes")
    assert registry.names() == ["test.good"]


def test_a_package_gives_the_types_of_its_modules(plugins: Path) -> None:
    (plugins / "good_package").mkdir()
    (plugins / "good_package" / "__init__.py").write_text("from good_package.inner import good\n")
    (plugins / "good_package" / "inner.py").write_text(GOOD)
    registry = Registry()
    registry.load_module("good_package")
    assert registry.names() == ["test.good"]


@pytest.mark.parametrize("value", ["good_nodes", "good_nodes:good", "good_nodes:good.node_type"])
def test_an_entry_point_names_a_module_a_function_or_a_type(plugins: Path, value: str) -> None:
    (plugins / "good_nodes.py").write_text(GOOD)
    registry = Registry()
    registry.load_entry_points([entry_point(value)])
    assert registry.names() == ["test.good"]


def test_the_same_type_may_come_twice(plugins: Path) -> None:
    (plugins / "good_nodes.py").write_text(GOOD)
    registry = Registry()
    registry.load_module("good_nodes")
    registry.load_entry_points([entry_point("good_nodes"), entry_point("good_nodes:good")])
    assert len(registry) == 1


def test_two_types_of_one_name_are_refused_naming_both_plugins(plugins: Path) -> None:
    (plugins / "good_nodes.py").write_text(GOOD)
    (plugins / "rival_nodes.py").write_text(GOOD)
    registry = Registry()
    registry.load_module("good_nodes")
    with pytest.raises(DuplicateNodeType, match=r"'test\.good' is declared by good_nodes and again by rival_nodes"):
        registry.load_module("rival_nodes")


def test_a_builtin_type_is_not_replaced_by_a_plugin() -> None:
    @node("noop")
    def noop(ctx: Context) -> None: ...

    with pytest.raises(DuplicateNodeType):
        Registry.with_builtins().add(noop.node_type, "my plugin")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("1 / 0", "its import failed: ZeroDivisionError: division by zero"),
        ("import no_such_module", "No module named 'no_such_module'"),
        ("x =", "SyntaxError"),
        ("x = 1", "declares no node type"),
        ("from weftline_executor.nodes import node\n@node('a')\ndef a(): ...", "BadDeclaration: node type 'a'"),
    ],
)
def test_a_module_that_cannot_be_used_is_named_with_the_reason(plugins: Path, source: str, reason: str) -> None:
    (plugins / "bad_nodes.py").write_text(source)
    with pytest.raises(PluginFailed) as by_name:
        Registry().load_module("bad_nodes")
    with pytest.raises(PluginFailed) as by_entry_point:
        Registry().load_entry_points([entry_point("bad_nodes", "shop")])
    assert by_name.value.plugin == "bad_nodes"
    assert reason in by_name.value.reason
    assert by_entry_point.value.plugin == "shop = bad_nodes"
    assert reason in by_entry_point.value.reason


def test_a_module_that_is_not_there_is_named() -> None:
    with pytest.raises(PluginFailed, match="no_such_nodes"):
        Registry().load_module("no_such_nodes")


def test_an_entry_point_to_something_else_is_refused(plugins: Path) -> None:
    (plugins / "good_nodes.py").write_text(GOOD)
    with pytest.raises(PluginFailed, match="neither a module nor a node type, but a int"):
        Registry().load_entry_points([entry_point("good_nodes:helper")])


def test_without_plugins_there_are_no_entry_points_to_load() -> None:
    registry = Registry()
    registry.load_entry_points()
    assert registry.names() == []


@pytest.mark.parametrize(("name", "meant"), [("shop.py", "shop"), ("./my/shop.py", "my.shop"), ("my/shop", "my.shop")])
def test_a_file_in_place_of_a_module_is_refused_with_the_name_of_the_module(
    plugins: Path, name: str, meant: str
) -> None:
    (plugins / "shop.py").write_text(GOOD)
    with pytest.raises(PluginFailed, match=f"did you mean '{meant}'") as caught:
        Registry().load_module(name)
    assert caught.value.plugin == name


def test_a_module_that_is_not_there_is_refused_without_a_guess(plugins: Path) -> None:
    with pytest.raises(PluginFailed) as caught:
        Registry().load_module("nowhere")
    assert "did you mean" not in str(caught.value)
