"""The original design's client runs in a real browser with a stock WebSocket, and sees its workflow run to the end."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.browser import browser_page
from tests.support.stack import running_stack

# The shape that the original design gives its client: connect, on, send; handlers by message type.
PAGE = """<!doctype html><meta charset="utf-8"><title>canvas</title><script>
const log = [], statuses = new Map();
class Client {
  ws = null;
  handlers = new Map();
  connect(url) {
    return new Promise((resolve) => {
      this.ws = new WebSocket(url);
      this.ws.onopen = resolve;
      this.ws.onmessage = (event) => this.handle(JSON.parse(event.data));
    });
  }
  handle(message) { (this.handlers.get(message.type) || []).forEach((handler) => handler(message)); }
  on(type, handler) { this.handlers.set(type, [...(this.handlers.get(type) || []), handler]); }
  send(message) { if (this.ws.readyState === WebSocket.OPEN) this.ws.send(JSON.stringify(message)); }
}
const TYPES = ['workflow.start', 'workflow.pause', 'workflow.resume', 'workflow.stop', 'node.pending', 'node.running',
  'node.success', 'node.error', 'node.skipped', 'execution.progress', 'execution.log', 'execution.complete',
  'execution.error', 'system.status', 'heartbeat'];
async function run(url, nodes, edges) {
  const client = new Client();
  for (const type of TYPES) client.on(type, (message) => log.push(message));
  for (const type of TYPES.filter((type) => type.startsWith('node.')))
    client.on(type, (message) => statuses.set(message.payload.nodeId, message.payload.status));
  const ended = new Promise((resolve) => {
    client.on('execution.complete', resolve);
    client.on('execution.error', resolve);
  });
  await client.connect(url);
  client.send({ id: 'm1', type: 'workflow.start', timestamp: Date.now(), workflowId: 'canvas-1',
    payload: { nodes, edges, config: {} } });
  await ended;
  return { log, statuses: Object.fromEntries(statuses) };
}
</script>"""

NODES = [
    {"id": "in", "type": "input", "position": {"x": 0, "y": 0}, "data": {"label": "In", "values": {"n": 3}}},
    {"id": "wait", "type": "delay", "position": {"x": 1, "y": 0}, "data": {"seconds": 0.5}},
    {
        "id": "big",
        "type": "condition",
        "position": {"x": 2, "y": 0},
        "data": {"expression": "{{ nodes.in.output.n > 5 }}"},
    },
    {"id": "yes", "type": "noop", "position": {"x": 3, "y": 0}, "data": {}},
    {"id": "no", "type": "log", "position": {"x": 3, "y": 1}, "data": {"message": "small", "level": "warn"}},
]
EDGES = [
    {"id": "e1", "source": "in", "target": "wait"},
    {"id": "e2", "source": "wait", "target": "big"},
    {"id": "e3", "source": "big", "target": "yes", "sourceHandle": "true"},
    {"id": "e4", "source": "big", "target": "no", "sourceHandle": "false"},
]


async def run_in_browser(directory: Path) -> dict[str, Any]:
    async with running_stack(directory) as stack, browser_page(PAGE) as page:
        call = f"run('ws://localhost:{stack.bridge_port}', {json.dumps(NODES)}, {json.dumps(EDGES)})"
        found: dict[str, Any] = await page.evaluate(call)
        return found


@pytest.fixture
async def seen(tmp_path: Path) -> dict[str, Any]:
    return await run_in_browser(tmp_path)


async def test_the_original_browser_client_starts_a_workflow_and_sees_it_run_to_the_end(seen: dict[str, Any]) -> None:
    log = seen["log"]
    types = [message["type"] for message in log]
    assert seen["statuses"] == {"in": "success", "wait": "success", "big": "success", "yes": "skipped", "no": "success"}
    assert types.count("execution.complete") == 1
    assert types.index("workflow.start") < types.index("node.running") < types.index("execution.complete")
    logged = next(message for message in log if message["type"] == "execution.log")
    assert (logged["payload"]["level"], logged["payload"]["message"], logged["payload"]["nodeId"]) == (
        "warn",
        "small",
        "no",
    )
    progress = [message["payload"]["progress"] for message in log if message["type"] == "execution.progress"]
    assert progress == sorted(progress)
    assert progress[-1] == 1
    mine = [message for message in log if message["workflowId"] == "canvas-1"]
    assert {"id", "type", "timestamp", "workflowId", "payload"} <= set.intersection(*(set(message) for message in mine))
    seqs = [message["seq"] for message in mine if "seq" in message]
    assert seqs == list(range(1, len(seqs) + 1))
