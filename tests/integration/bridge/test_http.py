"""The HTTP face: probes, the page, the API and the metrics."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from tests.support import events
from tests.support.bridge import RunningBridge, eventually, running_bridge
from tests.support.scripted_executor import running_executor


async def get(bridge: RunningBridge, path: str) -> tuple[int, str]:
    async with bridge.http.get(bridge.url + path) as response:
        return response.status, await response.text()


async def test_it_is_healthy_always_and_ready_while_the_executor_is_there() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        assert await get(bridge, "/healthz") == (200, "ok\n")
        assert await get(bridge, "/readyz") == (200, "ok\n")
        await executor.stop()
        await eventually(lambda: not bridge.bridge.hub.connected)
        assert (await get(bridge, "/readyz"))[0] == 503
        assert (await get(bridge, "/healthz"))[0] == 200
        await executor.start()
        await eventually(lambda: bridge.bridge.hub.connected)
        assert (await get(bridge, "/readyz"))[0] == 200


async def test_a_browser_sees_a_page_that_says_what_this_is() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        async with bridge.http.get(bridge.url + "/") as response:
            assert response.content_type == "text/html"
            page = await response.text()
        assert "Weftline bridge 0.1.0" in page
        assert bridge.metrics_url in page


async def test_connections_are_listed_with_what_they_cost() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        client, plain = await bridge.connect(), await bridge.connect("plain")
        await client.subscribe("wf")
        await plain.next()
        async with bridge.http.get(bridge.url + "/api/connections") as response:
            listed = (await response.json())["connections"]
        assert [(each["dialect"], each["subscriptions"]) for each in listed] == [("v1", ["wf"]), ("plain", ["*"])]
        first = listed[0]
        assert (first["address"], first["subject"], first["mode"]) == ("127.0.0.1", "anonymous", "normal")
        assert (first["received"], first["queuedBytes"]) == (1, 0)
        assert first["sent"] >= 3
        assert first["sentBytes"] > 200
        assert first["id"] == client.seen[0]["payload"]["connectionId"]


async def test_workflows_are_listed_by_state_and_prefix() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        executor.append("a-one", events.start("x"))
        executor.append("a-two", events.start("x"), events.complete())
        executor.append("b-one", events.start("x"))
        async with bridge.http.get(bridge.url + "/api/workflows?idPrefix=a-&state=running&state=paused") as response:
            page = await response.json()
        assert [(each["workflowId"], each["state"], each["lastSeq"]) for each in page["workflows"]] == [
            ("a-one", "running", 1)
        ]
        assert page["nextPageToken"] == ""
        assert (await get(bridge, "/api/workflows?pageSize=0"))[0] == 400
        assert (await get(bridge, "/api/workflows?state=asleep"))[0] == 400
        await executor.stop()
        assert (await get(bridge, "/api/workflows"))[0] == 503


async def test_workflows_that_are_bodies_of_nodes_are_listed_when_asked_for() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        executor.append("outer", events.start("each"))
        executor.append("outer.each", events.body("outer", "x"))
        found = {}
        for query in ("", "?bodies=0", "?bodies=1"):
            async with bridge.http.get(bridge.url + "/api/workflows" + query) as response:
                listed = (await response.json())["workflows"]
            found[query] = [(each["workflowId"], each.get("parentWorkflowId")) for each in listed]
        assert found[""] == found["?bodies=0"] == [("outer", None)]
        assert found["?bodies=1"] == [("outer", None), ("outer.each", "outer")]
        assert (await get(bridge, "/api/workflows?bodies=yes"))[0] == 400


async def test_the_metrics_parse_and_count_what_happened() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        client, plain = await bridge.connect(), await bridge.connect("plain")
        await client.subscribe("wf")
        await eventually(lambda: bridge.bridge.hub.watches_all)
        await client.ws.send_str("{oops")
        await client.send("workflow.start", "wf", {"nodes": [], "edges": []})
        await client.of_type("command.accepted")
        executor.append("wf", events.running("a"), events.success("a"))
        await client.seqs("wf", 3)
        await plain.seqs("wf", 3)
        async with bridge.http.get(bridge.metrics_url) as response:
            assert response.headers["Content-Type"].startswith("text/plain")
            families = list(text_string_to_metric_families(await response.text()))
        samples = {
            (sample.name.removeprefix("weftline_bridge_"), *sorted(sample.labels.values())): sample.value
            for family in families
            for sample in family.samples
        }
        assert samples["connections", "v1"] == samples["connections", "plain"] == 1
        assert samples["connects_total", "plain"] == 1
        assert samples["messages_total", "node.success", "out"] == 2
        assert samples["messages_total", "in", "workflow.start"] == 1
        assert samples["message_bytes_total", "out"] > 1000
        assert samples["message_bytes_total", "in"] > 50
        assert samples["bad_messages_total", "invalid_json"] == 1
        assert samples["commands_total", "accepted", "workflow.start"] == 1
        assert samples["subscriptions_total", "gone"] == 1
        assert samples["upstream_events_total",] == 3
        assert samples["upstream_connected",] == 1
        assert samples["upstream_watches",] == 2
        assert samples["event_to_socket_seconds_count", "arrival"] >= 1
        assert samples["event_to_socket_seconds_count", "executor"] >= 1
        assert samples["fanout_seconds_count",] >= 1
        ours = [family for family in families if family.name.startswith("weftline_bridge_")]
        assert all(family.documentation for family in ours)


async def test_messages_and_bytes_sent_are_counted_alike_for_the_process_and_its_connections() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        clients = [await bridge.connect() for _ in range(5)]
        for client in clients:
            await client.subscribe("wf")
        executor.append("wf", events.start("a"), *(events.log("x") for _ in range(200)))
        for client in clients:
            await client.seqs("wf", 201)
        registry = bridge.bridge.registry
        metric = bridge.bridge.metrics.registry
        total = sum(
            sample.value
            for family in metric.collect()
            for sample in family.samples
            if sample.name == "weftline_bridge_messages_total" and sample.labels["direction"] == "out"
        )
        assert total == sum(session.tape.sent for session in registry) == sum(len(client.seen) for client in clients)
        counted = await bridge.metric("weftline_bridge_message_bytes_total", direction="out")
        assert counted == sum(session.tape.sent_bytes for session in registry)
