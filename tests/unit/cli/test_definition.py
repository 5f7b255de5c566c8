"""A workflow is read from what people have, and changed only where an option says so."""

import json
from pathlib import Path

import pytest

from weftline_cli.definition import Definition, load, parse, parse_param, workflow_id_of
from weftline_cli.errors import InvalidWorkflowError, UsageError

BODY = {"nodes": [{"id": "a"}, {"id": "b"}], "edges": [], "config": {"concurrency": 2, "params": {"x": 1}}}


def test_a_file_is_read_with_or_without_a_byte_order_mark(tmp_path: Path) -> None:
    file = tmp_path / "flow.json"
    file.write_bytes(b"\xef\xbb\xbf" + json.dumps(BODY).encode())
    assert load(str(file)).body == BODY


def test_a_missing_file_is_bad_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.json can't be read: No such file"):
        load(str(tmp_path / "nowhere.json"))


@pytest.mark.parametrize(
    ("raw", "code", "path"),
    [
        (b'{"nodes": [}', "bad_json", "line 1, column 12"),
        (b"\xff", "bad_json", ""),
        (b'{"x": NaN}', "bad_json", ""),
        (b"[" * 100_000, "bad_json", ""),
        (b"[]", "wrong_type", ""),
    ],
)
def test_what_is_no_workflow_is_refused_with_the_place(raw: bytes, code: str, path: str) -> None:
    with pytest.raises(InvalidWorkflowError) as caught:
        parse(raw, "flow.json")
    assert [(fault.code, fault.path) for fault in caught.value.faults] == [(code, path)]


def test_parameters_are_added_and_everything_else_is_kept() -> None:
    changed = Definition("flow", BODY).with_params({"y": [2]})
    assert changed.body["config"] == {"concurrency": 2, "params": {"x": 1, "y": [2]}}
    assert changed.body["nodes"] == BODY["nodes"]
    assert BODY["config"] == {"concurrency": 2, "params": {"x": 1}}


def test_parameters_make_a_config_where_there_is_none() -> None:
    assert Definition("flow", {"nodes": []}).with_params({"x": 1}).body["config"] == {"params": {"x": 1}}


@pytest.mark.parametrize(("config", "path"), [([], "config"), ({"params": "x"}, "config.params")])
def test_a_config_that_is_no_object_is_a_fault(config: object, path: str) -> None:
    with pytest.raises(InvalidWorkflowError) as caught:
        Definition("flow", {"config": config}).with_params({"x": 1})
    assert caught.value.faults[0].path == path


def test_the_conflict_policy_is_set_beside_the_rest() -> None:
    config = Definition("flow", BODY).with_conflict_policy("attach").body["config"]
    assert config == {"concurrency": 2, "params": {"x": 1}, "onConflict": "attach"}


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("n=3", "n", 3),
        ("on=true", "on", True),
        ('list=["a"]', "list", ["a"]),
        ("word=plain text", "word", "plain text"),
        ("empty=", "empty", ""),
        ("sum=a=b", "sum", "a=b"),
        ("odd=NaN", "odd", "NaN"),
    ],
)
def test_a_parameter_that_is_json_keeps_its_type(text: str, name: str, value: object) -> None:
    assert parse_param(text) == (name, value)


@pytest.mark.parametrize("text", ["n", "=3", ""])
def test_a_parameter_without_a_name_is_bad_usage(text: str) -> None:
    with pytest.raises(UsageError, match="NAME=VALUE"):
        parse_param(text)


def test_the_workflow_is_called_like_its_file_unless_told() -> None:
    assert workflow_id_of("some/where/flow-1.json", None) == "flow-1"
    assert workflow_id_of("flow.json", "other:1") == "other:1"
    assert workflow_id_of("-", None) == ""


@pytest.mark.parametrize(
    ("file", "given"), [("my flow.json", None), ("-", ""), ("x.json", "a/b"), ("x.json", "a" * 129)]
)
def test_an_id_of_other_characters_is_bad_usage(file: str, given: str | None) -> None:
    with pytest.raises(UsageError, match="workflow id"):
        workflow_id_of(file, given)


def test_a_path_leads_to_its_node() -> None:
    definition = Definition("flow", BODY)
    assert definition.node_at("nodes[1].data.url") == "b"
    assert definition.node_at("nodes[7].data") == ""
    assert definition.node_at("edges[0].source") == ""


@pytest.mark.parametrize(
    ("path", "owned"),
    [("nodes[0]", True), ("edges[1].source", True), ("config.params", True), ("", True), ("workflow_id", False)],
)
def test_a_fault_of_the_workflow_is_told_from_one_of_the_request(path: str, owned: bool) -> None:
    assert Definition("flow", BODY).owns(path) is owned
