"""Facts about the line from a node's code to its run: what gets through, how often, and from which thread."""

import asyncio
import threading
from collections.abc import Callable, Mapping
from typing import cast

import msgspec
import pytest

from weftline_executor.engine.attempt import MAX_LOGS, MAX_PARTIAL, PROGRESS_INTERVAL, Attempt, AttemptSink
from weftline_executor.nodes import SecretSession


class Run:
    """What a run would be told, and in which thread."""

    def __init__(self) -> None:
        self.progress: list[float] = []
        self.partials: list[dict[str, object]] = []
        self.lines: list[tuple[str, str, dict[str, object]]] = []
        self.threads: set[int] = set()
        self.told = asyncio.Event()

    def report_progress(self, attempt: Attempt) -> None:
        """See Reporter."""
        if attempt.progress is not None:
            self.progress.append(attempt.progress)
        if attempt.partial:
            self.partials.append(msgspec.json.decode(attempt.partial))
        self.threads.add(threading.get_ident())
        self.told.set()

    def report_log(self, attempt: Attempt, level: str, message: str, context: Mapping[str, object]) -> None:
        """See Reporter."""
        self.lines.append((level, message, dict(context)))
        self.threads.add(threading.get_ident())
        self.told.set()


class Timers:
    """An event loop as far as a sink needs one: it keeps what is asked for later."""

    def __init__(self) -> None:
        self.due: list[tuple[float, Callable[[], object]]] = []

    def call_later(self, seconds: float, work: Callable[[], object]) -> None:
        """Keeps work for later."""
        self.due.append((seconds, work))

    def fire(self) -> None:
        """Does all that is due."""
        due, self.due = self.due, []
        for _, work in due:
            work()


class Clock:
    """Stands for the module `time`, with a time that tests write, in seconds."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        """The time."""
        return self.now

    def monotonic_ns(self) -> int:
        """The time."""
        return round(self.now * 1e9)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time that attempts see."""
    made = Clock()
    monkeypatch.setattr("weftline_executor.engine.attempt.time", made)
    return made


def sink_of(run: Run, timers: Timers | None = None) -> AttemptSink:
    """A sink for a new attempt, whose reports come from the thread of its loop."""
    loop = cast("asyncio.AbstractEventLoop", timers or Timers())
    return AttemptSink(Attempt(0, "a", 1), run, loop)


def test_progress_is_told_when_it_grew_and_not_more_often_than_ten_times_a_second(clock: Clock) -> None:
    run, timers = Run(), Timers()
    sink = sink_of(run, timers)
    for step in range(100):
        clock.now += PROGRESS_INTERVAL / 10
        sink.progress((step + 1) / 200, None)
        if step % 10 == 9:
            timers.fire()
    assert len(run.progress) <= 11
    assert run.progress == sorted(run.progress)
    assert run.progress[-1] == 0.5
    clock.now += 1
    sink.progress(0.5, None)
    sink.progress(0.3, None)
    assert run.progress[-1] == 0.5
    assert len(run.progress) == len(set(run.progress))


def test_the_newest_progress_is_told_when_the_time_has_come(clock: Clock) -> None:
    run, timers = Run(), Timers()
    sink = sink_of(run, timers)
    sink.progress(0.01, None)
    clock.now += 0.03
    for step in range(2, 51):
        sink.progress(step / 100, None)
    assert run.progress == [0.01]
    assert [seconds for seconds, _ in timers.due] == [pytest.approx(PROGRESS_INTERVAL - 0.03)]
    clock.now += PROGRESS_INTERVAL
    timers.fire()
    assert run.progress == [0.01, 0.5]


def test_the_end_is_told_at_once_and_only_once(clock: Clock) -> None:
    run, timers = Run(), Timers()
    sink = sink_of(run, timers)
    for fraction in (0.2, 0.3, 1.0, 1.0):
        sink.progress(fraction, None)
    assert run.progress == [0.2, 1.0]
    clock.now += PROGRESS_INTERVAL
    timers.fire()
    assert run.progress == [0.2, 1.0]


def test_of_texts_so_far_the_newest_is_told_and_not_more_often_than_ten_times_a_second(clock: Clock) -> None:
    run, timers = Run(), Timers()
    sink = sink_of(run, timers)
    for length in range(1, 101):
        clock.now += PROGRESS_INTERVAL / 10
        sink.partial("x" * length)
        if length % 10 == 0:
            timers.fire()
    assert len(run.partials) <= 11
    assert run.partials[-1] == {"text": "x" * 100}
    assert run.progress == []


