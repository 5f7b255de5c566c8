"""The spans of an executor, as a collector gets them over OTLP from a real process."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.support.executor_client import CALL_SECONDS, Client, is_node, is_terminal
from tests.support.executor_gates import Gate
from tests.support.executor_graphs import chain, definition, node, noops
from tests.support.executor_process import ExecutorDied, ExecutorProcess, executor_process, free_port
from tests.support.otlp_collector import Collector, collector
from weftline.v1 import workflow_service_pb2 as pb

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"
GIVEN = f"00-{TRACE}-{CALLER}-01"
START = "weftline.v1.WorkflowService/StartWorkflow"


@pytest.fixture
async def collected(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Collector]:
    """A collector that the executors of a test are told of."""
    async with collector() as taken:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", taken.endpoint)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
        yield taken


@asynccontextmanager
async def client_of(process: ExecutorProcess) -> AsyncIterator[Client]:
    client = Client(process.address)
    try:
        yield client
    finally:
        await client.channel.close()


async def start(client: Client, workflow: str, traceparent: str = "", workflow_id: str = "w") -> None:
    """Starts a run with a `traceparent` in the call's metadata."""
    request = pb.StartWorkflowRequest(workflow_id=workflow_id, definition_json=workflow, command_id=f"c-{workflow_id}")
    metadata = (("traceparent", traceparent),) if traceparent else None
    await client.stub.StartWorkflow(request, timeout=CALL_SECONDS, metadata=metadata)


async def run(client: Client, workflow: str, traceparent: str = "", workflow_id: str = "w") -> None:
    """Starts a run and waits for its end."""
    async with client.watch(workflow_id=workflow_id, start_from=pb.WATCH_FROM_SNAPSHOT) as watch:
        await start(client, workflow, traceparent, workflow_id)
        await watch.until(is_terminal)


async def test_a_command_its_run_and_the_attempts_are_one_trace_under_the_callers_span(
    tmp_path: Path, collected: Collector
) -> None:
    with executor_process(tmp_path, tracing="true") as process:
        async with client_of(process) as client:
            await run(client, chain(node("a"), node("b", "delay", seconds=0)), GIVEN)
            snapshot = await client.snapshot()
            events = await client.history()
        call = await collected.named(START)
        whole = await collected.named("workflow.run")
        attempts = [await collected.attempt("a"), await collected.attempt("b")]
    assert {span.trace_id for span in collected.spans} == {TRACE}
    assert call.parent_id == CALLER
    assert call.kind == "server"
    assert call.attributes["weftline.command.id"] == "c-w"
    assert call.attributes["weftline.run.id"] == snapshot.run_id
    assert whole.parent_id == call.span_id
    assert {attempt.parent_id for attempt in attempts} == {whole.span_id}
    assert [attempt.attributes["weftline.node.type"] for attempt in attempts] == ["noop", "delay"]
    assert {span.attributes["weftline.outcome"] for span in [whole, *attempts]} == {"success"}
    assert whole.begun <= attempts[0].begun <= attempts[1].ended <= whole.ended
    assert {span.service for span in collected.spans} == {"weftline-executor"}
    # A client finds the trace by what the run's first event and its state say.
    assert events[0].workflow_start.trace_id == snapshot.trace_id == TRACE


async def test_a_run_that_goes_on_after_a_kill_stays_in_its_trace(
    tmp_path: Path, collected: Collector, gate: Gate
) -> None:
    with executor_process(tmp_path, tracing="true") as process:
        async with client_of(process) as client, client.watch(start_from=pb.WATCH_FROM_NOW) as watch:
            await start(client, chain(node("a", "test.step", gate=str(gate)), node("b")), GIVEN)
            await watch.until(is_node("a", "running"))
            call = await collected.named(START)
            process.kill9()
        gate.open()
        process.restart()
        cut = await collected.attempt("a", 1)
        again = await collected.attempt("a", 2)
        after = await collected.attempt("b")
        whole = await collected.named("workflow.run")
    assert {span.trace_id for span in collected.spans} == {TRACE}
    assert {span.parent_id for span in (cut, again, after)} == {whole.span_id}
    assert whole.parent_id == call.span_id
    assert (cut.attributes["weftline.outcome"], cut.attributes["weftline.reason"]) == ("interrupted", "recovered")
    assert cut.begun == whole.begun or whole.begun < cut.begun < cut.ended <= again.begun
    assert again.attributes["weftline.outcome"] == "success"


