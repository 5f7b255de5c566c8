"""The executor as a process: what stops it from starting, how it ends, and what it says of itself."""

import asyncio
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from prometheus_client.parser import text_string_to_metric_families

from tests.support.executor_client import CALL_SECONDS, Client, is_node, is_terminal
from tests.support.executor_gates import Gate
from tests.support.executor_graphs import chain, definition, node, noops
from tests.support.executor_process import ExecutorProcess, executor_process
from weftline.v1 import events_pb2 as events_pb
from weftline.v1 import workflow_service_pb2 as pb
from weftline_executor.metrics import Metrics

SERVICE = "weftline.v1.WorkflowService"


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExecutorProcess]:
    """One executor for the tests that leave it as it is."""
    with executor_process(tmp_path_factory.mktemp("executor"), shutdown_seconds="1") as running:
        yield running


def refuse_to_start(folder: Path, **settings: str) -> tuple[int, str]:
    """The exit status of an executor that cannot start, and all that it said."""
    process = ExecutorProcess(folder, {name.upper(): value for name, value in settings.items()})
    process.launch()
    try:
        return process.wait(), process.log.read_text()
    finally:
        process.close()


@pytest.fixture
def taken() -> Iterator[str]:
    """An address that somebody else listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize("setting", ["listen", "metrics_listen"])
def test_a_taken_address_ends_the_start_with_a_sentence_that_names_it(tmp_path: Path, taken: str, setting: str) -> None:
    status, log = refuse_to_start(tmp_path, **{setting: taken})
    assert status == 1
    assert "Traceback" not in log
    # gRPC writes a line of its own before.
    said = log.splitlines()[-1]
    assert said.startswith(f"weftline-executor: address {taken} can't be used")
    assert f"WEFTLINE_EXECUTOR_{setting.upper()}" in said


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("listen", "127.0.0.1:70000"),
        ("concurrency", "many"),
        ("enable_nodes", "python,pyhton"),
        ("process_workers", "257"),
        ("http_allow_private", "perhaps"),
    ],
)
def test_a_bad_setting_ends_the_start_with_a_sentence_that_names_it(tmp_path: Path, setting: str, value: str) -> None:
    status, log = refuse_to_start(tmp_path, **{setting: value})
    assert status == 2
    assert log.startswith(f"weftline-executor: WEFTLINE_EXECUTOR_{setting.upper()}: ")
    assert log.count("\n") == 1


def test_all_bad_settings_are_named_at_once(tmp_path: Path) -> None:
    _, log = refuse_to_start(tmp_path, concurrency="0", max_runs="0")
    assert "WEFTLINE_EXECUTOR_CONCURRENCY" in log
    assert "WEFTLINE_EXECUTOR_MAX_RUNS" in log


def test_a_module_without_node_types_ends_the_start(tmp_path: Path) -> None:
    status, log = refuse_to_start(tmp_path, nodes="no_such_module")
    assert status == 2
    assert "no_such_module" in log
    assert log.count("\n") == 1


def test_a_directory_that_cannot_be_made_ends_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    status, log = refuse_to_start(tmp_path, data_dir=str(tmp_path / "file" / "data"))
    assert status == 1
    assert "WEFTLINE_EXECUTOR_DATA_DIR" in log
    assert log.count("\n") == 1


def test_a_directory_that_another_executor_uses_ends_the_start(process: ExecutorProcess, tmp_path: Path) -> None:
    status, log = refuse_to_start(tmp_path, data_dir=process.settings["DATA_DIR"])
    assert status == 1
    assert "is in use by another executor" in log
    assert "WEFTLINE_EXECUTOR_DATA_DIR" in log
    assert log.count("\n") == 1


def test_a_file_that_is_no_event_log_ends_the_start_and_is_left_alone(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "events.sqlite3").write_text("these are my notes " * 100)
    status, log = refuse_to_start(tmp_path)
    assert status == 1
    assert "is not a usable event log" in log
    assert log.count("\n") == 1
    assert (data / "events.sqlite3").read_text().startswith("these are my notes")


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_cleanly_while_runs_and_watches_are_active(
    tmp_path: Path, signal_number: signal.Signals
) -> None:
    gate = Gate(tmp_path / "gate")
    nodes = [node("a", "test.step", gate=str(gate)), node("b", "test.deaf_thread", gate=str(gate)), node("c")]
    with executor_process(tmp_path, shutdown_seconds="5") as process:
        client = Client(process.address)
        async with client.watch(start_from=pb.WATCH_FROM_NOW) as watch:
            await client.start(definition(nodes, "a>c", "b>c"))
            await watch.until(is_node("b", "running"))
            begun = time.monotonic()
            assert process.terminate(signal_number) == 0
            assert time.monotonic() - begun < 15
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await watch.rest()
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        await client.channel.close()
        assert "Traceback" not in process.log.read_text()
        gate.open()
        process.start()
        client = Client(process.address)
        async with client.watch(start_from=pb.WATCH_FROM_SNAPSHOT) as watch:
            if not (await client.snapshot()).HasField("ended_ms"):
                await watch.until(is_terminal)
        assert (await client.history())[-1].HasField("complete")
        await client.channel.close()


async def test_health_is_told_for_the_server_and_for_the_service(process: ExecutorProcess) -> None:
    async with grpc.aio.insecure_channel(process.address) as channel:
        check: Any = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        for service in ("", SERVICE):
            response = await check(health_pb2.HealthCheckRequest(service=service), timeout=CALL_SECONDS)
            assert response.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await check(health_pb2.HealthCheckRequest(service="other"), timeout=CALL_SECONDS)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_reflection_lists_the_services(process: ExecutorProcess) -> None:
    async with grpc.aio.insecure_channel(process.address) as channel:
        call: Any = channel.stream_stream(
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )(timeout=CALL_SECONDS)
        await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        response = await call.read()
        await call.done_writing()
    names = {service.name for service in response.list_services_response.service}
    assert names == {SERVICE, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}


async def test_node_types_are_listed_with_what_a_palette_needs(process: ExecutorProcess) -> None:
    client = Client(process.address)
    listed = await client.stub.ListNodeTypes(pb.ListNodeTypesRequest(), timeout=CALL_SECONDS)
    await client.channel.close()
    types = {node_type.name: node_type for node_type in listed.node_types}
    assert [node_type.name for node_type in listed.node_types] == sorted(types)
    assert list(types["condition"].output_handles) == ["true", "false"]
    assert (types["switch"].dynamic_handles, types["condition"].dynamic_handles) == (True, False)
    assert (types["test.unsafe"].idempotency, types["test.keyed"].idempotency) == ("unsafe", "keyed")
    assert [types[name].isolation for name in ("noop", "delay", "test.big")] == ["inline", "async", "thread"]
    assert '"seconds"' in types["delay"].config_schema_json
    assert all(node_type.title for node_type in listed.node_types)


async def test_the_metrics_parse_and_have_every_family(process: ExecutorProcess) -> None:
    client = Client(process.address)
    await client.run(chain(node("a"), node("b", "test.step"), node("c", "fail")), "counted")
    await client.channel.close()
    families = {family.name: family for family in text_string_to_metric_families(process.metrics())}
    expected = {metric.name for metric in Metrics().registry.collect()}
    assert expected <= families.keys()
    values = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in families.values()
        for sample in family.samples
    }
    assert values["weftline_executor_runs_started_total",] >= 1
    assert values["weftline_executor_runs_ended_total", "error"] >= 1
    assert values["weftline_executor_nodes_ended_total", "error", "fail"] == 1
    assert values["weftline_executor_nodes_ended_total", "success", "test.step"] == 1
    assert values["weftline_executor_runs_active",] == 0
    assert values["weftline_executor_nodes_running",] == 0
    assert values["weftline_executor_events_total",] >= 8
    assert values["weftline_executor_commands_total", "ok", "start"] >= 1


async def test_workflows_and_runs_are_listed_in_pages(process: ExecutorProcess) -> None:
    client = Client(process.address)
    for number in range(5):
        await client.run(noops(1), f"list-{number}")
    await client.run(chain(node("a", "fail")), "list-bad")
    for _ in range(4):
        await client.run(noops(1), "list-0")
    found: list[str] = []
    token = ""
    while True:
        request = pb.ListWorkflowsRequest(page_size=2, page_token=token, id_prefix="list-")
        page = await client.stub.ListWorkflows(request, timeout=CALL_SECONDS)
        found += [run.workflow_id for run in page.workflows]
        token = page.next_page_token
        if not token:
            break
    assert found == ["list-0", "list-bad", "list-4", "list-3", "list-2", "list-1"]
    failed = pb.ListWorkflowsRequest(id_prefix="list-", states=[events_pb.RUN_STATE_ERROR])
    assert [run.workflow_id for run in (await client.stub.ListWorkflows(failed)).workflows] == ["list-bad"]
    first = await client.stub.ListRuns(pb.ListRunsRequest(workflow_id="list-0", page_size=3))
    rest = await client.stub.ListRuns(pb.ListRunsRequest(workflow_id="list-0", page_token=first.next_page_token))
    runs = [*first.runs, *rest.runs]
    assert (len(first.runs), len(rest.runs), rest.next_page_token) == (3, 2, "")
    assert [run.first_seq for run in runs] == [17, 13, 9, 5, 1]
    assert [run.last_seq for run in runs] == [20, 16, 12, 8, 4]
    assert all(run.total_nodes == 1 and run.ended_ms >= run.started_ms for run in runs)
    await client.channel.close()


async def test_retention_deletes_old_runs_and_a_cursor_within_them_is_told(tmp_path: Path) -> None:
    with executor_process(tmp_path, retention_runs="1") as process:
        client = Client(process.address)
        await client.run(noops(1))
        kept = await client.run(noops(1))
        epoch = (await client.snapshot()).epoch
        await client.channel.close()
        assert process.terminate() == 0
        process.start()
        client = Client(process.address)
        cursor = pb.Cursor(epoch=epoch, seq=0)
        async with asyncio.timeout(10):
            compacted = None
            while compacted is None:
                async with client.watch(start_from=pb.WATCH_FROM_CURSOR, cursor=cursor, until_head=True) as watch:
                    await watch.rest()
                compacted = watch.responses[1].compacted if watch.responses[1].HasField("compacted") else None
        assert (compacted.oldest_seq, compacted.head_seq) == (kept[0].seq, kept[-1].seq)
        assert await client.history(after=kept[0].seq - 1) == kept
        await client.channel.close()
