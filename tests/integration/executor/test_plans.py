"""What decides how long a run takes, and how a run of a workflow would go."""

from tests.support.executor_client import CALL_SECONDS, Client, is_node, is_terminal
from tests.support.executor_engine import running_executor
from tests.support.executor_gates import Gate
from tests.support.executor_graphs import chain, definition, node
from weftline.v1 import workflow_service_pb2 as pb

NOW = pb.WATCH_FROM_NOW


async def critical_path(client: Client) -> list[pb.PlannedNode]:
    answer = await client.stub.GetWorkflow(pb.GetWorkflowRequest(workflow_id="w"), timeout=CALL_SECONDS)
    return list(answer.critical_path)


async def forecast(client: Client, workflow: str) -> pb.Forecast:
    request = pb.ValidateWorkflowRequest(definition_json=workflow, simulate=True)
    answer = await client.stub.ValidateWorkflow(request, timeout=CALL_SECONDS)
    assert not answer.faults
    return answer.forecast


async def test_the_critical_path_of_an_ended_run_is_what_was_measured(client: Client) -> None:
    nodes = [node("a"), node("slow", "delay", seconds=0.2), node("fast", "delay", seconds=0.01), node("end")]
    events = await client.run(definition(nodes, "a>slow", "a>fast", "slow>end", "fast>end"))
    path = await critical_path(client)
    assert [each.node_id for each in path] == ["a", "slow", "end"]
    assert not any(each.expected for each in path)
    assert path[1].end_ms - path[1].start_ms >= 200
    assert path[2].end_ms <= events[-1].timestamp_ms - events[0].timestamp_ms
    assert await critical_path(client) == path


async def test_the_critical_path_of_an_active_run_goes_on_with_what_is_expected(client: Client, gate: Gate) -> None:
    nodes = [
        node("a"),
        node("held", "test.step", gate=str(gate)),
        node("short", "delay", seconds=20),
        node("long", "delay", seconds=300),
    ]
    async with client.watch(start_from=NOW) as watch:
        await client.start(definition(nodes, "a>held", "a>short", "held>long"))
        await watch.until(is_node("held", "running"))
        path = await critical_path(client)
        await client.stop(mode=pb.STOP_MODE_TERMINATE)
        await watch.until(is_terminal)
    assert [(each.node_id, each.expected) for each in path] == [("a", False), ("held", True), ("long", True)]
    assert path[2].end_ms - path[2].start_ms == 300_000


async def test_a_simulation_says_how_long_a_run_takes_and_when_each_node_runs(client: Client) -> None:
    nodes = [node("a", "delay", seconds=1), node("b", "delay", seconds=5), node("c", "delay", seconds=2)]
    free = await forecast(client, definition(nodes, "a>b", "a>c"))
    assert (free.duration_ms, free.peak_concurrency, free.known_nodes) == (6000, 2, 3)
    assert [(each.node_id, each.start_ms, each.end_ms) for each in free.timeline] == [
        ("a", 0, 1000),
        ("b", 1000, 6000),
        ("c", 1000, 3000),
    ]
    assert list(free.critical_path) == ["a", "b"]
    limited = await forecast(client, definition(nodes, "a>b", "a>c", concurrency=1))
    assert (limited.duration_ms, limited.peak_concurrency) == (8000, 1)


async def test_a_simulation_knows_what_was_measured_before(client: Client) -> None:
    workflow = chain(node("a", "test.nap", seconds=0.2), node("b"))
    assert (await forecast(client, workflow)).known_nodes == 1
    await client.run(workflow)
    found = await forecast(client, workflow)
    assert found.known_nodes == 2
    assert 200 <= found.duration_ms < 20_000


async def test_nothing_is_simulated_unless_asked_for_or_of_a_workflow_that_is_not_valid(client: Client) -> None:
    assert not (await client.validate(chain(node("a")))).HasField("forecast")
    request = pb.ValidateWorkflowRequest(definition_json=chain(node("a", "nonsense")), simulate=True)
    answer = await client.stub.ValidateWorkflow(request, timeout=CALL_SECONDS)
    assert answer.faults
    assert not answer.HasField("forecast")


async def test_more_nodes_than_the_executor_has_slots_for_take_turns() -> None:
    nodes = [node(f"n{at}", "delay", seconds=1) for at in range(4)]
    async with running_executor(concurrency=2) as executor:
        found = await forecast(executor.client, definition(nodes, concurrency=100))
    assert (found.duration_ms, found.peak_concurrency) == (2000, 2)
