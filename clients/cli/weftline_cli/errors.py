"""What can go wrong in a command, as exceptions that carry data, and the exit code of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType
from typing import Any


class ExitCode(IntEnum):
    """What the process ends with."""

    OK = 0
    FAILED = 1
    USAGE = 2
    INVALID_WORKFLOW = 3
    NOT_FOUND = 4
    REFUSED = 5
    UNAVAILABLE = 6
    STOPPED = 7
    INTERRUPTED = 130
    TERMINATED = 143


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a workflow.

    `path` says where (`nodes[3].data.url`), `code` names it for a program, `message` says it in one sentence, and
    `node_id` is the node at fault, empty when it is none in particular.
    """

    path: str
    code: str
    message: str
    node_id: str = ""


class CliError(Exception):
    """A command can't be carried out; `str()` of it is one sentence for a person, `code` a name for a program."""

    code = "failed"

    def data(self) -> Mapping[str, Any]:
        """Return what the error carries beside its sentence, ready for JSON."""
        return {}


class UsageError(CliError):
    """The command was given something it can't work with."""

    code = "usage"


class BadArgumentError(UsageError):
    """The executor says that an argument is bad; `fields` pairs each argument with what is wrong with it."""

    code = "bad_argument"

    def __init__(self, message: str, fields: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__("; ".join([message, *(f"{name}: {what}" for name, what in fields)]))
        self.fields = tuple(fields)

    def data(self) -> Mapping[str, Any]:
        """Return the bad arguments."""
        return {"fields": [{"field": name, "message": what} for name, what in self.fields]}


class InvalidWorkflowError(CliError):
    """A workflow is not valid; `faults` holds everything that is wrong with it."""

    code = "invalid_workflow"

    def __init__(self, source: str, faults: Sequence[Fault]) -> None:
        count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        super().__init__(f"{source} is not a valid workflow: {count}.")
        self.source = source
        self.faults = tuple(faults)

    def data(self) -> Mapping[str, Any]:
        """Return the faults."""
        return {"source": self.source, "faults": [fault_data(fault) for fault in self.faults]}


class BadInstanceError(CliError):
    """A file to be converted is not what it says it is; `path` says where in it."""

    code = "bad_instance"

    def __init__(self, source: str, path: str, problem: str) -> None:
        super().__init__(f"{source}: {path}: {problem}" if path else f"{source}: {problem}")
        self.source = source
        self.path = path
        self.problem = problem

    def data(self) -> Mapping[str, Any]:
        """Return the place and the problem."""
        return {"source": self.source, "path": self.path, "problem": self.problem}


class NotFoundError(CliError):
    """What was asked for does not exist."""

    code = "not_found"


class RefusedError(CliError):
    """The executor understood and refused; `reason` is its name for the refusal."""

    code = "refused"

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason

    def data(self) -> Mapping[str, Any]:
        """Return the executor's name for the refusal."""
        return {"reason": self.reason}


class UnavailableError(CliError):
    """The executor at `address` can't be reached, or can't take the command now.

    With `asks_again` it could be reached, and said to come again: in `advice_s` seconds, None when it did not say when.
    """

    code = "unavailable"
    peer = "executor"

    def __init__(self, address: str, problem: str, *, asks_again: bool = False, advice_s: float | None = None) -> None:
        super().__init__(f"The {self.peer} at {address} is not available: {problem}")
        self.address = address
        self.problem = problem
        self.asks_again = asks_again
        self.advice_s = advice_s

    def data(self) -> Mapping[str, Any]:
        """Return where it should be, and what was wrong."""
        return {self.peer: self.address, "problem": self.problem}


class BridgeUnavailableError(UnavailableError):
    """The bridge at `address` can't be reached, or does not answer as a bridge does."""

    peer = "bridge"


class ExecutorFaultError(CliError):
    """The executor failed in a way that it should not; `status` is the name of its gRPC status."""

    code = "executor_fault"

    def __init__(self, status: str, problem: str) -> None:
        super().__init__(f"The executor failed with {status}: {problem}")
        self.status = status
        self.problem = problem

    def data(self) -> Mapping[str, Any]:
        """Return the status."""
        return {"status": self.status}


class StackError(CliError):
    """The services can't be started, or one of them ended; `tail` holds the last lines that it wrote.

    `code` is one of `data_dir_in_use`, `data_dir_unusable`, `port_in_use`, `address_unusable`, `address_used_twice`,
    `services_not_installed`, `service_not_ready` and `service_ended`.
    """

    def __init__(self, code: str, message: str, tail: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.tail = tuple(tail)

    def data(self) -> Mapping[str, Any]:
        """Return the last lines of the service."""
        return {"tail": list(self.tail)}


class InterruptedCommandError(CliError):
    """A signal ended the command; `hint` says what goes on without it, and `terminated` tells SIGTERM from Ctrl-C."""

    code = "interrupted"

    def __init__(self, *, terminated: bool = False, hint: str = "") -> None:
        super().__init__(hint or "Interrupted.")
        self.terminated = terminated
        self.hint = hint


EXIT_CODES: Mapping[type[CliError], ExitCode] = MappingProxyType(
    {
        UsageError: ExitCode.USAGE,
        InvalidWorkflowError: ExitCode.INVALID_WORKFLOW,
        BadInstanceError: ExitCode.INVALID_WORKFLOW,
        NotFoundError: ExitCode.NOT_FOUND,
        RefusedError: ExitCode.REFUSED,
        UnavailableError: ExitCode.UNAVAILABLE,
        InterruptedCommandError: ExitCode.INTERRUPTED,
        CliError: ExitCode.FAILED,
    }
)


def exit_code(error: CliError) -> ExitCode:
    """Return the exit code of an error: that of the nearest of its classes in the table."""
    if isinstance(error, InterruptedCommandError) and error.terminated:
        return ExitCode.TERMINATED
    return next(EXIT_CODES[kind] for kind in type(error).__mro__ if kind in EXIT_CODES)


def fault_data(fault: Fault) -> dict[str, str]:
    """Return a fault as the object that `--json` prints."""
    return {"path": fault.path, "code": fault.code, "message": fault.message, "nodeId": fault.node_id}
