"""What the executor refuses: the status, the reason and the details of each refusal."""

import json
from collections.abc import AsyncIterator, Awaitable

import grpc
import pytest

from tests.support.executor_client import CALL_SECONDS, Client, is_terminal, refused
from tests.support.executor_engine import running_executor
from tests.support.executor_gates import Gate
from tests.support.executor_graphs import chain, definition, node, noops
from weftline.v1 import events_pb2 as events_pb
from weftline.v1 import workflow_service_pb2 as pb
from weftline_executor.errors import StoreUnavailable
from weftline_executor.model.records import Batch
from weftline_executor.store import MemoryStore

INVALID = grpc.StatusCode.INVALID_ARGUMENT


async def test_a_start_that_sends_no_request_is_refused(client: Client) -> None:
    start: grpc.aio.StreamUnaryMultiCallable[bytes, bytes] = client.channel.stream_unary(
        "/weftline.v1.WorkflowService/StartWorkflow"
    )
    call = start(timeout=CALL_SECONDS)
    await call.done_writing()
    with refused(INVALID, "invalid_argument"):
        await call


@pytest.mark.parametrize(
    ("text", "violations"),
    [
        (definition([node("a"), node("b")], "a>b", "b>a"), [("nodes[1]", "cycle")]),
        (definition([node("a")], "a>a"), [("nodes[0]", "cycle")]),
        (definition([node("a", "nope")]), [("nodes[0].type", "unknown_node_type")]),
        (definition([node("a")], "a>gone"), [("edges[0].target", "dangling_edge")]),
        (definition([node("a"), node("a")]), [("nodes[1].id", "duplicate_id")]),
        (definition([node("a", "condition", expression="1"), node("b")], "a:maybe>b"), None),
        ("[" * 100_000, [("", "too_deep")]),
        ("{", [("", "invalid_json")]),
        ("", [("", "invalid_json")]),
        ("[]", [("", "wrong_type")]),
        ("{}", [("nodes", "empty")]),
        (
            definition([node("a", "nope"), node("a"), node("b", "delay", seconds=-1)], "b>x"),
            [
                ("nodes[0].type", "unknown_node_type"),
                ("nodes[1].id", "duplicate_id"),
                ("nodes[2].data.seconds", "invalid_value"),
                ("edges[0].target", "dangling_edge"),
            ],
        ),
    ],
    ids=[
        *("cycle", "self_loop", "unknown_type", "dangling", "duplicate", "handle", "deep", "cut_off", "nothing"),
        *("array", "empty", "all_at_once"),
    ],
)
async def test_a_workflow_that_cannot_run_is_refused_with_all_its_faults(
    client: Client, text: str, violations: list[tuple[str, str]] | None
) -> None:
    with refused(INVALID, "invalid_workflow") as refusal:
        await client.start(text)
    found = [(field, code) for field, code, _ in refusal.violations]
    assert found == (violations or [("edges[0].sourceHandle", "undeclared_handle")])
    validated = await client.validate(text)
    assert [(fault.path, fault.code) for fault in validated.faults] == found
    assert refusal.info.metadata["faults"] == str(len(found))
    with refused(grpc.StatusCode.NOT_FOUND, "workflow_not_found"):
        await client.snapshot()


async def test_the_refusal_of_a_cycle_names_its_nodes(client: Client) -> None:
    with refused(INVALID, "invalid_workflow") as refusal:
        await client.start(definition([node("a"), node("b"), node("c")], "a>b", "b>c", "c>b"))
    assert "b → c → b" in refusal.message or "c → b → c" in refusal.message


LONG = "é" * 256


def long_id(number: int) -> str:
    """An id of 256 characters."""
    return f"{LONG[:-2]}{number:02}"


