"""What all runs of an executor share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from weftline_executor.engine.commit import Committer
from weftline_executor.engine.estimate import DurationHistory
from weftline_executor.engine.launcher import Catalog, Launcher
from weftline_executor.engine.slots import Slots
from weftline_executor.metrics import Metrics
from weftline_executor.model.events import Telemetry

if TYPE_CHECKING:
    from weftline_executor.engine.run import Run


@dataclass(frozen=True, slots=True)
class Runtime:
    """The shared parts; `now` gives milliseconds since the Unix epoch."""

    loop: asyncio.AbstractEventLoop
    now: Callable[[], int]
    committer: Committer
    launcher: Launcher
    slots: Slots
    history: DurationHistory
    metrics: Metrics
    catalog: Catalog
    on_telemetry: Callable[[Run, Telemetry], None]
    listening: Callable[[str], bool]
    on_ended: Callable[[Run], None]
