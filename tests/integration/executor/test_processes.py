"""Nodes in worker processes: they can do what other nodes can, and whatever becomes of them hurts nothing else."""

import asyncio
import json
import logging
from collections.abc import Iterable
from pathlib import Path

import psutil
import pytest

from tests.support.executor_checks import check_run, ends, story
from tests.support.executor_client import Client, Event, is_node, is_terminal
from tests.support.executor_engine import PROCESS_NODES, SECRETS, TEST_NODES, RunningExecutor, running_executor
from tests.support.executor_gates import Notes
from tests.support.executor_graphs import chain, definition, node
from tests.support.executor_process import executor_process
from weftline.v1 import events_pb2 as events_pb
from weftline.v1 import workflow_service_pb2 as pb

ENDLESS = ["process.spin", "process.hold"]


def output_of(events: list[Event], node_id: str = "a") -> object:
    """What a node gave."""
    [text] = [
        event.node.data_json
        for event in events
        if event.node.node_id == node_id and event.node.status == events_pb.NODE_STATUS_SUCCESS
    ]
    return json.loads(text)


def gone(pids: Iterable[str | int]) -> bool:
    """Waits for processes to be gone and says whether all are."""
    left = [psutil.Process(int(pid)) for pid in pids if psutil.pid_exists(int(pid))]
    return not psutil.wait_procs(left, timeout=10)[1]


async def assert_it_goes_on(client: Client) -> None:
    """Another workflow with a node in a process runs to its end."""
    events = await client.run(chain(node("a", "process.give", value=1), node("b", "test.step")), "other")
    assert ends(events) == {"a": "success", "b": "success"}
    check_run(events)


async def test_a_node_is_given_what_it_asks_for_and_runs_in_another_process(client: Client) -> None:
    given = node("in", "input", values={"n": 10**30, "text": "{{ params.p }}"})
    give = node("a", "process.give", value={"n": "{{ nodes.in.output.n }}", "literal": "{{ '{{ params.p }}' }}"})
    events = await client.run(chain(given, give, params={"p": "{{ 7 * 7 }}"}))
    check_run(events)
    found = output_of(events)
    assert isinstance(found, dict)
    assert found.pop("pid") != psutil.Process().pid
    assert found == {
        # What an expression gives is never read as one again, here or there.
        "value": {"n": 10**30, "literal": "{{ params.p }}"},
        "inputs": {"input": {"n": 10**30, "text": "{{ 7 * 7 }}", "p": "{{ 7 * 7 }}"}},
        "params": {"p": "{{ 7 * 7 }}"},
        "attempt": 1,
    }


async def test_no_process_is_started_for_other_nodes(executor: RunningExecutor) -> None:
    await executor.client.run(chain(node("a"), node("b", "test.step"), node("c", "test.big", size=1)))
    assert executor.metrics.registry.get_sample_value("weftline_executor_process_workers") == 0


async def test_a_worker_is_used_again_and_finds_everything_as_it_was(client: Client, tmp_path: Path) -> None:
    look = (
        node("before", "process.look"),
        node("untidy", "process.untidy", folder=str(tmp_path)),
        node("a", "process.look"),
    )
    events = await client.run(chain(*look))
    before, after = output_of(events, "before"), output_of(events)
    assert before == after
    assert isinstance(after, dict)
    assert not [name for name in after["environment"] if name.startswith("WEFTLINE_")]


async def test_a_worker_in_which_an_attempt_leaves_a_thread_is_not_used_again(client: Client) -> None:
    events = await client.run(chain(node("left", "process.thread"), node("a", "process.nap")))
    assert output_of(events, "left") != output_of(events)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"handle": "left"}, {"a": "success", "l": "success", "r": "skipped branch_not_taken"}),
        ({"handle": "right", "empty": True}, {"a": "success", "r": "success", "l": "skipped branch_not_taken"}),
        (
            {"handle": "up"},
            {"a": "error bad_handle", "l": "skipped upstream_failed", "r": "skipped upstream_failed"},
        ),
    ],
)
async def test_a_branch_node_goes_its_way(client: Client, data: dict[str, object], expected: dict[str, str]) -> None:
    nodes = [node("a", "process.branch", **data), node("l"), node("r")]
    assert ends(await client.run(definition(nodes, "a:left>l", "a:right>r"))) == expected