@pytest.mark.parametrize(
    "text",
    [
        definition(
            [node(long_id(n)) for n in range(20)], *(f"{long_id(n)}>{long_id((n + 1) % 20)}" for n in range(20))
        ),
        definition([node("a", LONG * 100)]),
        definition([node("a", "noop", **{LONG * 100: 1})]),
        definition([node(f"n{n}", f"nope{n}{LONG}") for n in range(200)]),
        definition([node("a")], f"a>{LONG * 100}"),
        definition([node("a", "test.branch", handle="left"), node("b")], f"a:{LONG * 100}>b"),
    ],
    ids=["cycle", "type", "key", "many", "edge", "handle"],
)
async def test_a_refusal_fits_into_what_grpc_carries_however_long_the_names_are(client: Client, text: str) -> None:
    with refused(INVALID, "invalid_workflow") as refusal:
        await client.start(text)
    assert refusal.violations
    assert refusal.message


async def test_a_definition_over_the_limit_is_refused() -> None:
    async with running_executor(max_definition_bytes=2048) as executor:
        with refused(INVALID, "invalid_workflow") as refusal:
            await executor.client.start(chain(node("a", "set", values={"text": "x" * 2048})))
        assert [code for _, code, _ in refusal.violations] == ["too_large"]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await executor.client.start("x" * (4 << 20))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_limits_on_nodes_and_edges_are_enforced() -> None:
    async with running_executor(max_nodes=3, max_edges=1) as executor:
        with refused(INVALID, "invalid_workflow") as refusal:
            await executor.client.start(noops(4))
        assert [(field, code) for field, code, _ in refusal.violations] == [
            ("nodes", "too_many"),
            ("edges", "too_many"),
        ]


@pytest.mark.parametrize("workflow_id", ["a b", "ä", "x" * 129, "a/b", "a\n"])
async def test_a_workflow_id_that_is_none_is_refused_by_every_call(client: Client, workflow_id: str) -> None:
    async def watch() -> None:
        async with client.watch(workflow_id):
            pass

    calls: list[Awaitable[object]] = [
        client.start(noops(1), workflow_id),
        client.pause(workflow_id),
        client.resume(workflow_id),
        client.stop(workflow_id),
        client.snapshot(workflow_id),
        client.stub.ListRuns(pb.ListRunsRequest(workflow_id=workflow_id), timeout=CALL_SECONDS),
        watch(),
    ]
    for call in calls:
        with refused(INVALID, "invalid_argument") as refusal:
            await call
        assert [(field, code) for field, code, _ in refusal.violations] == [("workflow_id", "invalid_argument")]


async def test_a_field_that_is_too_long_or_out_of_range_is_refused_by_name(client: Client) -> None:
    list_request = pb.ListWorkflowsRequest
    calls: list[tuple[Awaitable[object], str]] = [
        (client.start(noops(1), command_id="x" * 129), "command_id"),
        (client.start(noops(1), by="x" * 257), "by"),
        (client.stop(reason="x" * 1025), "reason"),
        (client.stop(grace_ms=-1), "grace_ms"),
        (client.stop(grace_ms=3_600_001), "grace_ms"),
        (client.stub.ListWorkflows(list_request(page_size=1001), timeout=CALL_SECONDS), "page_size"),
        (client.stub.ListWorkflows(list_request(page_size=-1), timeout=CALL_SECONDS), "page_size"),
        (client.stub.ListWorkflows(list_request(page_token="§"), timeout=CALL_SECONDS), "page_token"),
        (client.stub.ListWorkflows(list_request(id_prefix="x" * 129), timeout=CALL_SECONDS), "id_prefix"),
        (
            client.stub.ListWorkflows(list_request(states=[events_pb.RUN_STATE_UNSPECIFIED]), timeout=CALL_SECONDS),
            "states",
        ),
    ]
    for call, field in calls:
        with refused(INVALID, "invalid_argument") as refusal:
            await call
        assert refusal.info.metadata["field"] == field


async def test_an_unknown_workflow_is_not_found(client: Client) -> None:
    list_runs = client.stub.ListRuns(pb.ListRunsRequest(workflow_id="w"), timeout=CALL_SECONDS)
    for call in (client.snapshot(), client.pause(), client.resume(), client.stop(), list_runs):
        with refused(grpc.StatusCode.NOT_FOUND, "workflow_not_found") as refusal:
            await call
        assert refusal.info.metadata["workflow_id"] == "w"


