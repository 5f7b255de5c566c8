"""A node that has not ended and does not run says what it waits for."""

from tests.support.executor_client import Client, is_node, is_run, is_terminal
from tests.support.executor_engine import running_executor
from tests.support.executor_gates import Gate, Marks
from tests.support.executor_graphs import chain, definition, node
from weftline.v1 import events_pb2 as ev
from weftline.v1 import workflow_service_pb2 as pb

NOW = pb.WATCH_FROM_NOW


async def waiting(client: Client, workflow_id: str = "w") -> dict[str, ev.Waiting]:
    """What each node waits for that waits for anything."""
    nodes = (await client.snapshot(workflow_id)).nodes
    return {each.node_id: each.waiting for each in nodes if each.HasField("waiting")}


def parents(*node_ids: str, count: int = 0) -> ev.Waiting:
    return ev.Waiting(waiting_for=ev.WAITING_FOR_PARENTS, parent_ids=node_ids, parents=count or len(node_ids))


async def test_a_node_waits_for_those_before_it_that_have_not_ended(client: Client, gate: Gate) -> None:
    held = [node(f"h{at}", "test.step", gate=str(gate)) for at in range(10)]
    nodes = [node("done"), *held, node("one"), node("all"), node("below")]
    edges = ["done>one", "h0>one", "one>below", *(f"h{at}>all" for at in range(10))]
    async with client.watch(start_from=NOW) as watch:
        await client.start(definition(nodes, *edges))
        await watch.until(is_node("done", "success"))
        found = await waiting(client)
        assert found == {
            "one": parents("h0"),
            "all": parents(*(f"h{at}" for at in range(8)), count=10),
            "below": parents("one"),
        }
        gate.open()
        await watch.until(is_terminal)
    assert await waiting(client) == {}


async def test_a_node_in_a_line_has_a_place_and_the_longest_path_goes_first(client: Client, gate: Gate) -> None:
    nodes = [
        node("runs", "test.step", gate=str(gate)),
        *(node(name, "test.step", gate=str(gate)) for name in ("short", "long", "end")),
    ]
    async with client.watch(start_from=NOW) as watch:
        await client.start(definition(nodes, "runs>end", "long>end", concurrency=1))
        await watch.until(is_node("short", "pending"))
        found = await waiting(client)
        running = [each.node_id for each in (await client.snapshot()).nodes if each.status == ev.NODE_STATUS_RUNNING]
        await client.stop(mode=pb.STOP_MODE_TERMINATE)
    assert running == ["runs"]
    assert found["long"] == ev.Waiting(waiting_for=ev.WAITING_FOR_RUN_SLOT, position=1)
    assert found["short"] == ev.Waiting(waiting_for=ev.WAITING_FOR_RUN_SLOT, position=2)
    assert found["end"] == parents("runs", "long")


async def test_the_longest_path_is_the_one_that_is_expected_to_take_longest(client: Client) -> None:
    nodes = [
        node("runs", "delay", seconds=100),
        *(node(name, "delay", seconds=1) for name in ("many", "of", "them")),
        node("slow", "delay", seconds=60),
    ]
    async with client.watch(start_from=NOW) as watch:
        await client.start(definition(nodes, "many>of", "of>them", concurrency=1))
        await watch.until(is_node("slow", "pending"))
        found = await waiting(client)
        await client.stop(mode=pb.STOP_MODE_TERMINATE)
    line = {name: each.position for name, each in found.items() if each.waiting_for == ev.WAITING_FOR_RUN_SLOT}
    assert line == {"slow": 1, "many": 2}


async def test_a_node_that_finds_the_executor_full_says_so(gate: Gate) -> None:
    async with running_executor(concurrency=1) as executor:
        client = executor.client
        async with client.watch("full", start_from=NOW) as watch:
            await client.start(chain(node("a", "test.step", gate=str(gate))), "full")
            await watch.until(is_node("a", "running"))
        async with client.watch(start_from=NOW) as watch:
            await client.start(definition([node("b"), node("c")]))
            await watch.until(is_node("b", "pending"))
            found = await waiting(client)
            gate.open()
            await watch.until(is_terminal)
    assert found == {
        "b": ev.Waiting(waiting_for=ev.WAITING_FOR_EXECUTOR_SLOT, position=1),
        "c": ev.Waiting(waiting_for=ev.WAITING_FOR_EXECUTOR_SLOT, position=2),
    }


