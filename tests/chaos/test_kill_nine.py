"""Either service may die at any instant, again and again: every run ends, and nobody misses or repeats an event."""

import asyncio
import os
import random
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.chaos_person import Person, asked, logged
from tests.support.chaos_runs import check_commands, check_marks, random_definition
from tests.support.clients import Message, ResumingClient
from tests.support.stack import Stack, running_stack
from weftline.v1 import workflow_service_pb2 as pb

KILLS = int(os.environ.get("WEFTLINE_CHAOS_KILLS", "30"))
"""How often a service is killed; `make chaos` does so a thousand times."""

SEED = int(os.environ.get("WEFTLINE_CHAOS_SEED", "20261122"))
LANES = 3
CALL_SECONDS = 10.0
FOLLOW_SECONDS = 300.0


@dataclass
class Totals:
    """What was done while services were killed."""

    runs: int = 0
    events: int = 0
    commands: int = 0
    unsafe: int = 0
    reconnections: int = 0


class Seen:
    """Counts the durable messages that reached any client, so that a kill can come after a random number of them."""

    def __init__(self) -> None:
        self.count = 0
        self._reached: list[tuple[int, asyncio.Event]] = []

    def one_more(self) -> None:
        """A message has come."""
        self.count += 1
        for count, reached in self._reached:
            if self.count >= count:
                reached.set()

    async def some(self, random_: random.Random) -> None:
        """Waits for some messages, or for some time if that is over first, which may be before a service is up."""
        reached = asyncio.Event()
        self._reached = [(self.count + random_.randint(1, 60), reached)]
        with suppress(TimeoutError):
            await asyncio.wait_for(reached.wait(), random_.choice((0.05, 0.4, 1.0, 10.0, 10.0)))


async def run_once(stack: Stack, workflow_id: str, random_: random.Random, seen: Seen, totals: Totals) -> None:
    """Runs a workflow to its success, with a person who disturbs it, followed through the bridge; checks all of it."""
    marks = stack.folder / f"{workflow_id}.marks"
    definition = random_definition(random_, marks)
    request = pb.StartWorkflowRequest(
        workflow_id=workflow_id, definition_json=definition, command_id=f"start-{workflow_id}"
    )
    begun = (await asked(stack, lambda stub: stub.StartWorkflow(request, timeout=CALL_SECONDS))).result
    client = ResumingClient(stack.http, workflow_id, begun.epoch, begun.seq - 1)
    person = Person(stack, workflow_id, random_)

    def met(message: Message) -> bool:
        seen.one_more()
        return message["type"] == "execution.complete" and bool(message["payload"]["status"] == "success")

    looking = asyncio.create_task(person.look_after(), name=f"person-{workflow_id}")
    following = asyncio.create_task(client.follow(met, FOLLOW_SECONDS), name=f"follow-{workflow_id}")
    try:
        await asyncio.wait({looking, following}, return_when=asyncio.FIRST_COMPLETED)
        if looking.done():
            looking.result()
        followed = following.result()
    finally:
        for task in (looking, following):
            task.cancel()
        await asyncio.gather(looking, following, return_exceptions=True)
    events = await logged(stack, workflow_id, begun.epoch)
    assert [(message["seq"], message["id"]) for message in followed.durable] == [(e.seq, e.id) for e in events]
    assert not followed.snapshots
    check_commands(events, person.answered)
    totals.unsafe += check_marks(definition, events, marks)
    totals.runs += 1
    totals.events += len(events)
    totals.commands += len(person.answered)
    totals.reconnections += followed.connections - 1


async def keep_running(stack: Stack, lane: int, seen: Seen, enough: asyncio.Event, totals: Totals) -> None:
    """Runs workflows, one after another, until it is enough."""
    random_ = random.Random(SEED + lane)
    number = 0
    while not enough.is_set():
        await run_once(stack, f"lane-{lane}-{number}", random_, seen, totals)
        number += 1


@pytest.mark.timeout(120 + 6 * KILLS)
async def test_kills_of_either_service_lose_repeat_or_reorder_nothing_and_every_run_ends(tmp_path: Path) -> None:
    random_ = random.Random(SEED)
    totals, seen, enough = Totals(), Seen(), asyncio.Event()
    async with running_stack(tmp_path, WEFTLINE_EXECUTOR_NODES="tests.support.test_nodes") as stack:
        lanes = [
            asyncio.create_task(keep_running(stack, lane, seen, enough, totals), name=f"lane-{lane}")
            for lane in range(LANES)
        ]
        for done_kills in range(KILLS):
            if done_kills and not done_kills % 50:
                print(f"{done_kills} kills: {totals}", flush=True)
            waiting = asyncio.create_task(seen.some(random_))
            done, _ = await asyncio.wait({waiting, *lanes}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                await task
            victims = random_.choice([("executor",), ("executor",), ("bridge",), ("executor", "bridge")])
            for victim in victims:
                await getattr(stack, victim).kill()
            for victim in victims:
                await getattr(stack, victim).start()
        enough.set()
        await asyncio.gather(*lanes)
    print(f"{KILLS} kills: {totals}")
    assert totals.runs >= LANES
    assert totals.reconnections >= KILLS / 4
