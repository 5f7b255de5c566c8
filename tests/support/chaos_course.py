"""Random runs, one after another, each followed through the bridge and held against its log, while services die."""

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from tests.support.chaos_person import CALL_SECONDS, Person, asked, logged
from tests.support.chaos_runs import check_commands, check_marks, random_definition
from tests.support.clients import Message, ResumingClient
from tests.support.stack import Stack
from weftline.v1 import workflow_service_pb2 as pb

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


@dataclass(frozen=True)
class Course:
    """Where runs are started, by whom they are followed, and what is counted of them.

    `followers` clients follow each run at `http`, the bridge or what stands before it.
    """

    stack: Stack
    http: str
    seed: int
    followers: int = 1
    seen: Seen = field(default_factory=Seen)
    totals: Totals = field(default_factory=Totals)
    enough: asyncio.Event = field(default_factory=asyncio.Event)


async def run_once(course: Course, workflow_id: str, random_: random.Random) -> None:
    """Runs a workflow to its success, with a person who disturbs it, followed through the bridge; checks all of it."""
    stack, totals = course.stack, course.totals
    marks = stack.folder / f"{workflow_id}.marks"
    definition = random_definition(random_, marks)
    request = pb.StartWorkflowRequest(
        workflow_id=workflow_id, definition_json=definition, command_id=f"start-{workflow_id}"
    )
    begun = (await asked(stack, lambda stub: stub.StartWorkflow(request, timeout=CALL_SECONDS))).result
    clients = [ResumingClient(course.http, workflow_id, begun.epoch, begun.seq - 1) for _ in range(course.followers)]
    person = Person(stack, workflow_id, random_)

    def met(message: Message) -> bool:
        course.seen.one_more()
        return message["type"] == "execution.complete" and bool(message["payload"]["status"] == "success")

    looking = asyncio.create_task(person.look_after(), name=f"person-{workflow_id}")
    following = asyncio.gather(*(client.follow(met, FOLLOW_SECONDS) for client in clients))
    try:
        works: set[asyncio.Future[Any]] = {looking, following}
        await asyncio.wait(works, return_when=asyncio.FIRST_COMPLETED)
        if looking.done():
            looking.result()
        followed = following.result()
    finally:
        for task in (looking, following):
            task.cancel()
        await asyncio.gather(looking, following, return_exceptions=True)
    events = await logged(stack, workflow_id, begun.epoch)
    for each in followed:
        assert [(message["seq"], message["id"]) for message in each.durable] == [(e.seq, e.id) for e in events]
        assert not each.snapshots
    check_commands(events, person.answered)
    totals.unsafe += check_marks(definition, events, marks)
    totals.runs += 1
    totals.events += len(events)
    totals.commands += len(person.answered)
    totals.reconnections += sum(each.connections - 1 for each in followed)


async def keep_running(course: Course, lane: int) -> None:
    """Runs workflows, one after another, until it is enough."""
    random_ = random.Random(course.seed + lane)
    number = 0
    while not course.enough.is_set():
        await run_once(course, f"lane-{lane}-{number}", random_)
        number += 1


async def kill_again_and_again(course: Course, kills: int, lanes: Sequence[asyncio.Task[None]]) -> None:
    """Kills either service or both, so many times, each after some events, and starts it again; lanes may not fail."""
    random_, stack = random.Random(course.seed), course.stack
    for done_kills in range(kills):
        if done_kills and not done_kills % 50:
            print(f"{done_kills} kills: {course.totals}", flush=True)
        waiting = asyncio.create_task(course.seen.some(random_))
        done, _ = await asyncio.wait({waiting, *lanes}, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            await task
        victims = random_.choice([("executor",), ("executor",), ("bridge",), ("executor", "bridge")])
        for victim in victims:
            await getattr(stack, victim).kill()
        for victim in victims:
            await getattr(stack, victim).start()
