"""The bridge's exceptions: each carries, as data, what its handler needs to answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class BridgeError(Exception):
    """Anything that the bridge raises on purpose."""


class ConfigurationError(BridgeError):
    """A setting is missing or wrong.

    `setting` is the environment variable, `problem` one sentence for the operator.
    """

    def __init__(self, setting: str, problem: str) -> None:
        super().__init__(f"{setting}: {problem}")
        self.setting = setting
        self.problem = problem


class ListenError(BridgeError):
    """A listening address could not be bound."""

    def __init__(self, setting: str, address: str, reason: str) -> None:
        super().__init__(f"cannot listen on {address} ({setting}): {reason}")
        self.setting = setting
        self.address = address


class WorkerFailedError(BridgeError):
    """A worker does not come to serve clients.

    `status` is how its process ended, as `subprocess` has it, None if that took too long.
    """

    def __init__(self, worker: int, status: int | None) -> None:
        how = "did not come to serve in time" if status is None else f"ended with status {status}"
        super().__init__(f"worker {worker} can't be started: it {how}; the log says more")
        self.worker = worker
        self.status = status


class NoAnswerError(BridgeError):
    """A worker or the supervisor did not answer a question."""


@dataclass(frozen=True, slots=True)
class Misfit:
    """One field of a client's message that is not what it has to be."""

    path: str
    expected: str
    got: str


class BadMessageError(BridgeError):
    """A client sent something that can't be used; `code` names it, `misfits` say where."""

    def __init__(self, code: str, message: str, misfits: Sequence[Misfit] = (), command_id: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.misfits = tuple(misfits)
        self.command_id = command_id


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault that the executor found, with the path of the field at fault."""

    path: str
    code: str
    message: str


class CommandRefusedError(BridgeError):
    """A command was not carried out; `code` is for programs, `faults` are the details."""

    def __init__(self, code: str, message: str, faults: Sequence[Fault] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.faults = tuple(faults)


class ConnectionEndedError(CommandRefusedError):
    """A command was not carried out, and its connection ends with `close_code`."""

    def __init__(self, code: str, message: str, close_code: int) -> None:
        super().__init__(code, message)
        self.close_code = close_code


class ExecutorUnavailableError(CommandRefusedError):
    """The executor can't be reached now; trying again later may help."""

    def __init__(self, message: str = "the executor is not reachable now") -> None:
        super().__init__("executor_unavailable", message)


class TokenRefusedError(BridgeError):
    """A token does not show who a client is; `code` names what is wrong. Neither text holds anything secret of it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class KeysUnavailableError(BridgeError):
    """The keys that tokens are verified with can't be had now; trying again later may help."""

    def __init__(self) -> None:
        super().__init__("the keys of the issuer can't be read now; try again later")
        self.code = "keys_unavailable"
        self.message = str(self)


class UnknownWorkflowError(BridgeError):
    """The executor has never run this workflow."""

    def __init__(self, workflow_id: str) -> None:
        super().__init__(f"no run of workflow {workflow_id} is known")
        self.workflow_id = workflow_id


class UnknownArtifactError(BridgeError):
    """The executor has no artifact of this name; `code` is its name for that."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class WatchLostError(BridgeError):
    """A stream of events broke or fell silent; it has to be opened again."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class TranslationError(BridgeError):
    """An event of the executor has no form that a client would understand."""
