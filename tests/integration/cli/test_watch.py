"""`weftline watch` shows one workflow or all, from wherever one likes."""

import signal

import pytest

from tests.integration.cli.fake_executor import FakeExecutor
from tests.integration.cli.process import finish, read_until, start, weftline
from tests.unit.cli import events as make
from weftline.v1 import events_pb2 as ev
from weftline.v1 import workflow_service_pb2 as ws

PAST = [make.started(1, "a"), make.node(2, "a", ev.NODE_STATUS_RUNNING), make.node_progress("a", 0.5)]


async def test_it_begins_with_the_whole_state_and_goes_on_until_interrupted(executor: FakeExecutor) -> None:
    executor.state = make.snapshot(4, statuses={"a": ev.NODE_STATUS_SUCCESS, "b": ev.NODE_STATUS_RUNNING})
    executor.log = [make.node(5, "b", ev.NODE_STATUS_SUCCESS), make.completed(6)]
    process = await start("watch", "demo", executor=executor.address)
    seen = await read_until(process, "success    run")
    assert "demo is running: 1 of 2 nodes succeeded, 1 running" in seen
    process.send_signal(signal.SIGINT)
    result = await finish(process)
    assert (result.code, result.err) == (130, "Stopped watching; runs go on.\n")


async def test_until_end_it_ends_with_the_run_and_its_exit_code(executor: FakeExecutor) -> None:
    executor.state = make.snapshot(4, statuses={"a": ev.NODE_STATUS_RUNNING})
    executor.log = [make.failed(5, "a")]
    result = await weftline("watch", "demo", "--until-end", executor=executor.address)
    assert result.code == 1
    assert "failed at node A (a): no route to host" in result.out


async def test_until_end_a_run_that_ended_before_ends_it_at_once(executor: FakeExecutor) -> None:
    executor.state = make.snapshot(4, ev.RUN_STATE_STOPPED, statuses={"a": ev.NODE_STATUS_SKIPPED})
    result = await weftline("watch", "demo", "--until-end", "--json", executor=executor.address)
    assert result.code == 7
    assert [row["type"] for row in result.rows] == ["workflow.snapshot"]


@pytest.mark.parametrize(("begin", "seqs"), [("start", [1, 2, 3]), ("1", [2, 3]), ("3", [])])
async def test_the_past_of_an_ended_run_is_replayed_from_a_seq(
    executor: FakeExecutor, begin: str, seqs: list[int]
) -> None:
    executor.state = make.snapshot(3, ev.RUN_STATE_ERROR, statuses={"a": ev.NODE_STATUS_ERROR})
    executor.log = [*PAST, make.failed(3, "a")]
    result = await weftline("watch", "demo", "--from", begin, "--until-end", "--json", executor=executor.address)
    assert result.code == 1
    assert [row["seq"] for row in result.rows if "seq" in row] == seqs


async def test_an_earlier_run_in_the_past_does_not_end_the_watch_of_an_active_one(executor: FakeExecutor) -> None:
    executor.state = make.snapshot(4, run=make.NEWER_RUN, statuses={"a": ev.NODE_STATUS_RUNNING})
    newest_end = make.event(5, run=make.NEWER_RUN, complete=ev.RunComplete(status=ev.RUN_STATE_STOPPED))
    executor.log = [*PAST, make.completed(3), make.started(4, "a", run=make.NEWER_RUN), newest_end]
    result = await weftline("watch", "demo", "--from", "start", "--until-end", "--json", executor=executor.address)
    assert result.code == 7
    assert [row["seq"] for row in result.rows if "seq" in row] == [1, 2, 3, 4, 5]


async def test_the_end_of_an_earlier_generation_does_not_end_the_watch_of_a_run_that_is_tried_again(
    executor: FakeExecutor,
) -> None:
    executor.state = make.snapshot(4, statuses={"a": ev.NODE_STATUS_RUNNING})
    again = make.event(4, workflow_resume=ev.RunStateChange(state=ev.RUN_STATE_RUNNING, mode="retry"))
    executor.log = [*PAST, make.failed(3, "a"), again, make.completed(5)]
    result = await weftline("watch", "demo", "--from", "start", "--until-end", "--json", executor=executor.address)
    assert result.code == 0
    assert [row["seq"] for row in result.rows if "seq" in row] == [1, 2, 3, 4, 5]


async def test_telemetry_can_be_left_out(executor: FakeExecutor) -> None:
    executor.state = make.snapshot(4, ev.RUN_STATE_SUCCESS)
    await weftline("watch", "demo", "--until-end", executor=executor.address)
    await weftline("watch", "demo", "--until-end", "--no-telemetry", executor=executor.address)
    assert [watch.telemetry for watch in executor.watches] == [True, False]


@pytest.mark.parametrize("begin", ["snapshot", "start"])
async def test_a_workflow_without_a_run_is_not_found(executor: FakeExecutor, begin: str) -> None:
    result = await weftline("watch", "nowhere", "--from", begin, executor=executor.address)
    assert result.code == 4
    assert "nowhere" in result.err


async def test_a_workflow_without_a_run_can_be_waited_for(executor: FakeExecutor) -> None:
    process = await start("watch", "demo", "--from", "now", "--until-end", executor=executor.address)
    executor.log = []
    await executor.watched()
    executor.publish(make.started(1, "a"), make.completed(2))
    result = await finish(process)
    assert result.code == 0
    assert "success  demo in 2.0 s" in result.out


async def test_all_workflows_are_shown_each_line_with_its_workflow(executor: FakeExecutor) -> None:
    process = await start("watch", "--all", executor=executor.address)
    await executor.watched()
    executor.publish(make.started(1, "a", workflow="one"), make.started(1, "a", workflow="two"))
    seen = await read_until(process, "two")
    assert [line.split()[1] for line in seen.splitlines()] == ["one", "two"]
    assert executor.watches[0].workflow_id == ""
    process.send_signal(signal.SIGTERM)
    assert (await finish(process)).code == 143


@pytest.mark.parametrize(
    "arguments", [[], ["demo", "--all"], ["--all", "--until-end"], ["--all", "--from", "3"], ["demo", "--from", "then"]]
)
async def test_what_makes_no_sense_is_bad_usage(executor: FakeExecutor, arguments: list[str]) -> None:
    result = await weftline("watch", *arguments, executor=executor.address)
    assert result.code == 2
    assert executor.requests == []


async def test_a_hole_in_the_stream_is_asked_for_again(executor: FakeExecutor) -> None:
    executor.state = make.snapshot(1, statuses={"a": ev.NODE_STATUS_RUNNING})
    hole, late = make.log(3, "third"), make.log(2, "second")
    executor.log = [hole]
    process = await start("watch", "demo", "--until-end", "--json", executor=executor.address)
    await executor.watched()
    executor.log = [late, hole, make.completed(4)]
    result = await finish(process)
    assert [row["seq"] for row in result.rows if "seq" in row] == [2, 3, 4]
    assert executor.watches[-1].cursor == ws.Cursor(epoch=make.EPOCH, seq=1)
