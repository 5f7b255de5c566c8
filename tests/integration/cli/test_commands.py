"""The commands that ask one question or give one command."""

import json
from pathlib import Path

import grpc
import pytest

from tests.integration.cli.fake_executor import FakeExecutor, refused
from tests.integration.cli.process import weftline
from tests.unit.cli import events as make
from weftline.v1 import events_pb2 as ev
from weftline.v1 import workflow_service_pb2 as ws


async def test_pause_resume_and_stop_carry_what_was_asked_for(executor: FakeExecutor) -> None:
    paused = await weftline("pause", "demo", "--reason", "lunch", executor=executor.address)
    resumed = await weftline("resume", "demo", "--json", executor=executor.address)
    stopped = await weftline("stop", "demo", "--grace", "1.5", executor=executor.address)
    killed = await weftline("stop", "demo", "--mode", "terminate", executor=executor.address)
    assert [result.code for result in (paused, resumed, stopped, killed)] == [0, 0, 0, 0]
    pause, resume, stop, kill = executor.requests
    assert (pause.workflow_id, pause.mode, pause.reason) == ("demo", ws.PAUSE_MODE_DRAIN, "lunch")
    assert (stop.mode, stop.grace_ms) == (ws.STOP_MODE_GRACEFUL, 1500)
    assert (kill.mode, kill.HasField("grace_ms")) == (ws.STOP_MODE_TERMINATE, False)
    assert len({request.command_id for request in (pause, resume, stop, kill)}) == 4
    assert paused.out == f"demo is pausing (run {make.RUN}).\n"
    assert resumed.rows == [
        {"workflowId": "demo", "runId": make.RUN, "state": "running", "seq": 9, "epoch": make.EPOCH}
    ]


async def test_an_immediate_pause_and_a_retry_are_asked_for(executor: FakeExecutor) -> None:
    paused = await weftline("pause", "demo", "--mode", "immediate", executor=executor.address)
    retried = await weftline("retry", "demo", "--reason", "mended", executor=executor.address)
    pause, retry = executor.requests
    assert (paused.code, pause.mode) == (0, ws.PAUSE_MODE_IMMEDIATE)
    assert isinstance(retry, ws.RetryWorkflowRequest)
    assert (retry.workflow_id, retry.reason) == ("demo", "mended")
    assert retry.command_id
    assert "@" in retry.by
    assert retried.out == f"demo is running (run {make.RUN}).\n"


async def test_a_command_that_the_state_forbids_is_code_5(executor: FakeExecutor) -> None:
    executor.refusal = refused(grpc.StatusCode.FAILED_PRECONDITION, "cannot pause: its run is paused", "illegal_state")
    result = await weftline("pause", "demo", executor=executor.address)
    assert (result.code, result.out) == (5, "")
    assert result.err == "error: Cannot pause: its run is paused.\n"


async def test_a_bad_argument_is_code_2(executor: FakeExecutor) -> None:
    executor.refusal = refused(grpc.StatusCode.INVALID_ARGUMENT, "workflow_id: too long", "invalid_argument")
    assert (await weftline("stop", "demo", executor=executor.address)).code == 2


async def test_grace_without_graceful_is_bad_usage(executor: FakeExecutor) -> None:
    result = await weftline("stop", "demo", "--mode", "terminate", "--grace", "1", executor=executor.address)
    assert result.code == 2
    assert executor.requests == []


async def test_ls_shows_every_page_up_to_its_limit(executor: FakeExecutor) -> None:
    executor.summaries = [
        ws.RunSummary(
            workflow_id=f"flow-{at}",
            run_id=make.RUN,
            state=ev.RUN_STATE_SUCCESS,
            started_ms=make.BEGAN_MS,
            ended_ms=make.BEGAN_MS + 1500,
            total_nodes=at,
        )
        for at in range(5)
    ]
    everything = await weftline("ls", executor=executor.address)
    assert [line.split()[0] for line in everything.out.splitlines()[1:]] == [f"flow-{at}" for at in range(5)]
    assert "success" in everything.out
    assert "1.5 s" in everything.out
    limited = await weftline("ls", "--limit", "3", "--json", executor=executor.address)
    assert [row["workflowId"] for row in limited.rows] == ["flow-0", "flow-1", "flow-2"]
    assert limited.rows[0]["endedAt"] - limited.rows[0]["startedAt"] == 1500


async def test_ls_passes_its_filters_on(executor: FakeExecutor) -> None:
    result = await weftline("ls", "--state", "paused", "--state", "error", "--prefix", "x", executor=executor.address)
    assert result.out == "No workflow fits.\n"
    request = executor.requests[0]
    assert (list(request.states), request.id_prefix) == ([ev.RUN_STATE_PAUSED, ev.RUN_STATE_ERROR], "x")


