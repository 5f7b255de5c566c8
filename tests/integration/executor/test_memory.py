"""What the executor's process holds in memory, and for how long."""

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path

import psutil
from prometheus_client.parser import text_string_to_metric_families

from tests.support.executor_client import Client
from tests.support.executor_process import ExecutorProcess, executor_process, log_locked

DEFINITION_BYTES = 12 << 20
WAIT_SECONDS = 8.0
POLL_SECONDS = 0.02
IMPORTED = "import sys, weftline_executor.__main__; print(*sys.modules)"


def runs_started(process: ExecutorProcess) -> float:
    """How many runs the executor has begun."""
    families = text_string_to_metric_families(process.metrics())
    return sum(family.samples[0].value for family in families if family.name.endswith("_runs_started"))


def test_an_executor_that_asks_no_web_server_has_no_client_in_memory() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORTED], capture_output=True, text=True, timeout=60, check=True)
    assert "aiohttp" not in done.stdout.split()


async def test_a_start_that_waits_for_the_disk_holds_its_definition_and_not_its_request(tmp_path: Path) -> None:
    text = json.dumps({"nodes": [{"id": "a", "type": "noop"}], "edges": [], "drawing": "x" * DEFINITION_BYTES})
    with executor_process(tmp_path) as process:
        memory = psutil.Process(process.pid)
        before = memory.memory_info().rss
        client = Client(process.address)
        with log_locked(tmp_path / "data"):
            start = asyncio.create_task(client.start(text), name="start")
            deadline = time.monotonic() + WAIT_SECONDS
            while not await asyncio.to_thread(runs_started, process):
                assert time.monotonic() < deadline, "the run did not begin"
                await asyncio.sleep(POLL_SECONDS)
            # The allocator may keep what gRPC once read the request into; the request itself would be two more.
            while (held := memory.memory_info().rss - before) > 3 * DEFINITION_BYTES:
                assert time.monotonic() < deadline, f"the start holds {held >> 20} MiB"
                await asyncio.sleep(POLL_SECONDS)
            assert not start.done()
        assert (await start).run_id
        await client.channel.close()
