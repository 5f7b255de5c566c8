"""The browser client that the README shows keeps a canvas true in a real browser, also when the bridge dies."""

import json
from pathlib import Path

from playwright.async_api import Page

from tests.e2e.browser import browser_page
from tests.repository.documents import blocks
from tests.repository.layout import ROOT
from tests.support.stack import Stack, running_stack
from weftline.v1 import workflow_service_pb2 as pb

DEFINITION = {
    "nodes": [
        {"id": "a", "type": "noop"},
        {"id": "b", "type": "delay", "data": {"seconds": 0.3}},
        {"id": "c", "type": "noop"},
    ],
    "edges": [{"source": "a", "target": "b"}, {"source": "b", "target": "c"}],
}


def client_of_the_readme(port: int) -> str:
    """The README's JavaScript block, for a bridge on another port and the test's workflow."""
    source = next(block.content for block in blocks(ROOT / "README.md") if block.language == "javascript")
    assert "ws://localhost:8080" in source
    assert 'connect("hello");' in source
    return source.replace("ws://localhost:8080", f"ws://localhost:{port}").replace('"hello"', '"canvas"')


async def start(stack: Stack, definition: object) -> int:
    """Starts a run of the canvas and gives the seq of its start."""
    async with stack.stub() as stub:
        request = pb.StartWorkflowRequest(workflow_id="canvas", definition_json=json.dumps(definition))
        return (await stub.StartWorkflow(request)).result.seq


async def shows(page: Page, statuses: dict[str, str], past: int) -> None:
    """Waits until the page's canvas shows these statuses and its cursor is past a seq."""
    wanted = json.dumps(statuses)
    await page.wait_for_function(
        f"cursor && cursor.seq > {past} && Object.entries({wanted}).every(([id, status]) => nodes.get(id) === status)",
        timeout=30_000,
    )


async def test_the_client_of_the_readme_keeps_its_canvas_true_through_a_restart_of_the_bridge(tmp_path: Path) -> None:
    async with running_stack(tmp_path) as stack, browser_page("<!doctype html><title>canvas</title>") as page:
        await page.add_script_tag(content=client_of_the_readme(stack.bridge_port))
        await page.wait_for_function("cursor !== undefined")
        seq = await start(stack, DEFINITION)
        await shows(page, {"a": "success", "b": "success", "c": "success"}, seq)
        await stack.bridge.kill()
        failing = {
            "nodes": [{"id": "a", "type": "fail"}, {"id": "b", "type": "noop"}],
            "edges": [{"source": "a", "target": "b"}],
        }
        seq = await start(stack, failing)
        await stack.bridge.start()
        await shows(page, {"a": "error", "b": "skipped"}, seq)
        assert await page.evaluate("nodes.has('c')") is False
