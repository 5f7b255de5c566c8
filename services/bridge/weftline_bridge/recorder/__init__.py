"""The flight recorder: what happened to each connection and each workflow lately, in little and bounded memory."""

from weftline_bridge.recorder.ledger import Ledger
from weftline_bridge.recorder.recorder import ConnectionLog, Recorder, RecorderLimits, WorkflowLog
from weftline_bridge.recorder.records import Kind, Record
from weftline_bridge.recorder.tape import Tape
from weftline_bridge.recorder.trace import Trace

__all__ = ["ConnectionLog", "Kind", "Ledger", "Record", "Recorder", "RecorderLimits", "Tape", "Trace", "WorkflowLog"]
