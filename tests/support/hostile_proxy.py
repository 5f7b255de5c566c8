"""A TCP proxy that does to connections what networks do: cuts, stalls, half-open ends, drips, delays and refusals."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum

CHUNK = 1 << 14
_RESET = struct.pack("ii", 1, 0)


class Fault(StrEnum):
    """What is done to a connection; in the end each is cut."""

    CUT = "cut"
    STALL = "stall"
    HALF_OPEN = "half_open"
    DRIP = "drip"
    DELAY = "delay"
    REFUSE = "refuse"


@dataclass(frozen=True)
class Plan:
    """One connection's fate: a fault after so many bytes, its end `seconds` later, and for certain after `life`."""

    fault: Fault
    after: int
    seconds: float
    life: float
    reset: bool
    upwards: bool


class HostileProxy:
    """Forwards to `target` (host, port). What happens to whom follows from `seed`; `cuts` counts it, by fault.

    `life` is the longest time for which a connection lasts, in seconds. After `calm` new connections are left alone.
    """

    def __init__(self, target: tuple[str, int], *, seed: int, life: float, port: int = 0) -> None:
        self.cuts: Counter[Fault] = Counter()
        self.address = ("", 0)
        self._target = target
        self._random = random.Random(seed)
        self._life = life
        self._port = port
        self._calm = False
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._enough: list[tuple[int, asyncio.Event]] = []

    async def start(self) -> None:
        """Listen on the port, a free one if it is 0."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._port)
        self.address = self._server.sockets[0].getsockname()[:2]

    async def close(self) -> None:
        """End all connections and stop listening."""
        if self._server is not None:
            self._server.close()
        await self._end_all()

    async def calm(self) -> None:
        """Cut what is open, and from now on only forward."""
        self._calm = True
        await self._end_all()

    async def cut_often(self, times: int) -> None:
        """Return when connections have been cut so many times."""
        reached = asyncio.Event()
        self._enough.append((times, reached))
        self._count_to()
        await reached.wait()

    async def _end_all(self) -> None:
        connections = list(self._connections)
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    def _plan(self) -> Plan:
        pick = self._random
        return Plan(
            fault=pick.choice(list(Fault)),
            after=pick.choice((0, 1, 50, 200, 1_000, 5_000, 30_000)),
            seconds=pick.uniform(0, min(0.3, self._life)),
            life=pick.uniform(0.01, self._life),
            reset=pick.random() < 0.5,
            upwards=pick.random() < 0.5,
        )

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        plan = None if self._calm else self._plan()
        ends = [writer]
        try:
            if plan is None or plan.fault is not Fault.REFUSE:
                with contextlib.suppress(OSError):
                    there, back = await asyncio.open_connection(*self._target)
                    ends.append(back)
                    await _Wire(plan, self._random).run((reader, back), (there, writer))
        except asyncio.CancelledError:
            pass  # the proxy ends, and whoever awaits this task knows
        finally:
            for end in ends:
                _abort(end, reset=plan is not None and plan.reset)
            if plan is not None:
                self.cuts[plan.fault] += 1
                self._count_to()
            self._connections.discard(task)

    def _count_to(self) -> None:
        for times, reached in self._enough:
            if self.cuts.total() >= times:
                reached.set()


class _Wire:
    """The two directions of one connection; `run` returns when it is to be cut or one end is gone."""

    def __init__(self, plan: Plan | None, random_: random.Random) -> None:
        self._plan = plan
        self._random = random_
        self._passed = 0
        self._struck = asyncio.Event()

    async def run(
        self,
        up: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        down: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        tasks = [
            asyncio.create_task(self._pump(*up, upwards=True), name="proxy-up"),
            asyncio.create_task(self._pump(*down, upwards=False), name="proxy-down"),
        ]
        if self._plan is not None:
            tasks.append(asyncio.create_task(self._doom(self._plan), name="proxy-doom"))
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _doom(self, plan: Plan) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(plan.life):
                await self._struck.wait()
        if self._struck.is_set() and plan.fault is not Fault.CUT:
            await asyncio.sleep(plan.seconds)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, upwards: bool) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(CHUNK):
                room = len(data)
                if self._plan is not None and not self._struck.is_set():
                    room = min(room, max(0, self._plan.after - self._passed))
                    if room < len(data):
                        writer.write(data[:room])
                        data = data[room:]
                        self._struck.set()
                self._passed += room
                await self._forward(data, writer, upwards=upwards)

    async def _forward(self, data: bytes, writer: asyncio.StreamWriter, *, upwards: bool) -> None:
        plan = self._plan if self._struck.is_set() else None
        fault = plan.fault if plan is not None else None
        if fault in (Fault.CUT, Fault.STALL):
            await asyncio.Event().wait()  # until it is cut
        elif plan is not None and fault is Fault.HALF_OPEN and upwards == plan.upwards:
            return
        elif fault is Fault.DRIP:
            while data:
                size = self._random.randint(1, 7)
                writer.write(data[:size])
                data = data[size:]
                await asyncio.sleep(0.001)
            return
        elif fault is Fault.DELAY:
            await asyncio.sleep(self._random.uniform(0, 0.02))
        writer.write(data)
        await writer.drain()


def _abort(writer: asyncio.StreamWriter, *, reset: bool) -> None:
    sock = writer.get_extra_info("socket")
    if reset and sock is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()


@contextlib.asynccontextmanager
async def hostile_proxy(
    target: tuple[str, int], *, seed: int, life: float, port: int = 0
) -> AsyncIterator[HostileProxy]:
    """A proxy that listens on a port, a free one if it is 0."""
    proxy = HostileProxy(target, seed=seed, life=life, port=port)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.close()
