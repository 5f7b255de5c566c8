"""One trace from a client's command over WebSocket through both services to the attempts of its nodes."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from tests.support.executor_gates import Gate
from tests.support.otlp_collector import Collector, collector
from tests.support.stack import Stack, free_ports, running_stack

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CLIENT = "00f067aa0ba902b7"
GIVEN = f"00-{TRACE}-{CLIENT}-01"
TRACING = {
    "WEFTLINE_EXECUTOR_TRACING": "true",
    "WEFTLINE_BRIDGE_TRACING": "true",
    "WEFTLINE_EXECUTOR_NODES": "tests.support.test_nodes",
}
START = "weftline.v1.WorkflowService/StartWorkflow"
WAIT_SECONDS = 30.0


@pytest.fixture
async def collected(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Collector]:
    """A collector that the services of a test are told of."""
    async with collector() as taken:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", taken.endpoint)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
        yield taken


class Browser:
    """A client of `weftline.v1` that keeps all that it gets."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._waiting: list[dict[str, Any]] = []

    async def send(self, kind: str, payload: dict[str, Any], **envelope: Any) -> None:
        message = {"id": kind, "type": kind, "timestamp": 0, "workflowId": "w", "payload": payload, **envelope}
        await self._socket.send_str(json.dumps(message))

    async def until(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Waits for a message of this type whose payload has these fields."""
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                while self._waiting:
                    message = self._waiting.pop(0)
                    if message["type"] == kind and fields.items() <= message["payload"].items():
                        return message
                frame = await self._socket.receive()
                assert frame.type is aiohttp.WSMsgType.TEXT, frame
                self._waiting += json.loads(frame.data)


def workflow(*nodes: dict[str, Any]) -> dict[str, Any]:
    edges = [{"source": a["id"], "target": b["id"]} for a, b in pairwise(nodes)]
    return {"nodes": list(nodes), "edges": edges}


def noop(node_id: str) -> dict[str, Any]:
    return {"id": node_id, "type": "noop", "data": {}}


async def run(stack: Stack, traceparent: object) -> dict[str, Any]:
    """Runs a workflow of one node to its end; gives the payload of what told that it began."""
    async with aiohttp.ClientSession() as session, session.ws_connect(stack.http, protocols=("weftline.v1",)) as socket:
        browser = Browser(socket)
        await browser.send("workflow.subscribe", {})
        await browser.send("workflow.start", workflow(noop("a")), traceparent=traceparent, id=uuid4().hex)
        begun = await browser.until("workflow.start")
        await browser.until("execution.complete")
    payload: dict[str, Any] = begun["payload"]
    return payload


async def test_a_command_over_websocket_and_all_that_it_starts_is_one_trace_also_over_a_kill(
    tmp_path: Path, collected: Collector
) -> None:
    gate = Gate(tmp_path / "gate")
    step = {"id": "a", "type": "test.step", "data": {"gate": str(gate)}}
    async with (
        running_stack(tmp_path, **TRACING) as stack,
        aiohttp.ClientSession() as session,
        session.ws_connect(stack.http, protocols=("weftline.v1",)) as socket,
    ):
        browser = Browser(socket)
        await browser.send("workflow.subscribe", {})
        await browser.send("workflow.start", workflow(step, noop("b")), traceparent=GIVEN)
        begun = await browser.until("workflow.start")
        await browser.until("node.running", nodeId="a")
        command, call = await collected.named("workflow.start"), await collected.named(START)
        await stack.executor.kill()
        gate.open()
        await stack.executor.start()
        await browser.until("execution.complete")
        attempts = [await collected.attempt(*each) for each in (("a", 1), ("a", 2), ("b", 1))]
        whole = await collected.named("workflow.run")
        await browser.send("workflow.unsubscribe", {})
        await browser.send("workflow.subscribe", {})
        snapshot = await browser.until("workflow.snapshot")
    assert {span.trace_id for span in collected.spans} == {TRACE}
    assert (command.parent_id, command.kind, command.service) == (CLIENT, "server", "weftline-bridge")
    assert command.attributes == {
        "weftline.workflow.id": "w",
        "weftline.command.id": "workflow.start",
        "weftline.outcome": "accepted",
    }
    assert call.parent_id == command.span_id
    assert whole.parent_id == call.span_id
    assert {attempt.parent_id for attempt in attempts} == {whole.span_id}
    assert [attempt.attributes["weftline.outcome"] for attempt in attempts] == ["interrupted", "success", "success"]
    assert begun["payload"]["traceId"] == snapshot["payload"]["traceId"] == TRACE


async def test_a_command_that_is_refused_says_so_in_its_span(tmp_path: Path, collected: Collector) -> None:
    async with (
        running_stack(tmp_path, **TRACING) as stack,
        aiohttp.ClientSession() as session,
        session.ws_connect(stack.http, protocols=("weftline.v1",)) as socket,
    ):
        browser = Browser(socket)
        await browser.send("workflow.pause", {}, traceparent=GIVEN)
        await browser.until("command.rejected")
        command = await collected.named("workflow.pause")
        call = await collected.named("weftline.v1.WorkflowService/PauseWorkflow")
    assert command.error == call.error == "workflow_not_found"
    assert (command.attributes["weftline.outcome"], call.parent_id) == ("refused", command.span_id)


@pytest.mark.parametrize("traceparent", [None, 7, "no", {"a": []}, f"ff-{TRACE}-{CLIENT}-01", "0" * 9000])
async def test_what_is_no_traceparent_is_no_fault_and_begins_a_trace(
    tmp_path: Path, collected: Collector, traceparent: object
) -> None:
    async with running_stack(tmp_path, **TRACING) as stack:
        payload = await run(stack, traceparent)
        command, whole = await collected.named("workflow.start"), await collected.named("workflow.run")
    assert command.parent_id == ""
    assert payload["traceId"] == command.trace_id == whole.trace_id


async def test_a_bridge_that_does_not_trace_passes_the_clients_context_on(tmp_path: Path, collected: Collector) -> None:
    async with running_stack(tmp_path, **{**TRACING, "WEFTLINE_BRIDGE_TRACING": "false"}) as stack:
        await run(stack, GIVEN)
        call = await collected.named(START)
        await collected.named("workflow.run")
    assert (call.trace_id, call.parent_id) == (TRACE, CLIENT)
    assert {span.service for span in collected.spans} == {"weftline-executor"}


async def test_an_executor_that_does_not_trace_leaves_the_bridges_span(tmp_path: Path, collected: Collector) -> None:
    async with running_stack(tmp_path, **{**TRACING, "WEFTLINE_EXECUTOR_TRACING": "false"}) as stack:
        payload = await run(stack, GIVEN)
        await collected.named("workflow.start")
    assert "traceId" not in payload
    assert [span.service for span in collected.spans] == ["weftline-bridge"]


async def test_the_end_of_the_bridge_sends_what_is_left_and_a_ratio_of_none_records_nothing(
    tmp_path: Path, collected: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "600000")
    settings = {"WEFTLINE_BRIDGE_TRACING_RATIO": "0", "WEFTLINE_BRIDGE_DRAIN_SECONDS": "0"}
    async with running_stack(tmp_path, **TRACING, **settings) as stack:
        assert "traceId" not in await run(stack, None)
        await run(stack, GIVEN)
        assert collected.spans == []
        assert await stack.bridge.terminate() == 0
    assert [(span.name, span.trace_id) for span in collected.spans] == [("workflow.start", TRACE)]


async def test_no_collector_keeps_no_service_from_its_work_or_from_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{free_ports(1)[0]}")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    async with running_stack(tmp_path, **TRACING, WEFTLINE_BRIDGE_DRAIN_SECONDS="0") as stack:
        await run(stack, GIVEN)
        assert await stack.bridge.terminate() == 0
        assert await stack.executor.terminate() == 0


async def test_where_tracing_is_off_a_bridge_imports_nothing_of_it(
    tmp_path: Path, collected: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")
    async with running_stack(tmp_path) as stack:
        payload = await run(stack, GIVEN)
        await stack.bridge.terminate()
        imported = (tmp_path / "bridge.log").read_text()
    assert "weftline_bridge.tracing" in imported
    assert "opentelemetry" not in imported
    assert "traceId" not in payload
    assert collected.spans == []


def refuse_to_start(folder: Path) -> str:
    """What a bridge says that cannot start."""
    command = [sys.executable, "-m", "weftline_bridge"]
    ended = subprocess.run(command, check=False, cwd=folder, capture_output=True, text=True, timeout=WAIT_SECONDS)
    assert ended.returncode == 2
    return ended.stderr


def test_tracing_without_the_extra_ends_the_start_with_a_sentence_that_names_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEFTLINE_BRIDGE_TRACING", "true")
    # This is found before the SDK, as if that were not installed.
    (tmp_path / "opentelemetry").mkdir()
    (tmp_path / "opentelemetry" / "__init__.py").touch()
    said = refuse_to_start(tmp_path)
    assert said.startswith("weftline-bridge: WEFTLINE_BRIDGE_TRACING: ")
    assert "`otel`" in said


def test_a_variable_of_opentelemetry_that_cannot_be_used_ends_the_start_with_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEFTLINE_BRIDGE_TRACING", "true")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")
    assert "OTEL_EXPORTER_OTLP_PROTOCOL: " in refuse_to_start(tmp_path)