async def test_get_shows_each_node_and_why_a_run_waits(executor: FakeExecutor) -> None:
    executor.state = make.snapshot(
        5, ev.RUN_STATE_PAUSED, statuses={"a": ev.NODE_STATUS_ERROR, "b": ev.NODE_STATUS_PENDING}
    )
    executor.state.reason = "unknown_outcome"
    executor.state.nodes[0].error = "no route to host"
    executor.state.nodes[0].error_code = "node_failed"
    result = await weftline("get", "demo", executor=executor.address)
    assert result.code == 0
    assert "waits: unknown outcome" in result.out
    assert "no route to host [node_failed]" in result.out
    assert [line.split()[0] for line in result.out.splitlines()[-2:]] == ["A", "B"]
    as_json = await weftline("get", "demo", "--json", executor=executor.address)
    assert as_json.rows[0]["payload"]["reason"] == "unknown_outcome"


async def test_get_names_only_what_matters_of_many_nodes_unless_asked(executor: FakeExecutor) -> None:
    statuses = {f"n{at}": ev.NODE_STATUS_SUCCESS for at in range(60)} | {"bad": ev.NODE_STATUS_ERROR}
    executor.state = make.snapshot(5, statuses=statuses)
    short = await weftline("get", "demo", executor=executor.address)
    assert "BAD (bad)" in short.out
    assert "60 more nodes; list all with --nodes" in short.out
    whole = await weftline("get", "demo", "--nodes", executor=executor.address)
    assert "N59 (n59)" in whole.out


async def test_get_says_what_each_node_waits_for_and_shows_the_critical_path(executor: FakeExecutor) -> None:
    executor.state = make.snapshot(5, statuses={"a": ev.NODE_STATUS_RUNNING, "b": ev.NODE_STATUS_PENDING})
    waiting = ev.Waiting(waiting_for=ev.WAITING_FOR_PARENTS, parent_ids=["a"], parents=1)
    executor.state.nodes[1].waiting.CopyFrom(waiting)
    executor.critical_path = [
        ws.PlannedNode(node_id="a", start_ms=0, end_ms=900, expected=True),
        ws.PlannedNode(node_id="b", start_ms=900, end_ms=2900, expected=True),
    ]
    result = await weftline("get", "demo", executor=executor.address)
    lines = result.out.splitlines()
    assert lines[-5].split() == ["B", "(b)", "noop", "pending", "1", "A", "(a)"]
    assert [line.split() for line in lines[-2:]] == [
        ["a", "+0", "ms", "900", "ms", "expected"],
        ["b", "+900", "ms", "2.0", "s", "expected"],
    ]
    (row,) = (await weftline("get", "demo", "--json", executor=executor.address)).rows
    assert row["payload"]["nodes"][1]["waiting"] == {"for": "parents", "parents": ["a"], "count": 1}
    assert row["criticalPath"][1] == {"nodeId": "b", "start": 900, "end": 2900, "expected": True}


async def test_what_does_not_exist_is_code_4(executor: FakeExecutor) -> None:
    result = await weftline("get", "nowhere", executor=executor.address)
    assert result.code == 4
    assert result.err == "error: No run of workflow 'nowhere' is known.\n"


async def test_validate_says_all_that_is_wrong(executor: FakeExecutor, flow: str) -> None:
    valid = await weftline("validate", flow, executor=executor.address)
    assert (valid.code, valid.out) == (0, f"{flow} is valid: 2 nodes, 1 edge.\n")
    executor.faults = [ws.Fault(path=f"nodes[{at}].type", code="unknown_node_type", message="?") for at in (0, 1)]
    invalid = await weftline("validate", flow, executor=executor.address)
    assert invalid.code == 3
    assert "nodes[0].type  unknown_node_type  ?  (node a)" in invalid.err
    assert "nodes[1].type  unknown_node_type  ?  (node b)" in invalid.err
    as_json = await weftline("validate", flow, "--json", executor=executor.address)
    assert (as_json.code, as_json.rows[0]["valid"], len(as_json.rows[0]["faults"])) == (3, False, 2)


