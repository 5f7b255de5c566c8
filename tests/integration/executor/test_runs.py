"""What a run does: branches, joins, skips with their reasons, failure policies, data, limits, logs and telemetry."""

import asyncio
import json
from typing import Any

import pytest

from tests.support.executor_checks import check_run, ends, most_at_once, story
from tests.support.executor_client import Client, Event, is_node, is_terminal
from tests.support.executor_engine import RunningExecutor, running_executor
from tests.support.executor_gates import Gate
from tests.support.executor_graphs import chain, definition, node
from weftline.v1 import events_pb2 as events_pb
from weftline.v1 import workflow_service_pb2 as pb


async def test_a_chain_runs_in_order_and_ends_with_its_counters(client: Client) -> None:
    events = await client.run(chain(node("a"), node("b", "test.step", value=[1]), node("c", "output")))
    check_run(events)
    assert story(events) == ["a running", "a success", "b running", "b success", "c running", "c success"]
    end = events[-1].complete
    assert (end.status, end.total_nodes, end.completed_nodes) == (events_pb.RUN_STATE_SUCCESS, 3, 3)
    assert (end.failed_nodes, end.skipped_nodes) == (0, 0)
    assert json.loads(end.outputs_json) == {"c": [1]}


async def test_a_node_starts_only_after_what_it_depends_on_has_succeeded(client: Client) -> None:
    layers, width = 4, 6
    nodes = [node(f"n{layer}x{at}", "test.step") for layer in range(layers) for at in range(width)]
    edges = [f"n{at}x{a}>n{at + 1}x{b}" for at in range(layers - 1) for a in range(width) for b in range(width)]
    events = await client.run(definition(nodes, *edges))
    check_run(events)
    done: set[str] = set()
    for event in events:
        if event.node.status == events_pb.NODE_STATUS_RUNNING:
            layer = int(event.node.node_id[1])
            assert {f"n{layer - 1}x{at}" for at in range(width)} <= done or layer == 0
        elif event.node.status == events_pb.NODE_STATUS_SUCCESS:
            done.add(event.node.node_id)


BRANCHES = [node("c", "condition", expression="{{ params.yes }}"), node("t"), node("f"), node("after"), node("join")]
BRANCH_EDGES = ("c:true>t", "c:false>f", "f>after", "t>join", "after>join")


async def test_a_condition_takes_one_branch_and_says_why_the_other_is_skipped(client: Client) -> None:
    taken = await client.run(definition(BRANCHES, *BRANCH_EDGES, params={"yes": True}))
    check_run(taken)
    assert ends(taken) == {
        "c": "success",
        "t": "success",
        "f": "skipped branch_not_taken",
        "after": "skipped upstream_skipped",
        "join": "success",
    }
    other = await client.run(definition(BRANCHES, *BRANCH_EDGES, params={"yes": False}))
    assert ends(other)["t"] == "skipped condition_false"
    assert ends(other)["join"] == "success"
    assert other[0].seq == taken[-1].seq + 1
    assert [event.node.handle for event in taken if is_node("c", "success")(event)] == ["true"]


async def test_a_switch_takes_the_branch_of_its_value(client: Client) -> None:
    cases = [{"value": "red", "handle": "stop"}, {"value": "green", "handle": "go"}]
    nodes = [node("s", "switch", expression="{{ params.light }}", cases=cases), node("r"), node("g"), node("d")]
    for light, taken in (("red", "r"), ("green", "g"), ("blue", "d")):
        events = await client.run(definition(nodes, "s:stop>r", "s:go>g", "s:default>d", params={"light": light}))
        ran = [node_id for node_id, end in ends(events).items() if end == "success"]
        assert ran == ["s", taken]


# Three parents of "j": one that succeeds, one that fails, and one that is skipped because its branch was not taken.
PARENTS = [node("ok"), node("bad", "fail"), node("if", "test.branch", handle="left"), node("no")]
JOINS: list[tuple[Any, list[str], str]] = [
    (None, ["ok", "ok2"], "success"),
    (None, ["ok", "no"], "success"),
    (None, ["no"], "skipped branch_not_taken"),
    (None, ["ok", "bad"], "skipped upstream_failed"),
    ("none_failed_min_one_success", ["ok", "no"], "success"),
    ("all_success", ["ok", "ok2"], "success"),
    ("all_success", ["ok", "no"], "skipped upstream_skipped"),
    ("all_success", ["ok", "bad"], "skipped upstream_failed"),
    ("all_done", ["ok", "bad", "no"], "success"),
    ("one_success", ["ok", "bad", "no"], "success"),
    ("one_success", ["bad", "no"], "skipped upstream_failed"),
    ("one_failed", ["ok", "bad"], "success"),
    ("one_failed", ["ok", "no"], "skipped upstream_skipped"),
    ("none_failed", ["ok", "no"], "success"),
    ("none_failed", ["no"], "success"),
    ("none_failed", ["bad", "no"], "skipped upstream_failed"),
    ("always", ["bad", "no"], "success"),
    ({"n_of": 2}, ["ok", "ok2", "bad"], "success"),
    ({"n_of": 2}, ["ok", "bad", "no"], "skipped upstream_failed"),
]