async def test_retries_waits_and_warnings_are_told_and_a_retried_run_is_another_span_of_the_trace(
    tmp_path: Path, collected: Collector
) -> None:
    retry = {"attempts": 2, "delay": 0.01}
    nodes = [
        node("ask", "approval"),
        node("say", "log", message="mind the gap", level="warn"),
        node("no", "test.fail_with_code", code="as_agreed", policy={"retry": retry}),
    ]
    with executor_process(tmp_path, tracing="true") as process:
        async with client_of(process) as client, client.watch(start_from=pb.WATCH_FROM_NOW) as watch:
            await start(client, chain(*nodes), GIVEN)
            await watch.until(is_node("ask", "pending"))
            await client.stub.CompleteNode(pb.CompleteNodeRequest(workflow_id="w", node_id="ask", data_json="{}"))
            await watch.until(is_terminal)
            other = ("traceparent", f"00-{'1' * 32}-{'2' * 16}-01")
            await client.stub.RetryWorkflow(pb.RetryWorkflowRequest(workflow_id="w"), metadata=(other,))
            await watch.until(is_terminal)
        asked, said = await collected.attempt("ask"), await collected.attempt("say")
        failed = [await collected.attempt("no", number) for number in (1, 2, 3, 4)]
        second = await collected.until(lambda span: span.attributes.get("weftline.run.generation") == 2)
        first = await collected.until(lambda span: span.attributes.get("weftline.run.generation") == 1)
        retried = await collected.named("weftline.v1.WorkflowService/RetryWorkflow")
    assert asked.events == [("waiting", {"weftline.waiting_for": "approval"})]
    assert said.events == [("log", {"weftline.level": "warn", "weftline.message": "mind the gap"})]
    assert [span.error for span in failed] == ["as_agreed"] * 4
    assert [span.attributes.get("weftline.handled") for span in failed] == ["retry", None, "retry", None]
    assert [span.parent_id for span in failed] == [first.span_id] * 2 + [second.span_id] * 2
    assert {first.trace_id, second.trace_id} == {TRACE}
    assert first.error == "as_agreed"
    assert first.ended <= second.begun
    # The command that retried has a trace of its own, which leads to the run's.
    assert (retried.trace_id, retried.links) == ("1" * 32, [TRACE])


async def test_a_run_inside_a_run_is_a_part_of_the_attempt_that_runs_it(tmp_path: Path, collected: Collector) -> None:
    nodes = [node("m", "map", items=[1, 2]), {**node("inner"), "parentId": "m"}]
    with executor_process(tmp_path, tracing="true") as process:
        async with client_of(process) as client:
            await run(client, definition(nodes), GIVEN)
        outer = await collected.attempt("m")
        items = [
            await collected.until(lambda span, item=item: span.attributes.get("weftline.parent.item") == item)  # type: ignore[misc]
            for item in (0, 1)
        ]
        inner = await collected.attempt("inner")
    assert {span.parent_id for span in items} == {outer.span_id}
    assert {span.name for span in items} == {"workflow.run"}
    assert inner.parent_id in {span.span_id for span in items}
    assert {span.trace_id for span in collected.spans} == {TRACE}


async def test_a_rerun_is_a_run_in_the_trace_of_who_asks_for_it_and_what_it_takes_over_is_no_span(
    tmp_path: Path, collected: Collector
) -> None:
    with executor_process(tmp_path, tracing="true") as process:
        async with client_of(process) as client:
            await run(client, noops(3), GIVEN)
            earlier = (await client.snapshot()).run_id
            async with client.watch(start_from=pb.WATCH_FROM_NOW) as watch:
                other = ("traceparent", f"00-{'3' * 32}-{CALLER}-01")
                await client.stub.RerunWorkflow(
                    pb.RerunWorkflowRequest(workflow_id="w", from_node_id="n2"), metadata=(other,)
                )
                await watch.until(is_terminal)
        whole = await collected.until(lambda span: span.attributes.get("weftline.run.rerun_of") == earlier)
        call = await collected.named("weftline.v1.WorkflowService/RerunWorkflow")
    assert (whole.trace_id, whole.parent_id) == ("3" * 32, call.span_id)
    again = [span for span in collected.spans if span.trace_id == whole.trace_id and span.name == "node noop"]
    assert [span.node for span in again] == [("n2", 1)]


