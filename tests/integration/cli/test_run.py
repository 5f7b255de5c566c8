"""`weftline run` starts a workflow, shows the run to its end, and ends with what became of it."""

import json
import re
import signal
import socket
from pathlib import Path

import grpc
import pytest

from tests.integration.cli.fake_executor import FakeExecutor, refused
from tests.integration.cli.process import finish, on_terminal, read_until, start, weftline
from tests.unit.cli import events as make
from weftline.v1 import events_pb2 as ev
from weftline.v1 import workflow_service_pb2 as ws

WHOLE_RUN = [
    make.started(1, "a", "b"),
    make.node(2, "a", ev.NODE_STATUS_RUNNING),
    make.node_progress("a", 0.5),
    make.run_progress(0.25, total=2, remaining_ms=3_630_000),
    make.node(3, "a", ev.NODE_STATUS_SUCCESS, after_ms=700, duration_ms=700),
    make.log(4, "hello [bold]there[/bold]", "a"),
    make.node(5, "b", ev.NODE_STATUS_SKIPPED, reason="branch_not_taken", attempt=0),
    make.completed(6, outputs='{"out": {"x": 1}}'),
]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


async def test_a_run_is_shown_from_its_first_event_to_its_outputs(executor: FakeExecutor, flow: str) -> None:
    executor.on_start = WHOLE_RUN
    result = await weftline("run", flow, executor=executor.address)
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    assert "started" in lines[0]
    assert "2 nodes by ada@host" in lines[0]
    assert any("running" in line and "A (a)" in line for line in lines)
    assert any("25% done" in line and "about 1 h 00 m to go" in line for line in lines)
    assert any("+700 ms" in line and "success" in line and "700 ms" in line for line in lines)
    assert any("hello [bold]there[/bold]" in line for line in lines)
    assert any("skipped" in line and "branch not taken" in line for line in lines)
    assert "success  demo in 2.0 s: 1 of 2 nodes succeeded, 1 skipped" in result.out
    assert result.out.endswith('outputs: {\n  "out": {\n    "x": 1\n  }\n}\n')


async def test_json_is_one_message_an_event_and_nothing_else(executor: FakeExecutor, flow: str) -> None:
    executor.on_start = WHOLE_RUN
    result = await weftline("run", flow, "--json", executor=executor.address)
    assert [row["type"] for row in result.rows] == [
        "workflow.start",
        "node.running",
        "node.running",
        "execution.progress",
        "node.success",
        "execution.log",
        "node.skipped",
        "execution.complete",
    ]
    assert [row["seq"] for row in result.rows if "seq" in row] == [1, 2, 3, 4, 5, 6]
    assert result.rows[-1]["payload"]["outputs"] == {"out": {"x": 1}}


async def test_the_start_carries_the_file_the_parameters_and_an_idempotency_key(
    executor: FakeExecutor, flow: str
) -> None:
    executor.on_start = WHOLE_RUN
    await weftline("run", flow, "--id", "other", "--param", "n=3", "--param", "who=Ada", executor=executor.address)
    request = executor.requests[0]
    assert request.workflow_id == "other"
    assert request.command_id
    assert "@" in request.by
    assert json.loads(request.definition_json)["config"]["params"] == {"n": 3, "who": "Ada"}
    assert executor.watches[0].cursor == ws.Cursor(epoch=make.EPOCH, seq=0)


async def test_standard_input_is_a_file_too_and_its_id_is_minted(executor: FakeExecutor) -> None:
    executor.on_start = WHOLE_RUN
    result = await weftline("run", "-", executor=executor.address, stdin=make.definition("a").encode())
    assert result.code == 0
    assert executor.requests[0].workflow_id == ""


@pytest.mark.parametrize(
    ("end", "code", "words"),
    [
        (make.failed(4, "b"), 1, "failed at node B (b): no route to host [node_failed]"),
        (make.completed(4, status=ev.RUN_STATE_STOPPED), 7, "stopped  demo in 2.0 s"),
    ],
)
async def test_the_exit_code_says_how_the_run_ended(
    executor: FakeExecutor, flow: str, end: ev.Event, code: int, words: str
) -> None:
    executor.on_start = [make.started(1, "a", "b"), make.log(2, "x"), make.log(3, "y"), end]
    result = await weftline("run", flow, executor=executor.address)
    assert result.code == code
    assert words in result.out


async def test_a_detached_run_is_left_alone(executor: FakeExecutor, flow: str) -> None:
    result = await weftline("run", flow, "--detach", executor=executor.address)
    assert result.code == 0
    assert f"Started demo, run {make.RUN}" in result.out
    assert executor.watches == []
    as_json = await weftline("run", flow, "--detach", "--json", executor=executor.address)
    place = {"seq": 1, "epoch": make.EPOCH}
    assert as_json.rows == [{"workflowId": "demo", "runId": make.RUN, "state": "running", **place, "attached": False}]


async def test_broken_streams_lose_nothing_and_repeat_nothing(executor: FakeExecutor, flow: str) -> None:
    executor.on_start = WHOLE_RUN
    executor.cuts.extend([1, 3, 0])
    result = await weftline("run", flow, "--json", executor=executor.address)
    assert result.code == 0
    assert [row["seq"] for row in result.rows if "seq" in row] == [1, 2, 3, 4, 5, 6]
    assert len(executor.watches) == 4
    assert "The connection to the executor broke" in result.err
    assert "Connected again." in result.err


