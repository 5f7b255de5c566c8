"""`complete` and `rerun`: what they send, what they refuse to send, and what they say."""

import json
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.integration.cli.fake_executor import FakeExecutor, refused
from tests.integration.cli.process import finish, on_terminal, read_until, start, weftline
from tests.unit.cli import events as make
from weftline.v1 import events_pb2 as ev
from weftline.v1 import workflow_service_pb2 as ws


@pytest.mark.parametrize(
    ("arguments", "data"),
    [
        ([], {"approved": True}),
        (["--reject"], {"approved": False}),
        (["--reject", 'too "dear"'], {"approved": False, "comment": 'too "dear"'}),
        (["--data", " [1, 2] "], [1, 2]),
        (["--data", "null"], None),
    ],
    ids=["approve", "reject", "reject with a reason", "data", "null"],
)
async def test_a_node_is_completed_with_what_was_said(executor: FakeExecutor, arguments: list[str], data: Any) -> None:
    result = await weftline("complete", "demo", "ask", *arguments, executor=executor.address)
    assert result.code == 0
    (request,) = executor.requests
    assert isinstance(request, ws.CompleteNodeRequest)
    assert (request.workflow_id, request.node_id, request.event) == ("demo", "ask", "")
    assert json.loads(request.data_json) == data
    assert request.command_id
    assert "@" in request.by
    word = "rejected" if "--reject" in arguments else "completed"
    assert result.out == f"ask was {word} in demo, which is running (run {make.RUN}).\n"


async def test_an_event_is_sent_with_its_data_or_none(executor: FakeExecutor) -> None:
    arguments = ("complete", "demo", "--event", "paid")
    bare = await weftline(*arguments, executor=executor.address)
    full = await weftline(*arguments, "--data", '{"a":1}', "--json", executor=executor.address)
    assert (bare.code, full.code) == (0, 0)
    assert [(each.node_id, each.event, each.data_json) for each in executor.requests] == [
        ("", "paid", ""),
        ("", "paid", '{"a":1}'),
    ]
    assert bare.out == f"Event paid was sent to demo, which is running (run {make.RUN}).\n"
    assert full.rows[0]["runId"] == make.RUN


async def test_data_comes_from_a_file_or_from_standard_input(executor: FakeExecutor, tmp_path: Path) -> None:
    file = tmp_path / "answer.json"
    file.write_bytes(b'\xef\xbb\xbf{"from": "file"}\n')
    await weftline("complete", "demo", "ask", "--data", f"@{file}", executor=executor.address)
    await weftline("complete", "demo", "ask", "--data", "@-", executor=executor.address, stdin=b'"typed"')
    assert [json.loads(each.data_json) for each in executor.requests] == [{"from": "file"}, "typed"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["ask", "--data", "{oops"], "--data is not JSON: Expecting property name enclosed in double quotes at line 1"),
        (["ask", "--data", "NaN"], "--data is not JSON: NaN is no JSON value."),
        (["ask", "--data", "@missing.json"], "missing.json can't be read"),
        (["ask", "--event", "paid"], "complete takes a node's id, or --event NAME."),
        ([], "complete takes a node's id, or --event NAME."),
        (["--event", "paid", "--reject"], "--reject goes with a node's id"),
        (["ask", "--reject", "no", "--data", "1"], "--reject goes with a node's id"),
    ],
)
async def test_what_makes_no_answer_is_bad_usage_and_not_sent(
    executor: FakeExecutor, arguments: list[str], words: str
) -> None:
    result = await weftline("complete", "demo", *arguments, executor=executor.address)
    assert (result.code, executor.requests) == (2, [])
    assert words in result.err


async def test_a_node_that_does_not_wait_is_code_5_and_one_that_is_not_there_code_4(executor: FakeExecutor) -> None:
    executor.refusal = refused(grpc.StatusCode.FAILED_PRECONDITION, "node ask does not wait", "not_waiting")
    result = await weftline("complete", "demo", "ask", "--json", executor=executor.address)
    assert result.code == 5
    assert json.loads(result.err)["error"]["reason"] == "not_waiting"
    executor.refusal = refused(grpc.StatusCode.NOT_FOUND, "there is no node ask", "unknown_node")
    assert (await weftline("complete", "demo", "ask", executor=executor.address)).code == 4


def began_again() -> list[ev.Event]:
    start_ = ev.WorkflowStart(definition_json=make.definition("a"), by="ada", total_nodes=1, rerun_of=make.NEWER_RUN)
    return [
        make.event(9, workflow_start=start_),
        make.node(10, "a", ev.NODE_STATUS_SUCCESS, reason="reused"),
        make.failed(11, "a"),
    ]