def test_the_text_so_far_and_the_progress_are_told_together(clock: Clock) -> None:
    run, timers = Run(), Timers()
    sink = sink_of(run, timers)
    sink.partial("a")
    sink.progress(0.5, None)
    sink.partial("ab")
    clock.now += PROGRESS_INTERVAL
    timers.fire()
    sink.progress(1.0, None)
    assert (run.progress, run.partials) == ([0.5, 1.0], [{"text": "a"}, {"text": "ab"}, {"text": "ab"}])


@pytest.mark.parametrize(("letter", "size"), [("x", 1), ("ß", 2), ("語", 3), ("𝄞", 4)])
def test_of_a_long_text_the_end_is_told(letter: str, size: int) -> None:
    run = Run()
    sink_of(run).partial("first" + letter * MAX_PARTIAL)
    assert run.partials == [{"text": letter * (MAX_PARTIAL // size), "truncated": True}]


def test_a_text_that_is_no_unicode_is_told_all_the_same() -> None:
    run = Run()
    sink_of(run).partial("half \ud800")
    assert run.partials == [{"text": "half ?"}]


def test_no_beginning_of_a_secret_is_told_while_the_text_is_made(clock: Clock) -> None:
    run, attempt = Run(), Attempt(0, "a", 1)
    attempt.secrets = SecretSession({"TOKEN": "s3cr3t-token"})
    sink = AttemptSink(attempt, run, cast("asyncio.AbstractEventLoop", Timers()))
    assert attempt.secrets["TOKEN"]
    text = "It is s3cr3t-token, I think."
    for length in range(1, len(text) + 1):
        clock.now += PROGRESS_INTERVAL
        sink.partial(text[:length])
    told = [partial["text"] for partial in run.partials]
    assert "It is " in told
    assert not any("s3" in str(each) for each in told)
    assert told[-1] == "It is ***, I think."


def test_a_text_so_far_is_a_sign_of_life(clock: Clock) -> None:
    attempt = Attempt(0, "a", 1)
    sink = AttemptSink(attempt, Run(), cast("asyncio.AbstractEventLoop", Timers()))
    sink.partial("a")
    clock.now += PROGRESS_INTERVAL / 2
    sink.partial("ab")
    assert attempt.heard == clock.now


def test_a_message_with_progress_becomes_a_line() -> None:
    run = Run()
    sink_of(run).progress(0.5, "half")
    assert run.lines == [("info", "half", {})]


async def test_what_another_thread_says_arrives_in_the_loops() -> None:
    run = Run()
    sink = AttemptSink(Attempt(0, "a", 1), run, asyncio.get_running_loop())

    def work() -> None:
        sink.progress(0.5, None)
        sink.log("warn", "careful", {"n": 1})

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    async with asyncio.timeout(10):
        while not (run.lines and run.progress):
            run.told.clear()
            await run.told.wait()
    assert run.threads == {threading.get_ident()}
    assert run.lines == [("warn", "careful", {"n": 1})]


def test_a_context_is_kept_as_it_was_when_the_line_was_written() -> None:
    run = Run()
    context: dict[str, object] = {"n": 1}
    sink_of(run).log("info", "line", context)
    context["n"] = 2
    assert run.lines == [("info", "line", {"n": 1})]


def test_lines_of_an_attempt_are_bounded_and_the_last_says_so() -> None:
    run = Run()
    sink = sink_of(run)
    for number in range(MAX_LOGS + 50):
        sink.log("debug", str(number), {})
    assert len(run.lines) == MAX_LOGS
    level, message, _ = run.lines[-1]
    assert level == "warn"
    assert str(MAX_LOGS) in message


def test_a_node_sees_that_it_is_cancelled() -> None:
    attempt = Attempt(0, "a", 1)
    sink = AttemptSink(attempt, Run(), cast("asyncio.AbstractEventLoop", Timers()))
    assert not sink.cancelled()
    attempt.cancelled = True
    assert sink.cancelled()


def test_an_attempt_knows_how_long_it_has_run(clock: Clock) -> None:
    attempt = Attempt(0, "a", 1)
    clock.now += 1.2345678
    assert attempt.elapsed_ms() == 1234
