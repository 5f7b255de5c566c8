"""A backup that was made as docs/operations.md says, while the executor ran, can be restored as it says."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import grpc.aio

from tests.repository.documents import blocks
from tests.repository.layout import ROOT
from tests.repository.services import (
    Addresses,
    Service,
    executor_settings,
    free_addresses,
    health,
    start,
    wait_until,
)
from weftline.v1 import events_pb2, workflow_service_pb2, workflow_service_pb2_grpc

LARGE = {"text": "x" * 50_000}
DEFINITION = json.dumps({"nodes": [{"id": "only", "type": "set", "data": {"values": LARGE}}]})
CALL_SECONDS = 10


def shown(mark: str) -> str:
    """The one block of the operations document that bears a mark."""
    (block,) = (block for block in blocks(ROOT / "docs" / "operations.md") if mark in block.marks)
    return block.content


def run_shown(mark: str, folder: Path) -> None:
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "DATA": str(folder / "data"),
        "BACKUPS": str(folder / "backups"),
        "BACKUP": str(max((folder / "backups").iterdir(), default="")),
    }
    subprocess.run(["/bin/bash", "-euo", "pipefail", "-c", shown(mark)], check=True, env=environment, timeout=60)


def start_executor(addresses: Addresses, folder: Path) -> Service:
    executor = start("executor", folder, executor_settings(addresses, folder))
    wait_until(lambda: health(addresses.executor) == "SERVING", executor)
    return executor


async def run_workflow(address: str) -> workflow_service_pb2.WorkflowSnapshot:
    """Runs the workflow to its end and gives its snapshot."""
    async with grpc.aio.insecure_channel(address) as channel:
        service = workflow_service_pb2_grpc.WorkflowServiceStub(channel)
        request = workflow_service_pb2.StartWorkflowRequest(workflow_id="w", definition_json=DEFINITION)
        await service.StartWorkflow(request, timeout=CALL_SECONDS)
        watch = workflow_service_pb2.WatchEventsRequest(workflow_id="w")
        async for _ in service.WatchEvents(watch, timeout=CALL_SECONDS):
            snapshot = await get_workflow(service)
            if snapshot.state == events_pb2.RUN_STATE_SUCCESS:
                return snapshot
    raise AssertionError("the watch ended before the run did")


async def get_workflow(
    service: workflow_service_pb2_grpc.WorkflowServiceStub,
) -> workflow_service_pb2.WorkflowSnapshot:
    answer = await service.GetWorkflow(workflow_service_pb2.GetWorkflowRequest(workflow_id="w"), timeout=CALL_SECONDS)
    return answer.snapshot


async def look_again(
    address: str, old: workflow_service_pb2.WorkflowSnapshot
) -> tuple[workflow_service_pb2.WorkflowSnapshot, list[str], object]:
    """The snapshot now, what a watch from the old snapshot's cursor is answered with, and the old large output."""
    async with grpc.aio.insecure_channel(address) as channel:
        service = workflow_service_pb2_grpc.WorkflowServiceStub(channel)
        request = workflow_service_pb2.WatchEventsRequest(
            workflow_id="w",
            start_from=workflow_service_pb2.WATCH_FROM_CURSOR,
            cursor=workflow_service_pb2.Cursor(epoch=old.epoch, seq=old.seq),
            until_head=True,
        )
        request.start_from = workflow_service_pb2.WATCH_FROM_CURSOR
        stream = service.WatchEvents(request, timeout=CALL_SECONDS)
        answers = [field.name async for response in stream for field, _ in response.ListFields()]
        artifact = workflow_service_pb2.ReadArtifactRequest(uri=old.nodes[0].artifact.uri)
        body = b"".join([piece.data async for piece in service.ReadArtifact(artifact, timeout=CALL_SECONDS)])
        return await get_workflow(service), answers, json.loads(body)


def test_a_restored_log_has_the_runs_of_the_backup_and_honours_no_cursor_of_the_old_log(tmp_path: Path) -> None:
    addresses = free_addresses()
    (tmp_path / "backups").mkdir()
    executor = start_executor(addresses, tmp_path)
    try:
        kept = asyncio.run(run_workflow(addresses.executor))
        run_shown("backup", tmp_path)
        lost = asyncio.run(run_workflow(addresses.executor))
    finally:
        assert executor.stop() == 0
    run_shown("restore", tmp_path)
    executor = start_executor(addresses, tmp_path)
    try:
        restored, answers, large = asyncio.run(look_again(addresses.executor, kept))
    finally:
        assert executor.stop() == 0
    assert lost.seq > kept.seq
    assert (restored.run_id, restored.seq, restored.state) == (kept.run_id, kept.seq, kept.state)
    assert restored.epoch != kept.epoch
    assert "compacted" in answers
    assert "snapshot" in answers
    assert "events" not in answers
    assert large == LARGE
