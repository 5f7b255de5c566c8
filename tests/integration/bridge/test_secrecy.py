"""Nothing that shows who a client is gets out of the bridge: not into its log, its metrics or its answers."""

from __future__ import annotations

import signal
from pathlib import Path

import aiohttp
import pytest

from tests.integration.bridge.test_process import serving
from tests.support.bridge import V1, Client
from tests.support.scripted_executor import running_executor
from tests.support.tokens import SECRET, bearer, permitting, token


async def refreshed(client: Client, text: str) -> str:
    """Send a token; all that is answered."""
    message_id = await client.send("auth.refresh", payload={"token": text})
    return str(await client.until(lambda message: message["payload"].get("commandId") == message_id))


async def turned_away(http: aiohttp.ClientSession, url: str, headers: dict[str, str]) -> str:
    """Connect with headers that are not good; the reason that is given."""
    ws = await http.ws_connect(url, headers=headers)
    closed = await ws.receive()
    assert ws.close_code == 4401
    return str(closed.extra)


@pytest.mark.parametrize("form", ["text", "json"])
async def test_no_token_and_no_secret_is_in_a_log_a_metric_or_the_api(form: str, tmp_path: Path) -> None:
    good, other, ended = token(), permitting("ada", view=["a-*"]), token(exp=1)
    foreign, nonsense = token(secret="another secret that is long enough"), "nonsense-that-somebody-took-for-a-token"
    secrets = [good, other, ended, foreign]
    signatures = [text.rpartition(".")[2] for text in secrets]
    settings = {"LOG_LEVEL": "debug", "LOG_FORMAT": form, "AUTH_SECRET": SECRET, "AUTH_COOKIE": "weftline"}
    said: list[str] = []
    async with running_executor() as executor, serving(executor, **settings) as process:
        url = f"http://{process.url}"
        async with aiohttp.ClientSession() as http:
            said += [await turned_away(http, url, bearer(text)) for text in (ended, foreign, nonsense)]
            said.append(await turned_away(http, f"{url}/?token={good}", {"Cookie": f"weftline={other}"}))
            first = Client(await http.ws_connect(url, headers=bearer(good), protocols=[V1]), V1)
            said += [await refreshed(first, text) for text in (nonsense, ended, foreign, other)]
            late = Client(await http.ws_connect(url, protocols=[V1]), V1)
            said.append(await refreshed(late, good))
            await late.subscribe("wf")
            connection = late.seen[0]["payload"]["connectionId"]
            for path in ("api/connections", f"api/recorder/connections/{connection}", "api/workflows"):
                async with http.get(f"{url}/{path}", headers=bearer(good)) as response:
                    assert response.status == 200
                    said.append(await response.text())
            said += [frame for client in (first, late) for frame in client.frames]
            metrics = next(line for line in process.lines if "metrics on" in line)
            address = metrics.partition("metrics on ")[2].partition(",")[0]
            async with http.get(address) as response:
                said.append(await response.text())
        process.process.send_signal(signal.SIGTERM)
        assert await process.ended() == 0
    log = "\n".join(process.lines)
    assert "ended" in log
    for secret in (*secrets, *signatures, nonsense, SECRET):
        assert secret not in log
        assert not [text for text in said if secret in text]
