"""TLS between the executor and those who call it: who is let in, who is known, and certificates that are replaced."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_reflection.v1alpha import reflection_pb2
from grpc_status import rpc_status

from tests.support.bridge import PATIENCE, eventually, running_bridge
from tests.support.certificates import Authority, Pair
from tests.support.executor_engine import running_executor
from tests.support.executor_process import ExecutorProcess
from weftline.v1 import workflow_service_pb2 as pb
from weftline.v1.workflow_service_pb2_grpc import WorkflowServiceStub
from weftline_bridge.errors import ConfigurationError
from weftline_bridge.settings import load_settings
from weftline_bridge.upstream import TlsFiles
from weftline_cli.client import ExecutorClient
from weftline_cli.errors import UnavailableError, UsageError


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def serving(pair: Pair, authority: Authority | None = None) -> dict[str, Any]:
    """The executor's settings; with an authority its clients have to show a certificate of it."""
    settings: dict[str, Any] = {"tls_cert": pair.cert, "tls_key": pair.key}
    return settings | ({"tls_client_ca": authority.ca} if authority is not None else {})


def calling(authority: Authority, pair: Pair | None = None) -> dict[str, Any]:
    """The bridge's settings."""
    settings: dict[str, Any] = {"tls_ca": authority.ca}
    return settings | ({"tls_cert": pair.cert, "tls_key": pair.key} if pair is not None else {})


def channel_credentials(authority: Authority, pair: Pair | None = None) -> grpc.ChannelCredentials:
    """What a client calls with."""
    key, cert = (pair.key.read_bytes(), pair.cert.read_bytes()) if pair is not None else (None, None)
    return grpc.ssl_channel_credentials(authority.ca.read_bytes(), key, cert)


@asynccontextmanager
async def channel(address: str, authority: Authority, pair: Pair | None = None) -> AsyncIterator[WorkflowServiceStub]:
    """A client over TLS, without what the bridge adds."""
    async with grpc.aio.secure_channel(address, channel_credentials(authority, pair)) as found:
        yield WorkflowServiceStub(found)


