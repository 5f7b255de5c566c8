"""Facts about the nodes in examples/nodes, tested as their author would test them."""

import importlib
import inspect
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from weftline_executor.nodes import Branch, NodeFailed, Registry
from weftline_executor.nodes.testing import RecordingSink, make_context

FOLDER = Path(__file__).resolve().parents[4] / "examples" / "nodes"


@pytest.fixture
def text_nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(FOLDER)
    yield importlib.import_module("text_nodes")
    sys.modules.pop("text_nodes")


def test_stats_count_lines_words_and_the_most_frequent_words(text_nodes: Any) -> None:
    stats = text_nodes.text_stats(make_context(RecordingSink()), text="The cat.\nThe dog, the end", top=1)
    assert stats == {"lines": 2, "words": 6, "top": ["the"]}


def test_stats_report_progress_on_a_long_text(text_nodes: Any) -> None:
    sink = RecordingSink()
    text_nodes.text_stats(make_context(sink), text="word\n" * 2000)
    assert sink.reports == [(0.5, None), (1.0, None)]


def test_stats_stop_when_they_are_cancelled(text_nodes: Any) -> None:
    with pytest.raises(NodeFailed, match="stopped"):
        text_nodes.text_stats(make_context(RecordingSink(is_cancelled=True)), text="word\n" * 2000)


async def test_reading_logs_each_sentence_and_takes_the_time_of_its_words(text_nodes: Any) -> None:
    sink = RecordingSink()
    result = await text_nodes.read_aloud(make_context(sink), text="One two three. Four!", words_per_minute=60)
    assert result == Branch("read", {"sentences": 2, "seconds": 4.0})
    assert [(message, context) for _, message, context in sink.lines] == [
        ("One two three.", {"sentence": 1}),
        ("Four!", {"sentence": 2}),
    ]
    assert sink.sleeps == [3.0, 1.0]
    assert sink.reports == [(0.5, None), (1.0, None)]


async def test_an_empty_text_takes_the_other_branch(text_nodes: Any) -> None:
    result = await text_nodes.read_aloud(make_context(RecordingSink()), text=" ")
    assert result == Branch("empty", {"sentences": 0, "seconds": 0.0})


@pytest.mark.usefixtures("text_nodes")
def test_the_example_workflow_fits_its_node_types() -> None:
    registry = Registry.with_builtins()
    registry.load_module("text_nodes")
    workflow = json.loads((FOLDER / "reading.json").read_text())
    ids = {item["id"] for item in workflow["nodes"]}
    handles: dict[str, tuple[str, ...]] = {}
    for item in workflow["nodes"]:
        node_type = registry.get(item["type"])
        assert node_type is not None
        assert node_type.check(item["data"]) == []
        assert {reference.node_id for reference in node_type.references(item["data"])} <= ids
        handles[item["id"]] = node_type.handles(item["data"])
    for edge in workflow["edges"]:
        assert edge.get("sourceHandle", handles[edge["source"]][0]) in handles[edge["source"]]


def test_one_of_them_runs_in_a_thread_and_the_other_in_the_event_loop(text_nodes: Any) -> None:
    assert text_nodes.text_stats.node_type.isolation == "thread"
    assert text_nodes.read_aloud.node_type.isolation == "async"
    assert inspect.iscoroutinefunction(text_nodes.read_aloud)
