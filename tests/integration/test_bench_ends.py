"""A measurement leaves no process behind when it is ended or killed, and no scratch folder when it is ended."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.repository.layout import ROOT

SECONDS = 60.0
POLL_SECONDS = 0.05


def started_bench(scratch: Path) -> tuple[subprocess.Popen[bytes], list[psutil.Process]]:
    """A measurement, and the services that it runs by now."""
    command = [sys.executable, "-m", "bench", "pipeline", "--quick", "--results", str(scratch / "results")]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WEFTLINE_")}
    bench = subprocess.Popen(
        command, cwd=ROOT, env=environment | {"TMPDIR": str(scratch)}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline and bench.poll() is None:
        services = psutil.Process(bench.pid).children()
        if len(services) > 1:
            return bench, services
        time.sleep(POLL_SECONDS)
    raise AssertionError("the measurement started nothing")


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv is not installed (on Debian: util-linux)")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_all_that_a_bench_runs_ends_with_it(tmp_path: Path, number: signal.Signals) -> None:
    bench, services = started_bench(tmp_path)
    bench.send_signal(number)
    bench.communicate(timeout=SECONDS)
    _, alive = psutil.wait_procs(services, timeout=SECONDS)
    assert alive == []
    if number == signal.SIGTERM:
        assert bench.returncode == 128 + number
        assert list(tmp_path.glob("weftline-bench-*")) == []
