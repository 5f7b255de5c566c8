"""What all runs of an executor share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from weftline_executor.artifacts import Artifacts
from weftline_executor.engine.bodies import Bodies
from weftline_executor.engine.commit import Committer
from weftline_executor.engine.compiler import Compiler
from weftline_executor.engine.errands import Errands
from weftline_executor.engine.estimate import DurationHistory
from weftline_executor.engine.large_outputs import LargeOutputs
from weftline_executor.engine.launch import Catalog
from weftline_executor.engine.launcher import Launcher
from weftline_executor.engine.result_cache import ResultCache
from weftline_executor.engine.slots import Slots
from weftline_executor.metrics import Metrics
from weftline_executor.model.events import Telemetry
from weftline_executor.replay import RunProjection


@dataclass(frozen=True, slots=True)
class Runtime:
    """The shared parts; `now` gives milliseconds since the Unix epoch.

    `on_telemetry` takes the workflow, the run and what is told of it, `listening` says whether anybody would hear it.
    """

    loop: asyncio.AbstractEventLoop
    now: Callable[[], int]
    committer: Committer
    launcher: Launcher
    artifacts: Artifacts
    outputs: LargeOutputs
    results: ResultCache
    errands: Errands
    slots: Slots
    bodies: Bodies
    history: DurationHistory
    compiler: Compiler
    metrics: Metrics
    catalog: Catalog
    on_telemetry: Callable[[str, str, Telemetry], None]
    listening: Callable[[str], bool]
    on_ended: Callable[[RunProjection], None]