async def test_a_node_can_wait_for_people(client: Client) -> None:
    events = await client.run(chain(node("a", "process.ask", answer={"approved": True}), node("b", "output")))
    check_run(events)
    assert json.loads(events[-1].complete.outputs_json) == {"b": {"approved": True}}


@pytest.mark.parametrize(
    ("kind", "code", "error"),
    [
        ("named", "paper", "no paper"),
        ("raised", "node_raised", "OSError: out of paper"),
        ("exit", "node_raised", "SystemExit: 3"),
        ("not_json", "bad_output", "the node returned what is not JSON"),
        ("deep", "bad_output", "nests deeper than 64 levels"),
        ("half", "node_raised", "ValueError: half ?"),
        ("cancel", "node_raised", "CancelledError"),
    ],
)
async def test_a_node_that_fails_says_so_by_name(client: Client, kind: str, code: str, error: str) -> None:
    events = await client.run(chain(node("a", "process.fail", kind=kind), node("b")))
    check_run(events)
    assert ends(events) == {"a": f"error {code}", "b": "skipped upstream_failed"}
    assert error in events[-1].error.error


async def test_an_output_over_the_limit_fails_its_node() -> None:
    async with running_executor(max_output_bytes=1 << 20) as executor:
        events = await executor.client.run(chain(node("a", "process.fail", kind="large")))
    assert ends(events) == {"a": "error output_too_large"}
    assert "over the limit of 1048576" in events[-1].error.error


async def test_a_failure_brings_its_details_and_what_it_asks_of_a_retry(client: Client) -> None:
    retried = node("a", "process.fail", kind="named", retry_after=60, policy={"retry": {"attempts": 3}})
    events = await client.run(chain(retried))
    [failed] = [event.node for event in events if event.node.status == events_pb.NODE_STATUS_ERROR]
    assert json.loads(failed.data_json) == {"tray": 2}
    # It says that it is not to be tried again, so nobody waits for a minute.
    assert failed.attempt == 1


async def test_a_setting_that_is_wrong_only_when_it_is_rendered_is_the_nodes_failure(client: Client) -> None:
    given = node("in", "input", values={"wait": "soon"})
    events = await client.run(chain(given, node("a", "process.nap", seconds="{{ nodes.in.output.wait }}")))
    assert ends(events)["a"] == "error bad_config"
    assert "seconds" in events[-1].error.error


async def test_progress_text_and_log_lines_arrive(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        events = await client.run(chain(node("a", "process.say"), node("b", "delay", seconds=0.3)), telemetry=True)
        await assert_it_goes_on(client)
    told = [event.node for event in events if not event.seq and event.node.node_id == "a"]
    assert [each.progress for each in told][:1] == [0.25]
    logs = [event.log for event in events if event.HasField("log")]
    assert [(each.message, each.node_id) for each in logs] == [("a quarter", "a"), ("half ?", "a")]
    assert json.loads(logs[1].context_json)["n"] in (1, "1")
    assert "printed by a node" in caplog.text


@pytest.mark.parametrize("raises", [False, True])
async def test_a_secret_can_be_read_and_is_shown_nowhere(
    client: Client, caplog: pytest.LogCaptureFixture, raises: bool
) -> None:
    with caplog.at_level(logging.DEBUG):
        events = await client.run(chain(node("a", "process.secret", name="TOKEN", raises=raises)), telemetry=True)
        await assert_it_goes_on(client)
    assert ends(events) == {"a": "error node_raised" if raises else "success"}
    shown = "".join(map(str, events)) + caplog.text
    assert "the secret is ***" in caplog.text
    assert SECRETS["TOKEN"] not in shown
    [log] = [event.log for event in events if event.HasField("log")]
    assert json.loads(log.context_json) == {"value": "***", "nested": [{"value": "***"}], "names": ["TOKEN"]}


async def test_a_secret_that_is_missing_fails_the_node_by_name(client: Client) -> None:
    events = await client.run(chain(node("a", "process.secret", name="NO_SUCH")))
    assert ends(events) == {"a": "error secret_missing"}


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ("exit", "the worker process ended with status 7"),
        ("segfault", "the worker process was killed by SIGSEGV"),
        ("kill", "the worker process was killed by SIGKILL"),
    ],
)
async def test_a_crash_fails_its_node_only(executor: RunningExecutor, how: str, error: str) -> None:
    nodes = [
        node("a", "process.crash", how=how),
        node("beside", "process.nap", seconds=0.5),
        node("next", "process.nap"),
    ]
    events = await executor.client.run(definition(nodes, "beside>next", failurePolicy="continue"))
    check_run(events)
    assert ends(events) == {"a": "error worker_lost", "beside": "success", "next": "success"}
    assert error in events[-1].error.error
    assert executor.metrics.registry.get_sample_value("weftline_executor_process_workers_lost_total") == 1


