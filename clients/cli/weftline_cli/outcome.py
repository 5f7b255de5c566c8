"""How a watched run ended, and the exit code that stands for it."""

from dataclasses import dataclass
from typing import Final

from weftline.v1 import events_pb2 as ev
from weftline_cli.errors import ExitCode

_EXIT_CODES: Final = {
    ev.RUN_STATE_SUCCESS: ExitCode.OK,
    ev.RUN_STATE_ERROR: ExitCode.FAILED,
    ev.RUN_STATE_STOPPED: ExitCode.STOPPED,
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of a run: its final state, RUN_STATE_UNSPECIFIED when the watch ended without one."""

    workflow_id: str
    run_id: str
    state: ev.RunState.ValueType

    @property
    def exit_code(self) -> ExitCode:
        """What the process ends with; 0 when the run goes on or there was none."""
        return _EXIT_CODES.get(self.state, ExitCode.OK)