async def test_nodes_pass_their_place_in_the_trace_on_to_whom_they_ask(tmp_path: Path, collected: Collector) -> None:
    asked: list[str | None] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.headers.get("traceparent"))
        return web.Response()

    site = web.Application()
    site.router.add_get("/", answer)
    async with TestServer(site) as server:
        nodes = [
            node("h", "http.request", url=str(server.make_url("/"))),
            node("own", "http.request", url=str(server.make_url("/")), headers={"Traceparent": "mine"}),
            node("c", "command", argv=["sh", "-c", "printf %s $TRACEPARENT"]),
            node("p", "python", code="return ctx.traceparent"),
            node("o", "output", value=["{{ nodes.c.output.stdout }}", "{{ nodes.p.output }}"]),
        ]
        settings = {"http_allow_private": "true", "enable_nodes": "command,python"}
        with executor_process(tmp_path, tracing="true", **settings) as process:
            async with client_of(process) as client:
                await run(client, chain(*nodes), GIVEN)
                outputs = (await client.snapshot()).outputs_json
            spans = {name: (await collected.attempt(name)).span_id for name in ("h", "c", "p")}
    assert asked == [f"00-{TRACE}-{spans['h']}-01", "mine"]
    assert f"00-{TRACE}-{spans['c']}-01" in outputs
    assert f"00-{TRACE}-{spans['p']}-01" in outputs


async def test_no_secret_and_no_data_of_a_node_is_in_a_span(tmp_path: Path, collected: Collector) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "TOKEN").write_text("hunter2-hunter2")
    code = (
        'ctx.log("the token is " + ctx.secrets["TOKEN"], "warn")\nraise ValueError("pay-load " + ctx.secrets["TOKEN"])'
    )
    settings = {"enable_nodes": "python", "secrets_dir": str(tmp_path / "secrets")}
    with executor_process(tmp_path, tracing="true", **settings) as process:
        async with client_of(process) as client:
            await run(client, chain(node("s", "set", values={"k": "pay-load"}), node("p", "python", code=code)), GIVEN)
        failed = await collected.attempt("p")
        await collected.named("workflow.run")
    assert failed.events[0][1]["weftline.message"].startswith("the token is ")
    sent = b"".join(collected.raw)
    assert b"hunter2" not in sent
    assert b"pay-load" not in sent


@pytest.mark.parametrize("traceparent", ["", "00-zz-1-01", f"00-{'0' * 32}-{CALLER}-01", "x" * 5000])
async def test_without_a_good_traceparent_a_trace_begins_here(
    tmp_path: Path, collected: Collector, traceparent: str
) -> None:
    with executor_process(tmp_path, tracing="true") as process:
        async with client_of(process) as client:
            await run(client, noops(1), traceparent)
            snapshot = await client.snapshot()
        call, whole = await collected.named(START), await collected.named("workflow.run")
    assert call.parent_id == ""
    assert whole.trace_id == call.trace_id == snapshot.trace_id


async def test_what_the_caller_does_not_record_and_the_ratio_leaves_out_makes_no_span(
    tmp_path: Path, collected: Collector
) -> None:
    with executor_process(tmp_path, tracing="true", tracing_ratio="0") as process:
        async with client_of(process) as client:
            await run(client, noops(2), workflow_id="chance")
            await run(client, noops(2), f"00-{'5' * 32}-{CALLER}-00", workflow_id="not-recorded")
            assert (await client.snapshot("not-recorded")).trace_id == ""
            await run(client, noops(2), GIVEN, workflow_id="recorded")
        assert await asyncio.to_thread(process.terminate) == 0
    assert {span.trace_id for span in collected.spans} == {TRACE}
    assert {span.attributes["weftline.workflow.id"] for span in collected.spans} == {"recorded"}


