"""The measurements work: a small one runs from end to end and loses nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.repository.layout import ROOT
from tests.unit.bench.test_eta import wfformat

SECONDS = 120


def run_bench(results: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench", "--quick", "--results", str(results), *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WEFTLINE_")}
    return subprocess.run(
        command, check=False, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=SECONDS
    )


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """The table that a quick measurement of the pipeline prints, and the file that it writes."""
    results = tmp_path_factory.mktemp("results")
    done = run_bench(results, "pipeline")
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = results.iterdir()
    found: dict[str, Any] = json.loads(path.read_text())
    return done.stdout, found


def test_every_claim_of_the_pipeline_gets_a_figure(measured: tuple[str, dict[str, Any]]) -> None:
    table, found = measured
    claims = found["benchmarks"]["pipeline"]["claims"]
    assert {claim["measure"] for claim in claims} >= {"events/s", "bridge CPU per event"}
    for claim in claims:
        assert claim["ours"] is not None, claim
        assert claim["load"] in table


def test_every_event_that_was_sent_is_counted_at_the_client(measured: tuple[str, dict[str, Any]]) -> None:
    _, found = measured
    figures = found["benchmarks"]["pipeline"]["figures"]
    (from_source,) = figures["source → bridge → one client"]
    (from_executor,) = figures["executor → bridge → one client"]
    assert from_source["deliveries"] == from_source["events"] == 10_000
    # Two runs: a start, two events for each of 202 nodes, an end.
    assert from_executor["events"] == 2 * (1 + 2 * 202 + 1)


def test_every_way_to_misbehave_gets_figures_beside_the_quiet_ones(tmp_path: Path) -> None:
    done = run_bench(tmp_path, "isolation")
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = tmp_path.iterdir()
    claims = json.loads(path.read_text())["benchmarks"]["isolation"]["claims"]
    waits = [claim for claim in claims if claim["measure"] == "end of a wait, p99"]
    assert len(waits) == 6
    assert all(claim["ours"] and claim["theirs"] for claim in waits)


def test_a_benchmark_that_does_not_exist_is_named(tmp_path: Path) -> None:
    done = run_bench(tmp_path, "pipelin")
    assert done.returncode == 2
    assert "unknown benchmark pipelin; there are engine, pipeline, fanout, idle, eta, isolation" in done.stderr


def test_the_estimates_of_a_workflow_that_is_given_are_measured(tmp_path: Path) -> None:
    shape = {"a": 1.0, "b": 2.0, "c": 0.5}
    instance = tmp_path / "shape.json"
    instance.write_text(json.dumps(wfformat(shape, [("a", "b"), ("a", "c")])))
    done = run_bench(tmp_path / "results", "eta", str(instance))
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = (tmp_path / "results").iterdir()
    found = json.loads(path.read_text())["benchmarks"]["eta"]
    (figures,) = found["figures"]["shape"]
    assert figures["samples"] > 0
    assert figures["seconds"] >= 2.0
    assert all(claim["ours"] is not None for claim in found["claims"])