async def test_a_node_that_is_tried_again_says_when(client: Client, marks: Marks) -> None:
    policy = {"retry": {"attempts": 2, "delay": 300}}
    nodes = [node("a", "test.flaky", marks=str(marks), failures=1, retry_after=300, policy=policy), node("b")]
    async with client.watch(start_from=NOW) as watch:
        await client.start(chain(*nodes))
        pending = await watch.until(is_node("a", "pending"))
        found = await waiting(client)
        await client.pause()
        paused = await waiting(client)
        await client.stop(mode=pb.STOP_MODE_TERMINATE)
    assert pending.node.due_ms > pending.timestamp_ms
    assert found["a"] == ev.Waiting(waiting_for=ev.WAITING_FOR_RETRY, due_ms=pending.node.due_ms)
    assert found["b"] == parents("a")
    assert paused == found


async def test_nodes_that_wait_for_somebody_say_for_what_and_until_when(client: Client) -> None:
    nodes = [node("ask", "approval", deadline=3600), node("paid", "wait_for_event", event="paid"), node("end")]
    async with client.watch(start_from=NOW) as watch:
        await client.start(definition(nodes, "ask>end", "paid>end"))
        asked = await watch.until(is_node("ask", "pending"))
        if not any(is_node("paid", "pending")(event) for event in watch.events):
            await watch.until(is_node("paid", "pending"))
        found = await waiting(client)
        await client.stop(mode=pb.STOP_MODE_TERMINATE)
    assert found == {
        "ask": ev.Waiting(waiting_for=ev.WAITING_FOR_APPROVAL, due_ms=asked.node.due_ms),
        "paid": ev.Waiting(waiting_for=ev.WAITING_FOR_EVENT, event="paid"),
        "end": parents("ask", "paid"),
    }


async def test_what_could_run_in_a_paused_run_waits_for_it_to_be_resumed(client: Client, gate: Gate) -> None:
    nodes = [node("a", "test.step", gate=str(gate)), node("b"), node("c")]
    async with client.watch(start_from=NOW) as watch:
        await client.start(chain(*nodes))
        await watch.until(is_node("a", "running"))
        await client.pause()
        assert await waiting(client) == {"b": parents("a"), "c": parents("b")}
        gate.open()
        await watch.until(is_run("workflow_pause", "paused"))
        assert await waiting(client) == {"b": ev.Waiting(waiting_for=ev.WAITING_FOR_RESUME), "c": parents("b")}
        await client.resume()
        await watch.until(is_terminal)


async def test_a_node_whose_failure_pauses_the_run_waits_for_it_to_be_resumed(client: Client) -> None:
    nodes = [node("a", "test.raise", policy={"onError": "pause"}), node("b")]
    async with client.watch(start_from=NOW) as watch:
        await client.start(chain(*nodes))
        await watch.until(is_run("workflow_pause", "paused"))
        found = await waiting(client)
        await client.stop(mode=pb.STOP_MODE_TERMINATE)
    assert found == {"a": ev.Waiting(waiting_for=ev.WAITING_FOR_RESUME), "b": parents("a")}


async def test_finally_nodes_wait_for_the_end_and_then_for_one_another(client: Client, gate: Gate) -> None:
    late = Gate(gate.path.with_name("late"))
    last = {"finally": True}
    nodes = [
        node("a", "test.step", gate=str(gate)),
        node("clean", "test.step", gate=str(late), policy=last),
        node("tell", policy=last),
    ]
    async with client.watch(start_from=NOW) as watch:
        await client.start(definition(nodes, "a>tell", "clean>tell"))
        await watch.until(is_node("a", "running"))
        end = ev.Waiting(waiting_for=ev.WAITING_FOR_END)
        assert await waiting(client) == {"clean": end, "tell": end}
        gate.open()
        await watch.until(is_node("clean", "running"))
        assert await waiting(client) == {"tell": parents("clean")}
        late.open()
        await watch.until(is_terminal)


async def test_in_a_run_that_failed_nothing_else_starts_so_it_waits_for_the_end(client: Client, gate: Gate) -> None:
    nodes = [node("runs", "test.step", gate=str(gate)), node("bad", "test.raise"), node("b"), node("c")]
    async with client.watch(start_from=NOW) as watch:
        await client.start(definition(nodes, "runs>b", "b>c"))
        await watch.until(is_node("bad", "error"))
        end = ev.Waiting(waiting_for=ev.WAITING_FOR_END)
        assert await waiting(client) == {"b": end, "c": end}
        gate.open()
        assert (await watch.until(is_terminal)).HasField("error")