async def test_a_node_whose_worker_was_lost_is_tried_again_where_its_policy_says_so(client: Client) -> None:
    flaky = node("a", "process.flaky", deaths=2, policy={"retry": {"attempts": 3, "delay": 0.01}})
    events = await client.run(chain(flaky))
    check_run(events)
    assert output_of(events) == 3
    assert story(events).count("a error") == 2


async def test_a_node_that_takes_too_much_memory_fails_by_name_and_the_next_has_enough() -> None:
    async with running_executor(process_memory_mb=64) as executor:
        eats = [
            node("a", "process.eat"),
            node("b", "process.eat", megabytes=32),
            node("c", "process.eat_more", megabytes=96),
        ]
        events = await executor.client.run(definition(eats, failurePolicy="continue"))
    assert ends(events) == {"a": "error out_of_memory", "b": "success", "c": "success"}
    assert "may take 64 MB" in events[-1].error.error


async def test_a_node_that_computes_too_long_fails_by_name(client: Client) -> None:
    events = await client.run(chain(node("a", "process.compute")))
    assert ends(events) == {"a": "error cpu_limit"}
    assert "longer than 1 s" in events[-1].error.error
    await assert_it_goes_on(client)


@pytest.mark.parametrize("kind", ENDLESS)
async def test_a_node_that_never_ends_is_killed_at_its_time_limit(client: Client, notes: Notes, kind: str) -> None:
    events = await client.run(chain(node("a", kind, notes=str(notes), policy={"timeout": {"attempt": 2.5}})))
    assert ends(events) == {"a": "error attempt_timeout"}
    assert gone(await notes.wait(1))
    await assert_it_goes_on(client)


@pytest.mark.parametrize("kind", ENDLESS)
async def test_a_node_that_never_ends_is_killed_when_its_run_is_stopped(
    client: Client, notes: Notes, kind: str
) -> None:
    async with client.watch(start_from=pb.WATCH_FROM_NOW) as watch:
        await client.start(chain(node("a", kind, notes=str(notes))))
        await notes.wait(1)
        await client.stop()
        await watch.until(is_terminal)
    assert ends(watch.durable) == {"a": "error cancelled"}
    await assert_it_goes_on(client)


async def test_an_async_node_is_cancelled_and_its_worker_used_again(client: Client, notes: Notes) -> None:
    async with client.watch(start_from=pb.WATCH_FROM_NOW) as watch:
        await client.start(chain(node("a", "process.nap", seconds=600, notes=str(notes))))
        await notes.wait(1)
        await client.stop()
        await watch.until(is_terminal)
    worker, said = await notes.wait(2)
    assert said == "cancelled"
    assert output_of(await client.run(chain(node("a", "process.nap")), "other")) == int(worker)


async def test_a_plain_node_can_see_that_it_should_end(client: Client, notes: Notes) -> None:
    async with client.watch(start_from=pb.WATCH_FROM_NOW) as watch:
        await client.start(chain(node("a", "process.spin", notes=str(notes), polite=True)))
        await notes.wait(1)
        await client.stop()
        await watch.until(is_terminal)
    assert (await notes.wait(2))[1] == "stopped"


async def test_an_immediate_pause_lets_the_node_begin_again(client: Client, notes: Notes) -> None:
    async with client.watch(start_from=pb.WATCH_FROM_NOW) as watch:
        await client.start(chain(node("a", "process.nap", seconds=1.5, notes=str(notes))))
        await notes.wait(1)
        await client.pause(mode=pb.PAUSE_MODE_IMMEDIATE)
        await client.resume()
        await watch.until(is_terminal)
    check_run(watch.durable)
    assert story(watch.durable).count("a running") == 2
    assert ends(watch.durable) == {"a": "success"}


