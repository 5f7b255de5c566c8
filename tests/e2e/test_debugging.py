"""Over the real services, the command line says of an event when it was written to a client, or that it never came."""

import json
from pathlib import Path

import aiohttp

from tests.integration.cli.process import Result, weftline
from tests.support.clients import PlainClient, is_terminal
from tests.support.stack import running_stack


async def test_a_person_finds_out_what_became_of_an_event(tmp_path: Path) -> None:
    flow = tmp_path / "flow.json"
    flow.write_text(json.dumps({"nodes": [{"id": "a", "type": "noop"}], "edges": [], "config": {}}))
    async with running_stack(tmp_path) as stack, aiohttp.ClientSession() as session:

        async def debug(*arguments: str) -> Result:
            return await weftline("debug", *arguments, "--json", WEFTLINE_BRIDGE=stack.http)

        async with session.ws_connect(stack.http) as socket:
            ran = await weftline("run", str(flow), "--id", "seen", executor=stack.executor_address)
            assert ran.code == 0, ran.err
            last = (await PlainClient(socket).until(is_terminal))["seq"]
            (connection,) = (await debug("connections")).rows
            (answer,) = (await debug("why", connection["id"], "seen", str(last))).rows
            assert answer["code"] == "written"
            (later,) = (await debug("why", connection["id"], "seen", str(last + 1))).rows
            assert later["code"] == "never_came"