@pytest.mark.parametrize(("join", "parents", "end"), JOINS, ids=[f"{join}-{'+'.join(ids)}" for join, ids, _ in JOINS])
async def test_a_join_rule_decides_by_what_became_of_the_parents(
    client: Client, join: Any, parents: list[str], end: str
) -> None:
    joined = node("j", "noop", policy={"join": join}) if join else node("j")
    edges = ["if:right>no", *(f"{parent}>j" for parent in parents)]
    events = await client.run(definition([*PARENTS, node("ok2"), joined], *edges, failurePolicy="continue"))
    check_run(events)
    found = ends(events)["j"]
    # A node that was skipped is the reason for what comes after it only as long as nothing weightier is.
    assert found == (end if parents != ["no"] or end == "success" else "skipped upstream_skipped")


async def test_a_join_that_needs_one_runs_while_its_other_parents_still_do(client: Client, gate: Gate) -> None:
    nodes = [node("fast"), node("slow", "test.step", gate=str(gate)), node("j", "noop", policy={"join": "one_success"})]
    async with client.watch(start_from=pb.WATCH_FROM_NOW) as watch:
        await client.start(definition(nodes, "fast>j", "slow>j"))
        await watch.until(is_node("j", "success"))
        gate.open()
        await watch.until(is_terminal)
        assert ends(watch.durable) == {"fast": "success", "slow": "success", "j": "success"}


async def test_fail_fast_lets_running_nodes_finish_and_starts_no_other(client: Client, gate: Gate) -> None:
    nodes = [node("bad", "fail"), node("slow", "test.step", gate=str(gate)), node("late"), node("after")]
    async with client.watch(start_from=pb.WATCH_FROM_NOW) as watch:
        await client.start(definition(nodes, "slow>late", "bad>after"))
        await watch.until(is_node("bad", "error"))
        gate.open()
        end = await watch.until(is_terminal)
        check_run(watch.durable)
    assert ends(watch.durable) == {
        "bad": "error node_failed",
        "slow": "success",
        "late": "skipped run_stopped",
        "after": "skipped upstream_failed",
    }
    assert (end.error.code, end.error.node_id) == ("node_failed", "bad")
    assert "failed on purpose" in end.error.error


async def test_continue_runs_all_that_does_not_depend_on_a_failure(client: Client) -> None:
    nodes = [node("bad", "fail"), node("after"), node("good", "test.step"), node("on")]
    events = await client.run(definition(nodes, "bad>after", "good>on", failurePolicy="continue"))
    check_run(events)
    assert ends(events)["on"] == "success"
    assert ends(events)["after"] == "skipped upstream_failed"
    assert events[-1].error.node_id == "bad"


async def test_decoration_is_neither_counted_nor_run(client: Client) -> None:
    nodes = [node("a"), node("b"), node("n", "note"), node("g", "group")]
    events = await client.run(definition(nodes, "a>b", "n>b", "a>g"))
    check_run(events)
    assert events[0].workflow_start.total_nodes == 2
    assert [state.node_id for state in (await client.snapshot()).nodes] == ["a", "b"]


async def test_inputs_arrive_by_handle_and_several_at_one_as_a_list(client: Client) -> None:
    nodes = [node(name, "test.step", value=name) for name in ("a", "b", "c")]
    events = await client.run(definition([*nodes, node("j", "test.inputs")], "a>j:left", "b>j:right", "c>j:right"))
    output = next(event.node.data_json for event in events if is_node("j", "success")(event))
    assert json.loads(output) == {"left": "a", "right": ["b", "c"]}


async def test_an_input_whose_branch_was_not_taken_is_left_out(client: Client) -> None:
    nodes = [node("i", "test.branch", handle="left"), node("l"), node("r"), node("j", "test.inputs")]
    events = await client.run(definition(nodes, "i:left>l", "i:right>r", "l>j:l", "r>j:r"))
    output = next(event.node.data_json for event in events if is_node("j", "success")(event))
    assert json.loads(output) == {"l": None}