async def test_a_rerun_is_watched_to_its_end_and_ends_with_its_code(executor: FakeExecutor) -> None:
    executor.on_start = began_again()
    result = await weftline("rerun", "demo", "--from", "a", executor=executor.address)
    assert result.code == 1
    request = executor.requests[0]
    assert isinstance(request, ws.RerunWorkflowRequest)
    assert (request.workflow_id, request.from_node_id) == ("demo", "a")
    assert request.command_id
    assert f"takes over results of run {make.NEWER_RUN}" in result.out
    assert "reused" in result.out
    assert "failed at node A (a)" in result.out


async def test_a_rerun_may_be_left_alone(executor: FakeExecutor) -> None:
    result = await weftline("rerun", "demo", "--from", "a", "--detach", executor=executor.address)
    assert result.out == f"Began demo, run {make.RUN}. Watch it: weftline watch demo\n"
    as_json = await weftline("rerun", "demo", "--from", "a", "--detach", "--json", executor=executor.address)
    assert as_json.rows[0]["state"] == "running"
    assert executor.watches == []


async def test_a_rerun_needs_a_node_and_an_ended_run(executor: FakeExecutor) -> None:
    assert (await weftline("rerun", "demo", executor=executor.address)).code == 2
    executor.refusal = refused(grpc.StatusCode.FAILED_PRECONDITION, "its run is running", "illegal_state")
    assert (await weftline("rerun", "demo", "--from", "a", executor=executor.address)).code == 5


ASKED: dict[str, Any] = {"reason": "approval", "data_json": '{"message": "Send it?"}', "due_ms": make.BEGAN_MS}


async def test_who_watches_is_told_what_to_answer_and_how(executor: FakeExecutor) -> None:
    executor.on_start = [make.started(1, "ask"), make.node(2, "ask", ev.NODE_STATUS_PENDING, **ASKED)]
    process = await start("run", "-", "--id", "demo", executor=executor.address)
    assert process.stdin is not None
    process.stdin.write(make.definition("ask").encode())
    process.stdin.close()
    told = await read_until(process, "weftline complete demo ask approves it; with --reject it is rejected.")
    assert "pending    ASK (ask)  waits for approval: Send it?, until 20" in told
    done = make.node(3, "ask", ev.NODE_STATUS_SUCCESS, reason="completed", by="ada")
    executor.publish(done, make.completed(4))
    assert "ASK (ask)  completed by ada" in (await finish(process)).out


async def test_on_a_terminal_an_open_wait_stays_on_the_drawing(executor: FakeExecutor) -> None:
    executor.state = make.snapshot(2, statuses={"ask": ev.NODE_STATUS_PENDING})
    executor.state.nodes[0].MergeFrom(ev.NodeTransition(**ASKED))
    async with on_terminal("watch", "demo", executor=executor.address) as (_, terminal):
        drawn = await terminal.read(until="? ASK (ask) waits for approval: Send it?")
        assert "weftline complete demo ask approves it" in drawn


async def test_get_shows_what_waits_who_answered_and_where_the_run_comes_from(executor: FakeExecutor) -> None:
    executor.state = make.snapshot(5, statuses={"ask": ev.NODE_STATUS_PENDING, "told": ev.NODE_STATUS_SUCCESS})
    executor.state.nodes[0].MergeFrom(ev.NodeTransition(**ASKED))
    executor.state.nodes[1].MergeFrom(ev.NodeTransition(reason="completed", by="ada@host"))
    executor.state.rerun_of = make.NEWER_RUN
    executor.state.parent.CopyFrom(ev.ParentNode(workflow_id="outer", run_id="o", node_id="each", depth=1))
    result = await weftline("get", "demo", executor=executor.address)
    assert "ASK (ask) waits for approval: Send it?, until 20" in result.out
    assert "weftline complete demo ask approves it" in result.out
    assert "completed by ada@host" in result.out
    assert "1 waiting for an answer" in result.out
    assert f"takes over results of run {make.NEWER_RUN}" in result.out
    assert "body of node each of outer (run o)" in result.out


async def test_ls_lists_bodies_when_asked_with_whose_they_are(executor: FakeExecutor) -> None:
    executor.summaries = [ws.RunSummary(workflow_id="each", run_id=make.RUN, parent_workflow_id="demo")]
    plain = await weftline("ls", executor=executor.address)
    bodies = await weftline("ls", "--bodies", executor=executor.address)
    assert [request.include_bodies for request in executor.requests] == [False, True]
    assert "body of" not in plain.out
    assert "body of" in bodies.out.splitlines()[0]
    assert bodies.out.splitlines()[1].split()[-1] == "demo"
    rows = (await weftline("ls", "--bodies", "--json", executor=executor.address)).rows
    assert rows[0]["parentWorkflowId"] == "demo"
