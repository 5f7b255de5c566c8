"""A call goes by a connection that stands, whatever the others of the pool have been through."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from grpc import aio

from tests.support.scripted_executor import ScriptedExecutor
from weftline.v1 import workflow_service_pb2 as pb
from weftline_bridge.upstream.channels import ChannelPool

ASK = pb.ListWorkflowsRequest()
CHANNELS = 8


async def test_no_call_fails_once_one_connection_stands_though_others_still_wait_to_try_again() -> None:
    executor = ScriptedExecutor()
    await executor.start()
    await executor.stop()
    pool = ChannelPool(executor.address, CHANNELS)
    try:
        for _ in range(4 * CHANNELS):
            with pytest.raises(aio.AioRpcError) as refused:
                await pool.stub().ListWorkflows(ASK, timeout=5)
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        await executor.start()
        async with asyncio.timeout(20):
            await pool.stub().ListWorkflows(ASK, wait_for_ready=True)
        answers = await asyncio.gather(
            *(pool.stub().ListWorkflows(ASK, timeout=5) for _ in range(4 * CHANNELS)), return_exceptions=True
        )
        assert [answer for answer in answers if isinstance(answer, BaseException)] == []
    finally:
        await pool.close()
        await executor.stop()