async def test_expressions_read_outputs_inputs_and_parameters_and_keep_types(client: Client) -> None:
    nodes = [
        node("a", "set", values={"n": "{{ params.n * 2 }}"}),
        node(
            "b",
            "set",
            values={"from": "{{ nodes.a.output.n }}", "in": "{{ inputs.input.n + 1 }}", "t": "n={{ params.n }}"},
        ),
        node("c", "output"),
    ]
    events = await client.run(chain(*nodes, params={"n": 21}))
    assert json.loads(events[-1].complete.outputs_json) == {"c": {"from": 42, "in": 43, "t": "n=21"}}


async def test_parameters_reach_a_node_as_they_were_given(client: Client) -> None:
    events = await client.run(
        chain(node("a", "test.params"), node("b", "output"), params={"deep": {"list": [1, None]}})
    )
    assert json.loads(events[-1].complete.outputs_json) == {"b": {"deep": {"list": [1, None]}}}


async def test_a_run_never_runs_more_nodes_at_once_than_its_limit(client: Client) -> None:
    nodes = [node(f"n{at}", "test.step") for at in range(30)]
    events = await client.run(definition(nodes, concurrency=3))
    check_run(events)
    assert most_at_once(events) == 3
    waiting = [line for line in story(events) if "pending" in line]
    assert len(waiting) == 27
    assert {line.split()[2] for line in waiting} == {"concurrency"}


async def test_the_ready_node_with_the_longest_path_ahead_goes_first(client: Client) -> None:
    nodes = [node(name, "test.step") for name in ("root", "short", "mid", "m2", "long", "l2", "l3")]
    edges = ("root>short", "root>mid", "mid>m2", "root>long", "long>l2", "l2>l3")
    events = await client.run(definition(nodes, *edges, concurrency=1))
    started = [line.split()[0] for line in story(events) if "running" in line]
    # While "mid" runs, what follows "long" becomes ready, and has a longer path ahead than "short".
    assert started[:4] == ["root", "long", "mid", "l2"]


async def test_all_runs_together_share_the_executors_slots_and_never_run_more_nodes(gate: Gate) -> None:
    async with running_executor(concurrency=2) as executor:
        client = executor.client
        async with client.watch("", start_from=pb.WATCH_FROM_NOW) as watch:
            nodes = [node(f"n{at}", "test.step", gate=str(gate)) for at in range(6)]
            for number in range(5):
                await client.start(definition(nodes), f"w{number}")
            gate.open()
            for _ in range(5):
                await watch.until(is_terminal)
        assert most_at_once(watch.durable) == 2
        succeeded = [e.workflow_id for e in watch.durable if e.node.status == events_pb.NODE_STATUS_SUCCESS]
        # Slots go around: every run gets some before the first is done.
        assert set(succeeded[:8]) == {"w0", "w1", "w2", "w3", "w4"}


async def test_a_slot_that_a_paused_run_does_not_want_goes_to_the_next(gate: Gate) -> None:
    async with running_executor(concurrency=1) as executor:
        client = executor.client
        async with client.watch("", start_from=pb.WATCH_FROM_NOW) as watch:
            await client.start(chain(node("a", "test.step", gate=str(gate))), "holder")
            await watch.until(is_node("a", "running"))
            await client.start(chain(node("b", "test.step")), "paused")
            await watch.until(is_node("b", "pending"))
            await client.start(chain(node("c", "test.step")), "patient")
            await watch.until(is_node("c", "pending"))
            await client.pause("paused")
            gate.open()
            await watch.until(is_node("c", "success"))
            await client.stop("paused")


async def test_a_log_line_carries_its_node_level_and_context_and_stays_in_the_snapshot(client: Client) -> None:
    events = await client.run(chain(node("a", "test.log", lines=3)))
    logs = [event.log for event in events if event.HasField("log")]
    assert [log.message for log in logs] == ["line 0", "line 1", "line 2"]
    assert {(log.level, log.node_id) for log in logs} == {(events_pb.LOG_LEVEL_WARN, "a")}
    assert json.loads(logs[2].context_json) == {"number": 2, "node": "a"}
    kept = (await client.snapshot()).logs
    assert [event for event in events if event.HasField("log")] == list(kept)


async def test_a_snapshot_keeps_the_newest_200_log_lines(client: Client) -> None:
    await client.run(chain(node("a", "test.log", lines=250)))
    logs = (await client.snapshot()).logs
    assert [logs[0].log.message, logs[-1].log.message, len(logs)] == ["line 50", "line 249", 200]


def progress_of(events: list[Event]) -> list[float]:
    """The run's progress as it was told."""
    return [event.progress.progress for event in events if event.HasField("progress")]


