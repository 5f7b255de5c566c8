"""What a node's policy says: when it is tried again, how long it may take, and what its failure means."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from weftline_executor.errors import Fault

MAX_ATTEMPTS = 1000
MAX_DEFAULT = 32 << 10
MAX_SECONDS = 31_536_000.0


class OnError(StrEnum):
    """What the failure of a node means for its run."""

    FAIL = "fail"
    FAIL_BRANCH = "fail_branch"
    DEFAULT_VALUE = "default_value"
    PAUSE = "pause"


@dataclass(frozen=True, slots=True)
class Retry:
    """Up to `attempts` tries: `delay` seconds before the second, then `factor` times as long each time, to `cap`."""

    attempts: int = 3
    delay: float = 1.0
    factor: float = 2.0
    cap: float = 60.0


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a node may wait for a slot, an attempt may take, and it may go without a report; 0 is no limit.

    In seconds.
    """

    queue: float = 0.0
    attempt: float = 0.0
    idle: float = 0.0


@dataclass(frozen=True, slots=True)
class Cache:
    """Whether a kept result will do that is no older than `max_age` seconds; 0 is for as long as results are kept."""

    max_age: float = 0.0


@dataclass(frozen=True, slots=True)
class Policy:
    """The policy of a node, but for its join; `default` is the JSON text of `default_value`.

    Without a `cache` the node always runs.

    A `final` node runs when all others have ended, however they did; one that is `disabled` is skipped.
    """

    retry: Retry | None = None
    timeouts: Timeouts = Timeouts()
    on_error: OnError = OnError.FAIL
    default: bytes = b""
    final: bool = False
    disabled: bool = False
    cache: Cache | None = None


DEFAULT_POLICY = Policy()
_KEYS = ("join", "retry", "timeout", "onError", "finally", "disabled", "cache")


class PolicyReader:
    """Reads `data.policy` of one node and adds what is wrong with it to `faults`."""

    def __init__(self, path: str, node_id: str, faults: list[Fault]) -> None:
        self._path = path
        self._node_id = node_id
        self._faults = faults

    def read(self, raw: Mapping[str, object]) -> Policy:
        """The policy; where something is wrong the default takes its place."""
        for key in raw:
            if key not in _KEYS:
                self._fault(key, "unknown_key", f"a policy has no key {key!r}")
        retry, timeouts = self._retry(raw.get("retry")), self._timeouts(raw.get("timeout"))
        on_error, default = self._on_error(raw.get("onError"))
        final, disabled = self._flag(raw, "finally"), self._flag(raw, "disabled")
        policy = Policy(retry, timeouts, on_error, default, final, disabled, self._cache(raw.get("cache")))
        return DEFAULT_POLICY if policy == DEFAULT_POLICY else policy

    def _flag(self, raw: Mapping[str, object], key: str) -> bool:
        value = raw.get(key)
        if value is None or isinstance(value, bool):
            return bool(value)
        self._fault(key, "wrong_type", f"{key} is true or false")
        return False

    def _retry(self, raw: object) -> Retry | None:
        if raw is None or raw is False:
            return None
        if raw is True:
            return Retry()
        if not isinstance(raw, dict):
            self._fault("retry", "wrong_type", "retry is true, or an object with attempts, delay, factor and cap")
            return None
        self._no_other_keys("retry", raw, ("attempts", "delay", "factor", "cap"))
        usual = Retry()
        attempts = raw.get("attempts", usual.attempts)
        if isinstance(attempts, bool) or not isinstance(attempts, int) or not 1 <= attempts <= MAX_ATTEMPTS:
            self._fault("retry.attempts", "invalid_value", f"attempts is a whole number of 1 to {MAX_ATTEMPTS}")
            attempts = usual.attempts
        return Retry(
            attempts,
            self._number("retry.delay", raw.get("delay", usual.delay), 0.0),
            self._number("retry.factor", raw.get("factor", usual.factor), 1.0),
            self._number("retry.cap", raw.get("cap", usual.cap), 0.0),
        )

    def _cache(self, raw: object) -> Cache | None:
        if raw is None or raw is False:
            return None
        if raw is True:
            return Cache()
        if not isinstance(raw, dict):
            self._fault("cache", "wrong_type", "cache is true, or an object with ttl")
            return None
        self._no_other_keys("cache", raw, ("ttl",))
        return Cache(self._limit("cache.ttl", raw.get("ttl")))

    def _timeouts(self, raw: object) -> Timeouts:
        if raw is None:
            return DEFAULT_POLICY.timeouts
        if isinstance(raw, dict):
            self._no_other_keys("timeout", raw, ("queue", "attempt", "idle"))
            limits = {key: self._limit(f"timeout.{key}", raw.get(key)) for key in ("queue", "attempt", "idle")}
            return Timeouts(**limits)
        return Timeouts(attempt=self._limit("timeout", raw))

    def _on_error(self, raw: object) -> tuple[OnError, bytes]:
        if raw is None:
            return OnError.FAIL, b""
        if isinstance(raw, dict) and raw.keys() == {OnError.DEFAULT_VALUE.value}:
            default = msgspec.json.encode(raw[OnError.DEFAULT_VALUE.value])
            if len(default) > MAX_DEFAULT:
                self._fault("onError.default_value", "too_large", f"a default value has at most {MAX_DEFAULT} bytes")
            return OnError.DEFAULT_VALUE, default
        if raw in (OnError.FAIL, OnError.FAIL_BRANCH, OnError.PAUSE):
            return OnError(str(raw)), b""
        message = 'onError is one of fail, fail_branch, pause, or {"default_value": …}'
        self._fault("onError", "invalid_value", message)
        return OnError.FAIL, b""

    def _limit(self, key: str, raw: object) -> float:
        if raw is None:
            return 0.0
        seconds = self._number(key, raw, 0.0)
        if seconds == 0.0:
            self._fault(key, "invalid_value", f"{key} is more than 0 seconds; leave it out for no limit")
        return seconds

    def _number(self, key: str, raw: object, least: float) -> float:
        if isinstance(raw, int | float) and not isinstance(raw, bool) and least <= raw <= MAX_SECONDS:
            return float(raw)
        self._fault(key, "invalid_value", f"{key} is a number of {least:g} to {MAX_SECONDS:g}")
        return math.nan

    def _no_other_keys(self, key: str, raw: Mapping[str, object], known: tuple[str, ...]) -> None:
        for other in raw:
            if other not in known:
                self._fault(f"{key}.{other}", "unknown_key", f"{key} has {', '.join(known)}, but no {other!r}")

    def _fault(self, key: str, code: str, message: str) -> None:
        self._faults.append(Fault(f"{self._path}.{key}", code, message, self._node_id))