async def test_attempts_wait_in_line_for_a_worker_and_can_be_cancelled_there(notes: Notes) -> None:
    async with running_executor(process_workers=1) as executor:
        client, sample = executor.client, executor.metrics.registry.get_sample_value
        async with client.watch(start_from=pb.WATCH_FROM_NOW) as watch, client.watch("q") as queued:
            await client.start(chain(node("a", "process.nap", seconds=600, notes=str(notes))))
            await notes.wait(1)
            await client.start(chain(node("b", "process.nap")), "q")
            await queued.until(is_node("b", "running"))
            assert sample("weftline_executor_process_workers") == 1
            assert sample("weftline_executor_process_waiting") == 1
            await client.stop("q")
            await queued.until(is_terminal)
            assert ends(queued.durable) == {"b": "error cancelled"}
            await client.stop()
            await watch.until(is_terminal)
        names = [f"n{number}" for number in range(5)]
        events = await client.run(definition([node(name, "process.nap") for name in names]), "many")
        assert len({output_of(events, name) for name in names}) == 1


async def test_what_a_node_has_started_ends_with_it(client: Client, notes: Notes) -> None:
    async with client.watch(start_from=pb.WATCH_FROM_NOW) as watch:
        await client.start(chain(node("a", "process.children", notes=str(notes))))
        started = await notes.wait(2)
        await client.stop(mode=pb.STOP_MODE_TERMINATE)
        await watch.until(is_terminal)
        assert gone(started)


async def test_what_a_node_leaves_behind_ends_after_it(client: Client, notes: Notes) -> None:
    events = await client.run(chain(node("a", "process.children", notes=str(notes), wait=False)))
    assert ends(events) == {"a": "success"}
    assert gone(await notes.wait(2))


async def test_a_worker_that_dies_while_it_is_idle_is_noticed_and_replaced(executor: RunningExecutor) -> None:
    first = output_of(await executor.client.run(chain(node("a", "process.nap"))))
    assert isinstance(first, int)
    psutil.Process(first).kill()
    second = output_of(await executor.client.run(chain(node("a", "process.nap")), "other"))
    assert second != first
    assert gone([first])


async def test_an_executor_that_is_told_to_end_ends_its_workers_and_the_node_runs_again(
    tmp_path: Path, notes: Notes
) -> None:
    with executor_process(tmp_path, nodes=f"{TEST_NODES},{PROCESS_NODES}") as process:
        client = Client(process.address)
        await client.start(chain(node("a", "process.nap", seconds=1.0, notes=str(notes))))
        await notes.wait(1)
        started = [child.pid for child in psutil.Process(process.pid).children(recursive=True)]
        assert process.terminate() == 0
        assert gone(started)
        await client.channel.close()
        process.restart()
        client = Client(process.address)
        async with client.watch() as watch:
            if not (await client.snapshot()).HasField("ended_ms"):
                await watch.until(is_terminal)
        assert ends(await client.history()) == {"a": "success"}
        await client.channel.close()


async def test_a_worker_that_nobody_needs_ends_and_another_is_started(
    executor: RunningExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("weftline_executor.engine.workers.IDLE_SECONDS", 0.05)
    first = output_of(await executor.client.run(chain(node("a", "process.nap"))))
    async with asyncio.timeout(10):
        while executor.metrics.registry.get_sample_value("weftline_executor_process_workers"):
            await asyncio.sleep(0.01)
    assert output_of(await executor.client.run(chain(node("a", "process.nap")), "other")) != first


async def test_a_killed_executor_leaves_no_process_behind_and_goes_on(tmp_path: Path, notes: Notes) -> None:
    modules = f"{TEST_NODES},{PROCESS_NODES}"
    with executor_process(tmp_path, nodes=modules, process_workers="4") as process:
        client = Client(process.address)
        kinds = ["process.hold", "process.children", "process.nap"]
        nodes = [node(kind.partition(".")[2], kind, notes=str(notes)) for kind in kinds]
        await client.start(definition(nodes))
        await notes.wait(4)
        started = psutil.Process(process.pid).children(recursive=True)
        assert len(started) >= 8
        process.kill9()
        assert gone([child.pid for child in started])
        await client.channel.close()