async def status_of(stub: WorkflowServiceStub) -> grpc.StatusCode:
    """What a question is answered with."""
    try:
        await stub.ListWorkflows(pb.ListWorkflowsRequest(), timeout=10)
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def refusal(call: Awaitable[object]) -> str:
    """Why a call is refused, by its code; empty when it is not."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        status = rpc_status.from_call(error)  # type: ignore[arg-type]
        info = error_details_pb2.ErrorInfo()
        info.ParseFromString(status.details[0].value if status is not None else b"")
        return str(info.reason)
    return ""


async def shown(address: str) -> bytes:
    """The certificate that the executor shows now."""
    host, _, port = address.rpartition(":")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    async with asyncio.timeout(PATIENCE):
        _, writer = await asyncio.open_connection(host, int(port), ssl=context)
    found = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return bytes(found)


@pytest.mark.parametrize("mutual", [True, False])
async def test_a_bridge_works_over_tls_and_shows_who_it_is(authority: Authority, mutual: bool) -> None:
    server, own = authority.pair("executor"), authority.pair("bridge")
    async with (
        running_executor(**serving(server, authority if mutual else None)) as executor,
        running_bridge(executor.address, **calling(authority, own if mutual else None)) as bridge,
    ):
        await eventually(lambda: bridge.bridge.hub.connected)
        client = await bridge.connect()
        await client.subscribe("wf")
        await client.send("workflow.start", "wf", {"nodes": [{"id": "a", "type": "noop"}], "edges": []})
        await client.of_type("execution.complete")


async def test_a_client_without_a_certificate_of_the_authority_gets_nowhere(
    authority: Authority, tmp_path: Path
) -> None:
    other = Authority(tmp_path, "another")
    async with running_executor(**serving(authority.pair("executor"), authority)) as executor:
        for pair, code in (
            (authority.pair("bridge"), grpc.StatusCode.OK),
            (other.pair("stranger"), grpc.StatusCode.UNAVAILABLE),
            (None, grpc.StatusCode.UNAVAILABLE),
        ):
            async with channel(executor.address, authority, pair) as stub:
                assert await status_of(stub) is code
        async with grpc.aio.insecure_channel(executor.address) as plain:
            assert await status_of(WorkflowServiceStub(plain)) is grpc.StatusCode.UNAVAILABLE


async def test_only_clients_whose_certificate_has_one_of_the_names_are_let_in(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    names = ("bridge", "console.internal")
    settings = serving(authority.pair("executor"), authority) | {"tls_client_names": names}
    async with running_executor(**settings) as executor:
        for pair in (authority.pair("bridge"), authority.pair("a-service", dns="console.internal")):
            async with channel(executor.address, authority, pair) as stub:
                assert await status_of(stub) is grpc.StatusCode.OK
                request = pb.WatchEventsRequest(workflow_id="wf", until_head=True)
                created, *_ = [response async for response in stub.WatchEvents(request)]
                assert created.HasField("created")
        for pair in (authority.pair("other"), authority.pair("bridge.evil", dns="bridge2")):
            async with channel(executor.address, authority, pair) as stub:
                assert await status_of(stub) is grpc.StatusCode.PERMISSION_DENIED
    assert sum("is not let in" in record.message for record in caplog.records) == 1


async def test_no_call_of_any_kind_gets_around_the_names_of_clients(authority: Authority) -> None:
    settings = serving(authority.pair("executor"), authority) | {"tls_client_names": ("bridge",)}
    watch = pb.WatchEventsRequest(workflow_id="wf", until_head=True).SerializeToString()
    listing = reflection_pb2.ServerReflectionRequest(list_services="").SerializeToString()
    async with running_executor(**settings) as executor:
        for name, reason in (("bridge", ""), ("other", "client_not_allowed")):
            credentials = channel_credentials(authority, authority.pair(name))
            async with grpc.aio.secure_channel(executor.address, credentials) as found:
                calls: Any = found
                service, health = "/weftline.v1.WorkflowService", "/grpc.health.v1.Health"
                reflection = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
                assert [
                    await refusal(calls.unary_unary(f"{service}/ListNodeTypes")(b"", timeout=10)),
                    await refusal(calls.unary_stream(f"{service}/WatchEvents")(watch, timeout=10).read()),
                    await refusal(calls.unary_unary(f"{health}/Check")(b"", timeout=10)),
                    await refusal(calls.unary_stream(f"{health}/Watch")(b"", timeout=10).read()),
                    await refusal(calls.stream_stream(reflection)(iter([listing]), timeout=10).read()),
                ] == [reason] * 5


async def test_a_bridge_calls_no_executor_of_another_authority_or_name(authority: Authority, tmp_path: Path) -> None:
    other = Authority(tmp_path, "another")
    own = authority.pair("bridge")
    async with (
        running_executor(**serving(other.pair("executor"))) as impostor,
        channel(impostor.address, authority, own) as stub,
    ):
        assert await status_of(stub) is grpc.StatusCode.UNAVAILABLE
    elsewhere = authority.pair("elsewhere", "192.0.2.1", dns="executor.example")
    async with running_executor(**serving(elsewhere)) as executor:
        async with channel(executor.address, authority, own) as stub:
            assert await status_of(stub) is grpc.StatusCode.UNAVAILABLE
        named = calling(authority) | {"tls_server_name": "executor.example"}
        async with running_bridge(executor.address, **named) as bridge:
            await eventually(lambda: bridge.bridge.hub.connected)


async def test_a_replaced_certificate_is_shown_without_a_restart_and_a_broken_one_is_not(
    authority: Authority, tmp_path: Path
) -> None:
    pair = authority.pair("executor")
    async with running_executor(**serving(pair)) as executor:
        first = await shown(executor.address)
        authority.pair("executor")
        second = await shown(executor.address)
        assert second != first
        pair.key.write_text("no key")
        assert await shown(executor.address) == second
        async with channel(executor.address, authority) as stub:
            assert await status_of(stub) is grpc.StatusCode.OK


async def test_a_bridge_goes_on_when_its_certificate_and_the_authority_are_replaced(
    authority: Authority, tmp_path: Path
) -> None:
    server, own = authority.pair("executor"), authority.pair("bridge")
    async with running_executor(**serving(server, authority)) as executor:
        settings = calling(authority, own) | {"tls_refresh": 0.05, "command_timeout": 1.0}
        async with running_bridge(executor.address, **settings) as bridge:
            await eventually(lambda: bridge.bridge.hub.connected)
            pool = bridge.bridge.client._pool
            before = pool._channels
            renewed = Authority(tmp_path)
            renewed.pair("executor")
            renewed.pair("bridge")
            await eventually(lambda: pool._channels is not before)
            client = await bridge.connect()
            assert (await client.subscribe("wf"))["type"] == "workflow.subscribed"
            await client.send("workflow.start", "wf", {"nodes": [{"id": "a", "type": "noop"}], "edges": []})
            await client.of_type("execution.complete")


async def test_the_command_line_calls_over_tls_by_files_of_its_environment(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = authority.pair("person")
    async with running_executor(**serving(authority.pair("executor"), authority)) as executor:
        monkeypatch.setenv("WEFTLINE_TLS_CA", str(authority.ca))
        monkeypatch.setenv("WEFTLINE_TLS_CERT", str(own.cert))
        with pytest.raises(UsageError, match="WEFTLINE_TLS_KEY belong together"):
            ExecutorClient(executor.address)
        monkeypatch.setenv("WEFTLINE_TLS_KEY", str(own.key))
        async with ExecutorClient(executor.address) as client:
            assert any(each.name == "noop" for each in await client.node_types())
        async with ExecutorClient(executor.address, plaintext=True) as client:
            with pytest.raises(UnavailableError):
                await client.node_types()
        monkeypatch.setenv("WEFTLINE_TLS_CA", "/nowhere")
        with pytest.raises(UsageError, match="can't be read"):
            ExecutorClient(executor.address)


@pytest.mark.parametrize(
    ("settings", "named", "problem"),
    [
        ({"LISTEN": "0.0.0.0:0"}, "LISTEN", "ALLOW_PLAINTEXT=true"),
        ({"LISTEN": "[::]:0"}, "LISTEN", "ALLOW_PLAINTEXT=true"),
        ({"TLS_CERT": "/nowhere"}, "TLS_CERT", "belong together"),
        ({"TLS_CERT": "/nowhere", "TLS_KEY": "/nowhere"}, "TLS_CERT", "No such file"),
        ({"TLS_CLIENT_CA": "/nowhere"}, "TLS_CLIENT_CA", "asks for"),
        ({"TLS_CLIENT_NAMES": "bridge"}, "TLS_CLIENT_NAMES", "asks for"),
    ],
)
def test_an_executor_that_would_be_unsafe_does_not_start(
    tmp_path: Path, settings: dict[str, str], named: str, problem: str
) -> None:
    process = ExecutorProcess(tmp_path, settings)
    process.launch()
    assert process.wait() == 2
    log = process.log.read_text()
    assert f"WEFTLINE_EXECUTOR_{named}" in log
    assert problem in log
    assert "Traceback" not in log


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"tls_cert": "/c", "tls_key": "/k"}, "TLS_CA"),
        ({"tls_ca": "/nowhere"}, "TLS_CA"),
        ({"tls_ca": "/dev/null"}, "TLS_CA"),
        ({"tls_ca": "/nowhere", "tls_cert": "/c"}, "TLS_CERT"),
    ],
)
def test_a_bridge_refuses_files_of_tls_that_can_not_be_used(settings: dict[str, str], named: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        TlsFiles.of(load_settings(**settings))
    assert raised.value.setting == f"WEFTLINE_BRIDGE_{named}"