async def test_the_end_of_the_process_sends_what_is_left(
    tmp_path: Path, collected: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "600000")
    with executor_process(tmp_path, tracing="true") as process:
        async with client_of(process) as client:
            await run(client, noops(3), GIVEN)
        assert collected.spans == []
        assert await asyncio.to_thread(process.terminate) == 0
    assert len(collected.spans) == 5


async def test_a_run_does_not_care_whether_its_spans_arrive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "16")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "8")
    with executor_process(tmp_path, tracing="true") as process:
        async with client_of(process) as client:
            await run(client, noops(200), GIVEN)
            assert (await client.snapshot()).progress.completed_nodes == 200
        assert await asyncio.to_thread(process.terminate) == 0
        assert "Queue full" in process.log.read_text()


async def test_a_collector_that_never_answers_keeps_nobody_from_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "600")
        with executor_process(tmp_path, tracing="true") as process:
            async with client_of(process) as client:
                await run(client, noops(3), GIVEN)
            assert await asyncio.to_thread(process.terminate) == 0
            assert "spans that could not be sent within 3 s are lost" in process.log.read_text()


async def test_a_run_that_nobody_can_go_on_with_is_ended_in_its_trace_too(
    tmp_path: Path, collected: Collector, gate: Gate
) -> None:
    with executor_process(tmp_path, tracing="true") as process:
        async with client_of(process) as client, client.watch(start_from=pb.WATCH_FROM_NOW) as watch:
            await start(client, chain(node("a", "test.step", gate=str(gate))), GIVEN)
            await watch.until(is_node("a", "running"))
            process.kill9()
        process.settings["NODES"] = "tests.support.process_nodes"
        process.restart()
        cut, whole = await collected.attempt("a"), await collected.named("workflow.run")
    assert (cut.error, whole.error) == ("interrupted", "not_recoverable")
    assert (cut.trace_id, cut.parent_id) == (TRACE, whole.span_id)


async def test_where_tracing_is_off_nothing_of_it_is_imported_kept_or_passed_on(
    tmp_path: Path, collected: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")
    with executor_process(tmp_path, enable_nodes="python") as process:
        async with client_of(process) as client:
            await run(client, chain(node("p", "python", code="return ctx.traceparent"), node("o", "output")), GIVEN)
            snapshot = await client.snapshot()
        assert await asyncio.to_thread(process.terminate) == 0
        imported = process.log.read_text()
    assert "weftline_executor.tracing" in imported
    assert "opentelemetry" not in imported
    assert snapshot.trace_id == ""
    assert GIVEN[3:20] not in snapshot.outputs_json
    assert collected.spans == []


def refuse_to_start(folder: Path) -> str:
    process = ExecutorProcess(folder, {"TRACING": "true"})
    try:
        with pytest.raises(ExecutorDied) as died:
            process.start()
    finally:
        process.close()
    assert died.value.status == 2
    return died.value.log


def test_tracing_without_the_extra_ends_the_start_with_a_sentence_that_names_both(tmp_path: Path) -> None:
    # This is found before the SDK, as if that were not installed.
    (tmp_path / "opentelemetry").mkdir()
    (tmp_path / "opentelemetry" / "__init__.py").touch()
    log = refuse_to_start(tmp_path)
    assert "WEFTLINE_EXECUTOR_TRACING" in log
    assert "`otel`" in log
    assert "Traceback" not in log


def test_a_variable_of_opentelemetry_that_cannot_be_used_ends_the_start_with_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    assert "OTEL_EXPORTER_OTLP_PROTOCOL" in refuse_to_start(tmp_path)
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_PROTOCOL")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "soon")
    assert "OTEL_" in refuse_to_start(tmp_path)


async def test_a_call_that_is_refused_is_a_span_that_says_why(tmp_path: Path, collected: Collector) -> None:
    with executor_process(tmp_path, tracing="true") as process:
        async with client_of(process) as client:
            with pytest.raises(grpc.aio.AioRpcError):
                await client.stub.PauseWorkflow(pb.PauseWorkflowRequest(workflow_id="nobody", command_id="c"))
        call = await collected.named("weftline.v1.WorkflowService/PauseWorkflow")
    assert call.error == call.attributes["error.type"] == "workflow_not_found"