async def test_validate_shows_how_a_run_would_go_when_asked(executor: FakeExecutor, flow: str) -> None:
    timeline = [
        ws.PlannedNode(node_id="a", start_ms=0, end_ms=1000, expected=True),
        ws.PlannedNode(node_id="b", start_ms=1000, end_ms=4000, expected=True),
    ]
    executor.forecast = ws.Forecast(
        duration_ms=4000, peak_concurrency=1, known_nodes=1, timeline=timeline, critical_path=["a", "b"]
    )
    result = await weftline("validate", flow, "--simulate", executor=executor.address)
    assert result.code == 0
    assert "A run is expected to take 4.0 s, at most 1 node at once." in result.out
    assert "The duration of 1 of 2 nodes is known" in result.out
    assert "critical path: a → b" in result.out
    bars = [line.count("█") for line in result.out.splitlines()[-2:]]
    assert bars == [12, 36]
    (row,) = (await weftline("validate", flow, "--simulate", "--json", executor=executor.address)).rows
    assert (row["forecast"]["duration"], row["forecast"]["criticalPath"]) == (4000, ["a", "b"])
    assert row["forecast"]["timeline"][0] == {"nodeId": "a", "start": 0, "end": 1000, "expected": True}
    (plain,) = (await weftline("validate", flow, "--json", executor=executor.address)).rows
    assert "forecast" not in plain


async def test_nodes_are_listed_and_one_is_shown_with_its_schema(executor: FakeExecutor) -> None:
    schema = json.dumps({"properties": {"seconds": {"type": "number"}}})
    executor.node_types = [
        ws.NodeType(name="delay", title="Wait", config_schema_json=schema, idempotency="safe", isolation="async"),
        ws.NodeType(name="switch", title="Switch", dynamic_handles=True),
    ]
    table = await weftline("nodes", executor=executor.address)
    assert [line.split()[0] for line in table.out.splitlines()[1:]] == ["delay", "switch"]
    one = await weftline("nodes", "delay", executor=executor.address)
    assert '"seconds"' in one.out
    unknown = await weftline("nodes", "dely", executor=executor.address)
    assert unknown.code == 4
    assert "Did you mean 'delay'?" in unknown.err
    rows = await weftline("nodes", "--json", executor=executor.address)
    assert rows.rows[0]["configSchema"] == json.loads(schema)


async def test_the_executor_of_the_option_goes_before_that_of_the_environment(executor: FakeExecutor) -> None:
    result = await weftline("nodes", "--executor", executor.address, executor="127.0.0.1:1")
    assert result.code == 0
    assert (await weftline("--executor", executor.address, "nodes", executor="127.0.0.1:1")).code == 0


@pytest.mark.parametrize(
    "arguments", [["ls", "--executor", "here"], ["--executor", "here:x", "ls"], ["ls", "--executor", ":1"]]
)
async def test_an_executor_without_a_port_is_bad_usage(arguments: list[str]) -> None:
    result = await weftline(*arguments)
    assert (result.code, result.out) == (2, "")
    assert "--executor (or WEFTLINE_EXECUTOR) takes HOST:PORT" in result.err


@pytest.mark.parametrize(
    "arguments",
    [["run", "--json"], ["ls", "--limit", "0", "--json"], ["nope", "--json"], ["--nope", "ls", "--json"]],
    ids=["missing argument", "bad value", "unknown command", "unknown option"],
)
async def test_with_json_bad_usage_is_one_object_too(arguments: list[str]) -> None:
    result = await weftline(*arguments)
    assert (result.code, result.out) == (2, "")
    error = json.loads(result.err)["error"]
    assert error["code"] == "usage"
    assert error["message"]


async def test_convert_writes_what_validate_takes(executor: FakeExecutor, tmp_path: Path) -> None:
    tasks = [{"id": "x.1", "name": "x", "parents": [], "children": ["y"]}, {"id": "y", "name": "y", "parents": []}]
    tasks[1]["children"] = []
    instance = {"name": "n", "schemaVersion": "1.5", "workflow": {"specification": {"tasks": tasks}}}
    source, target = tmp_path / "instance.json", tmp_path / "flow.json"
    source.write_text(json.dumps(instance))
    arguments = ("convert", "--from", "wfformat", str(source), "--time-scale", "0")
    result = await weftline(*arguments, "--out", str(target))
    assert (result.code, result.out) == (0, f"Wrote {target}: 2 nodes, 1 edge.\n")
    workflow = json.loads(target.read_text())
    assert workflow["edges"] == [{"id": "e1", "source": "x_1", "target": "y"}]
    assert (await weftline("validate", str(target), executor=executor.address)).code == 0
    assert (await weftline(*arguments, "--json")).rows == [workflow]


async def test_a_bad_instance_is_code_3_and_says_where(tmp_path: Path) -> None:
    source = tmp_path / "instance.json"
    source.write_text('{"schemaVersion": "9"}')
    result = await weftline("convert", "--from", "wfformat", str(source))
    assert result.code == 3
    assert "schemaVersion: version '9' is not known; known: 1.5." in result.err


@pytest.mark.parametrize("word", ["0  success", "7  the run was stopped", "130  interrupted"])
async def test_the_help_lists_the_exit_codes(word: str) -> None:
    result = await weftline("--help")
    assert word in result.out
