"""Nodes that misbehave: each fails alone, by name, and the executor goes on as if nothing had happened."""

from pathlib import Path

import pytest

from tests.support.executor_checks import check_run, ends
from tests.support.executor_client import Client, is_node, is_terminal
from tests.support.executor_engine import RunningExecutor, running_executor
from tests.support.executor_gates import Gate
from tests.support.executor_graphs import chain, definition, node
from weftline.v1 import workflow_service_pb2 as pb
from weftline_executor.store import SqliteStore


async def assert_it_goes_on(client: Client) -> None:
    """Another workflow runs to its end, in every isolation."""
    events = await client.run(chain(node("a"), node("b", "test.step"), node("c", "test.big", size=1)), "other")
    assert set(ends(events).values()) == {"success"}
    check_run(events)


@pytest.mark.parametrize(
    ("data", "code", "error"),
    [
        (("test.raise", {}), "node_raised", "OSError: out of paper"),
        (("test.fail_with_code", {"code": "paper_jam"}), "paper_jam", "as agreed"),
        (("test.not_json", {}), "bad_output", "the node returned what is not JSON"),
        (("test.nested", {"depth": 5000}), "bad_output", ""),
        (
            ("test.branch", {"handle": "up"}),
            "bad_handle",
            "chose the handle 'up', which it does not have (left, right)",
        ),
        (("test.exit_thread", {}), "node_raised", "SystemExit: 3"),
        (("test.exit_async", {}), "node_raised", "SystemExit: 3"),
        (("test.exit_inline", {}), "node_raised", "SystemExit: 3"),
        (("test.cancel_itself", {}), "node_raised", "CancelledError"),
        (("test.half_a_character", {"raises": True}), "node_raised", "ValueError: half ?"),
        (("fail", {"message": "enough"}), "node_failed", "enough"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
async def test_a_node_that_fails_ends_its_run_with_a_named_error(
    client: Client, data: tuple[str, dict[str, object]], code: str, error: str
) -> None:
    node_type, config = data
    events = await client.run(chain(node("a", node_type, **config), node("b")))
    check_run(events)
    assert ends(events) == {"a": f"error {code}", "b": "skipped upstream_failed"}
    assert events[-1].error.code == code
    assert events[-1].error.node_id == "a"
    assert error in events[-1].error.error
    await assert_it_goes_on(client)


async def test_text_that_is_no_unicode_is_replaced_in_a_log_on_disk(tmp_path: Path) -> None:
    async with running_executor(tmp_path / "data") as executor:
        assert isinstance(executor.store, SqliteStore)
        events = await executor.client.run(chain(node("a", "test.half_a_character")))
        assert ends(events) == {"a": "success"}
        assert [event.log.message for event in events if event.HasField("log")] == ["half ?"]
        assert await executor.client.history() == events
        await assert_it_goes_on(executor.client)


async def test_an_output_can_be_nested_as_deep_as_data_but_no_deeper(client: Client) -> None:
    assert ends(await client.run(chain(node("a", "test.nested", depth=64), node("b", "merge")))) == {
        "a": "success",
        "b": "success",
    }
    assert ends(await client.run(chain(node("a", "test.nested", depth=65), node("b", "merge")))) == {
        "a": "error bad_output",
        "b": "skipped upstream_failed",
    }


@pytest.mark.parametrize("depth", [960, 980, 985, 990, 995])
async def test_no_depth_of_an_output_stops_the_engine(client: Client, depth: int) -> None:
    await client.run(chain(node("a", "test.nested", depth=depth), node("b", "merge")))
    await assert_it_goes_on(client)


async def test_a_node_that_blocks_its_thread_holds_up_no_other(client: Client, gate: Gate) -> None:
    async with client.watch(start_from=pb.WATCH_FROM_NOW) as watch:
        await client.start(chain(node("deaf", "test.deaf_thread", gate=str(gate))))
        await watch.until(is_node("deaf", "running"))
        await assert_it_goes_on(client)
        gate.open()
        assert (await watch.until(is_terminal)).HasField("complete")


async def test_an_async_node_that_blocks_its_loop_holds_up_no_node_of_another_type(gate: Gate) -> None:
    # The watch on loops would come too late, and ends the blocker no sooner than the test has ended.
    async with running_executor(blocked_loop_seconds=600) as executor:
        client = executor.client
        async with client.watch("blocked") as watch:
            await client.start(definition([node("blocker", "test.block_loop", gate=str(gate))]), "blocked")
            await watch.until(is_node("blocker", "running"))
            for node_type in ("test.step", "delay"):
                assert ends(await client.run(definition([node("a", node_type)]))) == {"a": "success"}
            gate.open()
            await watch.until(is_terminal)


@pytest.mark.parametrize("node_type", ["test.block_loop", "test.block_loop_below"])
async def test_an_async_node_that_blocks_its_loop_is_failed_and_the_others_go_on(node_type: str, gate: Gate) -> None:
    async with running_executor(blocked_loop_seconds=0.3) as executor:
        client = executor.client
        try:
            events = await client.run(definition([node("blocker", node_type, gate=str(gate))]))
            assert ends(events) == {"blocker": "error node_blocked"}
            assert "blocked its event loop for more than 0.3 s" in events[-1].error.error
            await assert_it_goes_on(client)
        finally:
            gate.open()


async def test_a_thread_that_cannot_be_started_fails_its_node_only(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr("weftline_executor.engine.launcher.threading.Thread.start", refuse)
        events = await client.run(chain(node("a", "test.big", size=1)))
    assert ends(events) == {"a": "error node_raised"}
    await assert_it_goes_on(client)


async def test_a_number_too_large_for_64_bits_passes_through(client: Client) -> None:
    events = await client.run(chain(node("a", "set", values={"n": 10**30}), node("b", "output")))
    assert events[-1].complete.outputs_json == f'{{"b":{{"n":{10**30}}}}}'


async def test_a_wrong_setting_that_only_shows_when_it_runs_is_the_nodes_failure(client: Client) -> None:
    given = node("in", "input", values={"wait": "soon"})
    events = await client.run(chain(given, node("a", "delay", seconds="{{ nodes.in.output.wait }}")))
    assert ends(events) == {"in": "success", "a": "error bad_config"}
    assert "seconds" in events[-1].error.error


async def test_an_expression_that_fails_when_it_runs_is_the_nodes_failure(client: Client) -> None:
    events = await client.run(
        chain(node("in", "input"), node("a", "template", template="{{ nodes.in.output.no.such }}"))
    )
    assert ends(events)["a"] == "error bad_expression"


async def test_a_missing_secret_fails_the_node_without_showing_anything(executor: RunningExecutor) -> None:
    template = node("a", "template", template="{{ secrets.TOKEN }}")
    found = await executor.client.validate(chain(template))
    assert [fault.code for fault in found.faults] == ["bad_expression"]