async def test_an_executor_that_stays_away_is_given_up(executor: FakeExecutor, flow: str) -> None:
    executor.on_start = WHOLE_RUN
    executor.cuts.extend([1] + [0] * 1000)
    result = await weftline("run", flow, "--reconnect-for", "0.5", executor=executor.address)
    assert result.code == 6
    assert "gave up after 0.5 s: the stream was cut" in result.err


async def test_the_end_of_a_run_that_a_newer_one_replaced_meanwhile_is_looked_up(
    executor: FakeExecutor, flow: str
) -> None:
    executor.on_start = [make.started(1, "a"), make.log(2, "lost")]
    executor.cuts.append(1)
    executor.compacted_after = 1
    executor.state = make.snapshot(7, run=make.NEWER_RUN)
    executor.summaries = [ws.RunSummary(workflow_id="demo", run_id=make.RUN, state=ev.RUN_STATE_STOPPED)]
    result = await weftline("run", flow, executor=executor.address)
    assert result.code == 7
    assert f"Run {make.RUN} ended with stopped; a newer one took its place." in result.err


async def test_joining_an_active_run_begins_with_its_whole_state(executor: FakeExecutor, flow: str) -> None:
    executor.attach = True
    executor.state = make.snapshot(8, statuses={"a": ev.NODE_STATUS_SUCCESS, "b": ev.NODE_STATUS_RUNNING})
    executor.on_start = [make.node(9, "b", ev.NODE_STATUS_SUCCESS), make.completed(10)]
    result = await weftline("run", flow, executor=executor.address)
    assert result.code == 0
    assert "demo is running: 1 of 2 nodes succeeded, 1 running" in result.out
    assert "2 of 2 nodes succeeded" in result.out


async def test_every_fault_is_named_with_its_node(executor: FakeExecutor, flow: str) -> None:
    executor.faults = [
        ws.Fault(path="nodes[1].data.url", code="missing_field", message="url is required"),
        ws.Fault(path="edges[0]", code="cycle", message="a leads to itself", node_id="a"),
    ]
    result = await weftline("run", flow, executor=executor.address)
    assert (result.code, result.out) == (3, "")
    assert "is not a valid workflow: 2 faults." in result.err
    assert "  nodes[1].data.url  missing_field  url is required  (node b)\n" in result.err
    assert "  edges[0]  cycle  a leads to itself  (node a)\n" in result.err
    as_json = await weftline("run", flow, "--json", executor=executor.address)
    error = json.loads(as_json.err)["error"]
    assert [fault["nodeId"] for fault in error["faults"]] == ["b", "a"]


async def test_what_is_no_workflow_never_reaches_the_executor(executor: FakeExecutor, tmp_path: Path) -> None:
    file = tmp_path / "bad.json"
    file.write_text('{"nodes": [')
    result = await weftline("run", str(file), executor=executor.address)
    assert result.code == 3
    assert "line 1, column 12  bad_json" in result.err
    assert executor.requests == []


async def test_a_refusal_says_why_with_code_5(executor: FakeExecutor, flow: str) -> None:
    executor.refusal = refused(grpc.StatusCode.ALREADY_EXISTS, "workflow 'demo' has an active run", "run_active")
    result = await weftline("run", flow, executor=executor.address)
    assert result.code == 5
    assert "error: Workflow 'demo' has an active run." in result.err
    as_json = await weftline("run", flow, "--json", executor=executor.address)
    assert json.loads(as_json.err)["error"] == {
        "code": "refused",
        "message": "Workflow 'demo' has an active run.",
        "reason": "run_active",
    }


async def test_no_executor_is_code_6_and_names_the_address(flow: str) -> None:
    address = f"127.0.0.1:{free_port()}"
    result = await weftline("--executor", address, "run", flow)
    assert result.code == 6
    assert f"The executor at {address} is not available" in result.err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_a_signal_ends_the_watching_and_not_the_run(
    executor: FakeExecutor, flow: str, number: int, code: int
) -> None:
    executor.on_start = WHOLE_RUN[:3]
    process = await start("run", flow, executor=executor.address)
    await read_until(process, "running")
    process.send_signal(number)
    result = await finish(process)
    assert result.code == code
    assert result.err == "The run goes on. Stop it: weftline stop demo\n"
    assert not any(isinstance(request, ws.StopWorkflowRequest) for request in executor.requests)


async def test_on_a_terminal_the_run_is_drawn_and_the_cursor_is_given_back(executor: FakeExecutor, flow: str) -> None:
    executor.on_start = WHOLE_RUN[:4]
    async with on_terminal("run", flow, executor=executor.address) as (process, terminal):
        drawn = await terminal.read(until="ETA 1 h 00 m")
        assert "25%" in drawn
        assert "A (a)" in drawn
        assert "50%" in drawn
        executor.publish(*WHOLE_RUN[4:])
        rest = await terminal.read()
        assert await process.wait() == 0
    assert "success  demo in 2.0 s" in re.sub(r"\x1b\[[0-9;]*m", "", rest)
    assert rest.rindex("\x1b[?25h") > rest.rfind("\x1b[?25l")