async def test_a_command_that_makes_no_sense_now_says_which_state_the_run_is_in(client: Client, gate: Gate) -> None:
    await client.run(noops(1))
    for call in (client.pause(), client.resume(), client.stop()):
        with refused(grpc.StatusCode.FAILED_PRECONDITION, "illegal_state") as refusal:
            await call
        assert refusal.info.metadata["state"] == "success"
    await client.start(chain(node("a", "test.step", gate=str(gate))))
    with refused(grpc.StatusCode.FAILED_PRECONDITION, "illegal_state") as refusal:
        await client.resume()
    assert (refusal.info.metadata["state"], refusal.info.metadata["command"]) == ("running", "resume")
    await client.pause()
    with refused(grpc.StatusCode.FAILED_PRECONDITION, "illegal_state") as refusal:
        await client.pause()
    assert refusal.info.metadata["state"] == "pausing"
    await client.stop(mode=pb.STOP_MODE_TERMINATE)


async def test_a_full_executor_refuses_a_start_and_says_when_to_come_back(gate: Gate) -> None:
    async with running_executor(max_runs=1) as executor:
        async with executor.client.watch("first", start_from=pb.WATCH_FROM_NOW) as watch:
            await executor.client.start(chain(node("a", "test.step", gate=str(gate))), "first")
            with refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "executor_full") as refusal:
                await executor.client.start(noops(1), "second")
            assert refusal.retry
            gate.open()
            await watch.until(is_terminal)
        assert (await executor.client.run(noops(1), "second"))[-1].HasField("complete")


class FlakyStore(MemoryStore):
    """A store that cannot write while it is `full`."""

    full = False

    async def append(self, batches: object) -> list[Batch]:
        if self.full:
            raise StoreUnavailable("no space left")
        return await super().append(batches)  # type: ignore[arg-type]


@pytest.fixture
async def flaky(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Client, FlakyStore]]:
    """An executor over a store that can be made full, which tries again every 20 ms."""
    monkeypatch.setattr("tests.support.executor_engine.MemoryStore", FlakyStore)
    monkeypatch.setattr("weftline_executor.engine.commit.RETRY_SECONDS", 0.02)
    async with running_executor() as executor:
        assert isinstance(executor.store, FlakyStore)
        yield executor.client, executor.store


async def test_a_store_that_cannot_write_refuses_commands_and_runs_go_on_when_it_can(
    flaky: tuple[Client, FlakyStore], gate: Gate
) -> None:
    client, store = flaky
    async with client.watch(start_from=pb.WATCH_FROM_NOW) as watch:
        await client.start(chain(node("a", "test.step", gate=str(gate)), node("b")))
        store.full = True
        gate.open()
        while True:
            try:
                await client.stub.StopWorkflow(pb.StopWorkflowRequest(workflow_id="other"), timeout=CALL_SECONDS)
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.UNAVAILABLE:
                    break
        with refused(grpc.StatusCode.UNAVAILABLE, "store_unavailable") as refusal:
            await client.start(noops(1), "other")
        assert refusal.retry
        assert (await client.snapshot()).seq < 4
        store.full = False
        assert (await watch.until(is_terminal)).HasField("complete")
        assert [event.seq for event in watch.durable] == list(range(1, 7))


async def test_a_stored_definition_keeps_every_field_as_it_was_given(client: Client) -> None:
    text = json.dumps(
        {
            "viewport": {"x": 1.5, "zoom": 2},
            "nodes": [{"id": "a", "type": "noop", "position": {"x": 0, "y": -1}, "selected": True, "data": {}}],
            "edges": [],
            "config": {"labels": {"team": "ø"}},
        },
        indent=1,
    )
    events = await client.run(text)
    assert events[0].workflow_start.definition_json == text
    assert (await client.snapshot()).definition_json == text
