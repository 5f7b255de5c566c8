"""Clients that are a nuisance to the bridge: they hardly read, never read, or come and go, over and over."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import Any

from tests.support.raw_client import RawClient

AGAIN_SECONDS = 0.05
DEAF_SECONDS = 20.0
SUBSCRIBE = '{"id":"s","type":"workflow.subscribe","workflowId":"%s"}'

Address = tuple[str, int]


@contextlib.asynccontextmanager
async def connection(address: Address, workflow_id: str) -> AsyncIterator[RawClient | None]:
    """A client that has subscribed, gone without a word at the end; None where the bridge is away or cuts it off."""
    client = None
    try:
        client = await RawClient.connect(address)
        await client.send_text(SUBSCRIBE % workflow_id)
    except (OSError, TimeoutError):
        if client is not None:
            client.close()
        client = None
    try:
        yield client
    finally:
        if client is not None:
            client.close()


async def read_a_byte_now_and_then(address: Address, workflow_id: str) -> None:
    """Connect and read one byte a second, over again when the bridge closes."""
    while True:
        async with connection(address, workflow_id) as client:
            while client is not None and await client.read(1):
                await asyncio.sleep(1)
        await asyncio.sleep(AGAIN_SECONDS)


async def read_nothing(address: Address) -> None:
    """Connect, subscribe to all, and never read; after a while do the same anew."""
    while True:
        async with connection(address, "*") as client:
            await asyncio.sleep(AGAIN_SECONDS if client is None else DEAF_SECONDS)


async def come_and_go(address: Address, workflow_id: str) -> None:
    """Connect, subscribe and vanish, over and over."""
    while True:
        async with connection(address, workflow_id) as client:
            if client is not None:
                await client.read()
        await asyncio.sleep(AGAIN_SECONDS)


def nuisances_at(address: Address, workflows: Sequence[str]) -> list[Coroutine[Any, Any, None]]:
    """One of each kind; `workflows` are what there is to subscribe to."""
    return [
        read_a_byte_now_and_then(address, workflows[0]),
        read_nothing(address),
        come_and_go(address, workflows[-1]),
    ]


@contextlib.asynccontextmanager
async def meanwhile(*works: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Do these things for as long as the block runs; none of them may fail."""
    tasks = [asyncio.create_task(work, name=f"meanwhile-{place}") for place, work in enumerate(works)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert [each for each in ended if isinstance(each, Exception)] == []
