"""What a client may view and control: subscriptions, broadcasts, commands, lists and artifacts."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support import events
from tests.support.bridge import Client, Json, RunningBridge, running_bridge
from tests.support.scripted_executor import ScriptedExecutor, running_executor
from tests.support.tokens import SECRET, bearer, permitting, token

AUTH: dict[str, Any] = {"auth_secret": SECRET}


def workflows_seen(client: Client) -> set[str]:
    """The workflows that a client was told of in any message."""
    named = {message["workflowId"] for message in client.seen} - {"", "*"}
    heads = [message["payload"]["heads"] for message in client.seen if message["type"] == "heartbeat"]
    return named.union(*heads)


async def answer(client: Client, kind: str, workflow_id: str, payload: Json | None = None) -> Json:
    """Send a command; its answer."""
    message_id = await client.send(kind, workflow_id, payload)
    return await client.until(lambda message: message["payload"].get("commandId") == message_id)


def run_on(executor: ScriptedExecutor, workflow_id: str) -> None:
    """Have a workflow begin, make progress and log."""
    executor.append(workflow_id, events.start("a"), events.running("a"), events.log("hello"))
    executor.tell(workflow_id, events.tick("a", 0.5))


@pytest.mark.parametrize(("dialect", "late"), [("plain", False), ("plain", True), ("weftline.v1", False)])
async def test_a_broadcast_holds_only_what_the_token_permits(dialect: str, late: bool) -> None:
    settings = {**AUTH, "heartbeat_interval": 0.5, "heartbeat_timeout": 60.0}
    async with running_executor() as executor, running_bridge(executor, **settings) as bridge:
        everything = await bridge.connect("plain", headers=bearer(token()))
        await bridge.eventually(lambda: bridge.bridge.hub.watches_all)
        if late:
            run_on(executor, "secret-1")
            run_on(executor, "orders-1")
            await everything.seqs("orders-1", 3)
        client = await bridge.connect(dialect, headers=bearer(permitting(view=["orders-*"])))
        if dialect == "weftline.v1":
            await client.subscribe("*", logs="info")
        for workflow_id in ("secret-2", "orders-2"):
            run_on(executor, workflow_id)
        executor.append("secret-2", events.complete())
        executor.append("orders-2", events.complete())
        await client.seqs("orders-2", 4)
        for workflow_id in ("secret-2", "orders-2"):
            await everything.seqs(workflow_id, 4)
        await client.of_type("heartbeat")
        expected = {"orders-1", "orders-2"} if late else {"orders-2"}
        assert workflows_seen(client) == expected
        assert workflows_seen(everything) >= {"secret-2", "orders-2"}


async def test_a_broadcast_stays_within_its_bounds_when_the_log_is_replaced() -> None:
    async with running_executor() as executor, running_bridge(executor, **AUTH) as bridge:
        client = await bridge.connect("plain", headers=bearer(permitting(view=["orders-*"])))
        await bridge.eventually(lambda: bridge.bridge.hub.watches_all)
        run_on(executor, "secret")
        run_on(executor, "orders-1")
        await client.seqs("orders-1", 3)
        executor.wipe()
        run_on(executor, "secret")
        run_on(executor, "orders-2")
        executor.cut()
        await client.until(lambda message: message["workflowId"] == "orders-2")
        executor.append("orders-2", events.complete())
        await client.of_type("execution.complete")
        assert workflows_seen(client) == {"orders-1", "orders-2"}


async def test_a_subscription_needs_permission_to_view() -> None:
    async with running_executor() as executor, running_bridge(executor, **AUTH) as bridge:
        client = await bridge.connect(headers=bearer(permitting(view=["orders-*"], control=["mine"])))
        assert (await client.subscribe("secret"))["payload"]["code"] == "forbidden"
        assert (await client.subscribe("orders-1"))["type"] == "workflow.subscribed"
        assert (await client.subscribe("mine"))["type"] == "workflow.subscribed"
        assert "secret" not in bridge.bridge.hub.feeds


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("workflow.start", {"nodes": [], "edges": []}),
        ("workflow.pause", {}),
        ("workflow.resume", {}),
        ("workflow.stop", {}),
        ("workflow.retry", {}),
        ("workflow.rerun", {"fromNodeId": "a"}),
        ("node.complete", {"nodeId": "a"}),
    ],
)
async def test_a_command_needs_permission_to_control(kind: str, payload: Json) -> None:
    async with running_executor() as executor, running_bridge(executor, **AUTH) as bridge:
        client = await bridge.connect(headers=bearer(permitting(view=["*"], control=["mine-*"])))
        assert (await answer(client, kind, "theirs", payload))["payload"]["code"] == "forbidden"
        assert executor.commands == []
        await answer(client, kind, "mine-1", payload)
        assert [command.workflow_id for command in executor.commands] == ["mine-1"]


async def test_a_plain_client_is_refused_by_an_error_of_its_own() -> None:
    async with running_executor() as executor, running_bridge(executor, **AUTH) as bridge:
        client = await bridge.connect("plain", headers=bearer(permitting(view=["*"])))
        refused = await answer(client, "workflow.stop", "wf")
        assert (refused["type"], refused["payload"]["code"]) == ("execution.error", "forbidden")


async def test_a_new_token_widens_and_narrows_what_is_seen_of_all_workflows() -> None:
    async with running_executor() as executor, running_bridge(executor, **AUTH) as bridge:
        client = await bridge.connect(headers=bearer(permitting(view=["a-*"])))
        await client.subscribe("*")
        run_on(executor, "a-1")
        run_on(executor, "b-1")
        await client.seqs("a-1", 3)
        await bridge.eventually(lambda: "b-1" in bridge.bridge.hub.feeds and bridge.bridge.hub.feeds["b-1"].head == 3)
        await answer(client, "auth.refresh", "", {"token": permitting(view=["b-*"])})
        snapshot = await client.of_type("workflow.snapshot")
        assert snapshot["workflowId"] == "b-1"
        executor.append("a-1", events.log("unseen"))
        executor.append("b-1", events.log("seen"))
        await client.seqs("b-1", 4)
        assert client.seqs_seen("a-1") == [1, 2, 3]


async def test_a_new_token_that_forbids_a_subscription_ends_the_connection_with_4403() -> None:
    async with running_executor() as executor, running_bridge(executor, **AUTH) as bridge:
        client = await bridge.connect(headers=bearer(permitting(view=["a", "b"])))
        await client.subscribe("a")
        refused = await answer(client, "auth.refresh", "", {"token": permitting(view=["b"])})
        assert refused["payload"]["code"] == "forbidden"
        assert await client.close_code() == 4403


FOLLOWED = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
"""What a browser says when somebody follows a link from another page."""


async def listed(bridge: RunningBridge, path: str, headers: dict[str, str]) -> tuple[int, Json]:
    async with bridge.http.get(bridge.url + path, headers=headers) as response:
        return response.status, await response.json()


@pytest.mark.parametrize("path", ["/api/workflows", "/api/connections", "/api/artifacts/weftline:019/00"])
async def test_the_api_asks_for_a_token_as_the_socket_does(path: str) -> None:
    async with running_executor() as executor, running_bridge(executor, **AUTH, auth_cookie="weftline") as bridge:
        executor.artifacts["weftline:019/00"] = [b"{}"]
        for headers, status, code in (
            ({}, 401, "unauthenticated"),
            (bearer(token(exp=1)), 401, "token_expired"),
            ({"Cookie": f"weftline={token()}"}, 401, "token_cookie"),
            ({"Cookie": f"weftline={token()}", "Sec-Fetch-Site": "cross-site"}, 403, "foreign_origin"),
            ({"Cookie": f"weftline={token()}", **FOLLOWED}, 401, "token_cookie"),
            (bearer(permitting()), 403, "forbidden"),
        ):
            found, problem = await listed(bridge, path, headers)
            assert (found, problem["code"]) == (status, code)
        own = {"Cookie": f"weftline={token()}", "Sec-Fetch-Site": "same-origin", "Accept": "application/json"}
        for headers in ({**bearer(token()), "Accept": "application/json"}, own):
            assert (await listed(bridge, path, headers))[0] == 200


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz"])
async def test_probes_and_the_page_ask_for_no_token(path: str) -> None:
    async with (
        running_executor() as executor,
        running_bridge(executor, **AUTH) as bridge,
        bridge.http.get(bridge.url + path) as response,
    ):
        assert response.status == 200


async def test_lists_hold_only_what_the_token_permits() -> None:
    async with running_executor() as executor, running_bridge(executor, **AUTH) as bridge:
        run_on(executor, "orders-1")
        run_on(executor, "secret")
        mine = bearer(permitting("ada", view=["orders-*"]))
        await bridge.connect(headers=mine)
        await bridge.connect(headers=bearer(token("grace")))
        await bridge.eventually(lambda: len(bridge.bridge.registry) == 2)
        _, page = await listed(bridge, "/api/workflows", mine)
        assert [item["workflowId"] for item in page["workflows"]] == ["orders-1"]
        _, connections = await listed(bridge, "/api/connections", mine)
        assert [item["subject"] for item in connections["connections"]] == ["ada"]
        _, connections = await listed(bridge, "/api/connections", bearer(token("grace")))
        assert [item["subject"] for item in connections["connections"]] == ["ada", "grace"]


async def test_an_artifact_is_given_to_who_may_view_the_workflow_of_its_run() -> None:
    async with running_executor() as executor, running_bridge(executor, **AUTH) as bridge:
        for workflow_id in ("orders-1", "secret"):
            run_on(executor, workflow_id)
        uris = {
            name: f"weftline:{executor.log.workflows[name].after(0)[0].run_id}/00" for name in ("orders-1", "secret")
        }
        executor.artifacts |= {uri: [b'"it"'] for uri in uris.values()}
        headers = {**bearer(permitting(view=["orders-*"])), "Accept": "application/json"}
        for uri, query, status in (
            (uris["orders-1"], "?workflowId=orders-1", 200),
            (uris["orders-1"], "", 400),
            (uris["orders-1"], "?workflowId=orders-2", 404),
            (uris["secret"], "?workflowId=secret", 403),
            (uris["secret"], "?workflowId=orders-1", 404),
        ):
            assert (await listed(bridge, f"/api/artifacts/{uri}{query}", headers))[0] == status, (uri, query)
