"""Batches that the tests of the store append."""

from collections.abc import Sequence

from msgspec import Raw

from weftline_executor.model import events as model
from weftline_executor.model.records import Batch, Command, Retention
from weftline_executor.model.states import LogLevel, RunState
from weftline_executor.store import Store

FOREVER = Retention(max_age_ms=1 << 50, max_runs=1 << 30, max_bytes=1 << 60)


def start(seq: int, at: int = 1) -> model.Event:
    """A run of two nodes begins."""
    return model.RunStarted(seq, at, Raw(b'{"nodes": []}'), 2, "ada")


def line(seq: int, text: str = "") -> model.Event:
    """A log line."""
    return model.LogWritten(seq, seq, LogLevel.INFO, text or f"line {seq}")


def end(seq: int, at: int = 1) -> model.Event:
    """A run succeeds."""
    return model.RunCompleted(seq, at, RunState.SUCCESS, 1, 2, 2, 0, 0, Raw(b"{}"))


def batch(workflow_id: str, run_id: str, *events: model.Event, commands: Sequence[Command] = ()) -> Batch:
    """Events that are committed together."""
    return Batch(workflow_id, run_id, events, tuple(commands))


async def put_run(store: Store, workflow_id: str, run_id: str, at: int = 1, *, size: int = 0, ends: bool = True) -> int:
    """Appends a run of three batches (start; two lines; end), or without its end; gives its first seq."""
    first = (await store.head(workflow_id)).seq + 1
    batches = [
        batch(workflow_id, run_id, start(first, at), commands=[Command(f"start-{run_id}", "start", first)]),
        batch(workflow_id, run_id, line(first + 1), line(first + 2, "x" * size)),
    ]
    if ends:
        batches.append(batch(workflow_id, run_id, end(first + 3, at)))
    await store.append(batches)
    return first


async def seqs(store: Store, workflow_id: str, after: int = 0, limit: int = 64) -> list[int]:
    """The seqs that a read gives."""
    return [event.seq for found in await store.read(workflow_id, after, limit) for event in found.events]