async def test_progress_of_a_run_only_grows_and_ends_at_one_before_the_run_does(client: Client, gate: Gate) -> None:
    nodes = [node("p", "test.progress", reports=[0.25, 0.5, 0.75], pause=0.15), node("g", "test.step", gate=str(gate))]
    async with client.watch(start_from=pb.WATCH_FROM_NOW, telemetry=True) as watch:
        await client.start(definition(nodes))
        await watch.until(is_node("p", "success"))
        gate.open()
        await watch.until(is_terminal)
    told = progress_of(watch.events)
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert len(told) > 2
    last = max(at for at, event in enumerate(watch.events) if event.HasField("progress"))
    assert is_terminal(watch.events[last + 1])
    assert not any(event.seq for event in watch.events if event.HasField("progress"))


async def test_the_time_left_is_told_once_there_is_a_basis_and_not_while_a_run_pauses(
    client: Client, gate: Gate
) -> None:
    nodes = [node(f"n{number}", "test.nap", seconds=0.05) for number in range(4)]
    async with client.watch(start_from=pb.WATCH_FROM_NOW) as watch:
        await client.start(chain(*nodes))
        assert not (await client.snapshot()).progress.HasField("estimated_remaining_ms")
        await watch.until(is_terminal)
        await client.start(chain(*nodes, node("g", "test.step", gate=str(gate))))
        await watch.until(is_node("n0", "running"))
        assert (await client.snapshot()).progress.HasField("estimated_remaining_ms")
        await watch.until(is_node("g", "running"))
        await client.pause()
        assert not (await client.snapshot()).progress.HasField("estimated_remaining_ms")
        await client.stop(mode=pb.STOP_MODE_TERMINATE)


async def test_progress_of_a_node_is_told_as_telemetry_and_only_grows(client: Client) -> None:
    reports = [0.5, 0.4, 0.9, 0.2, 1.0]
    events = await client.run(chain(node("p", "test.progress", reports=reports, pause=0.15)), telemetry=True)
    told = [event.node.progress for event in events if event.node.HasField("progress")]
    assert told == [0.5, 0.9, 1.0]


async def test_the_newest_progress_of_a_node_is_told_though_older_ones_were_too_many(
    client: Client, gate: Gate
) -> None:
    reports = [number / 100 for number in range(1, 51)]
    async with client.watch(start_from=pb.WATCH_FROM_NOW, telemetry=True) as watch:
        await client.start(chain(node("p", "test.progress", reports=reports, gate=str(gate))))
        await watch.until(lambda event: event.node.HasField("progress") and event.node.progress == 0.5)
        told = [event.node.progress for event in watch.events if event.node.HasField("progress")]
        assert len(told) < 25
        gate.open()
        await watch.until(is_terminal)


async def test_what_a_node_has_made_so_far_is_told_as_telemetry_before_it_ends(client: Client, gate: Gate) -> None:
    async with client.watch(start_from=pb.WATCH_FROM_NOW, telemetry=True) as watch:
        made = node("p", "test.partial", texts=["one", "one two"], pause=0.05, gate=str(gate), secret="TOKEN")
        await client.start(chain(made))
        told = await watch.until(lambda event: "two" in event.node.data_json)
        assert (told.seq, json.loads(told.node.data_json)) == (0, {"text": "one two***"})
        gate.open()
        await watch.until(is_terminal)
    assert "s3cr3t" not in str(watch.events)
    assert not any("two***" in event.node.data_json for event in watch.durable)


async def test_a_watch_without_telemetry_gets_durable_events_only(client: Client) -> None:
    events = await client.run(chain(node("p", "test.progress", reports=[0.5, 0.6], pause=0.15)), telemetry=False)
    async with client.watch(start_from=pb.WATCH_FROM_SNAPSHOT, until_head=True) as watch:
        await watch.rest()
    assert all(event.seq for event in events)


async def test_many_runs_at_once_each_end_with_a_sound_log(executor: RunningExecutor) -> None:
    client = executor.client
    nodes = [node("a"), node("b", "test.step"), node("c", "test.big", size=10), node("d"), node("e", "fail")]
    text = definition(nodes, "a>b", "a>c", "b>d", "c>d", "d>e")
    await asyncio.gather(*(client.start(text, f"w{number}") for number in range(40)))
    async with client.watch("", start_from=pb.WATCH_FROM_SNAPSHOT) as watch:
        while executor.engine.active_runs:
            await watch.next()
    for number in range(40):
        events = await client.history(f"w{number}")
        check_run(events)
        assert events[-1].error.node_id == "e"
    assert executor.engine._runtime.slots.used == 0
