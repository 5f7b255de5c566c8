"""Measures the bridge and its peers under the same loads, and draws the claims from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bench.claims import Claim, Outcome, Target, at_least, at_most, least, middle
from bench.fanout import trial
from bench.fanout.plans import Plan
from bench.fanout.servers import BRIDGE, SERVERS
from bench.report import progress

RUNS = 3
CPU = "server CPU-s per million deliveries"
_QUICK_CLIENTS = 50
_KIB = 1024

Figures = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Load:
    """A load and what is asked of the bridge under it, by peer: of its CPU time, latency and throughput."""

    name: str
    clients: int
    plan: Plan
    bridge_plan: Plan | None = None
    peers: tuple[str, ...] = ("ws", "nchan", "socket.io", "websockets")
    cpu: Mapping[str, Target] = field(default_factory=dict)
    latency: Mapping[str, Target] | None = None
    throughput: Mapping[str, Target] | None = None
    alone: tuple[tuple[str, str, Callable[[Figures], float], Target], ...] = ()

    def plan_for(self, server: str) -> Plan:
        """What a server sends: the bridge may be given more, so that its run lasts as long."""
        return self.bridge_plan if server == BRIDGE and self.bridge_plan else self.plan


def _p50(figures: Figures) -> float:
    return float(figures["latencyMs"]["p50"])


def _p99(figures: Figures) -> float:
    return float(figures["latencyMs"]["p99"])


def _number(name: str) -> Callable[[Figures], float]:
    return lambda figures: float(figures[name])


LOADS = (
    Load(
        "20 events/s x 1,000 clients",
        1000,
        Plan(200, 1, 0.05),
        cpu={"ws": at_most(0.75), "nchan": at_most(1.0), "socket.io": at_most(0.5)},
        latency={"ws": at_most(0.8), "nchan": at_most(0.9), "socket.io": at_most(0.6)},
    ),
    Load("200 events/s x 100 clients", 100, Plan(2000, 1, 0.005)),
    Load(
        "bursts of 10 x 1,000 clients",
        1000,
        Plan(1500, 10, 0.05),
        cpu={"ws": at_most(0.15), "nchan": at_most(0.2), "socket.io": at_most(0.15)},
        latency={},
    ),
    Load(
        "flat out, 1,000 clients",
        1000,
        Plan(1000, 50, window=200),
        bridge_plan=Plan(20_000, 50, window=200),
        throughput={"ws": at_least(15), "nchan": at_least(10), "socket.io": at_least(20)},
    ),
    Load(
        "10,000 events/s x 100 clients",
        100,
        Plan(50_000, 100, 0.01),
        peers=(),
        alone=(("share of a core at 1 M deliveries/s", "", _number("cpuShare"), at_most(0.2)),),
    ),
    Load(
        "500 events/s x 1,000 clients",
        1000,
        Plan(2500, 1, 0.002),
        peers=(),
        alone=(("p50 from source to socket", "ms", _p50, at_most(5.0)),),
    ),
)


def run(*, quick: bool) -> Outcome:
    """Measures all loads; `quick` with few clients and events, once, for a look."""
    loads = [_quick(load) for load in LOADS] if quick else list(LOADS)
    steady = loads[0]
    runs = {load.name: _measure(load, 1 if quick else RUNS) for load in loads}
    claims = [claim for load in loads for claim in _claims(load, runs[load.name])]
    claims += _memory(steady, runs[steady.name])
    voids = [
        f"{load}, {server}: {figures['void']}"
        for load, servers in runs.items()
        for server, all_figures in servers.items()
        for figures in all_figures
        if "void" in figures
    ]
    return Outcome("fanout", claims, runs, voids)


def _quick(load: Load) -> Load:
    events = load.plan.batch * 8
    plan = replace(load.plan, count=events)
    name = f"{load.name} (quick: {_QUICK_CLIENTS})"
    return replace(load, name=name, clients=_QUICK_CLIENTS, plan=plan, bridge_plan=None)


def _measure(load: Load, runs: int) -> dict[str, list[Figures]]:
    """All servers take turns, so that what drifts on the machine drifts for all."""
    servers = (BRIDGE, *load.peers)
    found: dict[str, list[Figures]] = {server: [] for server in servers}
    for number in range(runs):
        for server in servers:
            progress(f"fanout: {load.name}: {server}, run {number + 1} of {runs}")
            sample = max(1, load.clients // 50)
            figures = trial.once(SERVERS[server], load.plan_for(server), clients=load.clients, sample=sample)
            found[server].append(figures)
    return found


def _values(figures: Sequence[Figures], read: Callable[[Figures], float]) -> list[float | None]:
    return [None if "void" in each else read(each) for each in figures]


def _claims(load: Load, runs: dict[str, list[Figures]]) -> list[Claim]:
    cpu, rate = _number("cpuPerMillionDeliveries"), _number("deliveriesPerSecond")

    def beside(
        peer: str, measure: str, unit: str, read: Callable[[Figures], float], target: Target | None, pick: Any = middle
    ) -> Claim:
        ours, theirs = pick(_values(runs[BRIDGE], read)), pick(_values(runs[peer], read))
        return Claim(load.name, measure, unit, ours, peer, theirs, target)

    claims = [beside(peer, CPU, "", cpu, load.cpu.get(peer)) for peer in load.peers]
    if load.latency is not None:
        claims += [beside(peer, "p50 latency", "ms", _p50, load.latency.get(peer)) for peer in load.peers]
        claims += [beside(peer, "p99 latency, best run", "ms", _p99, None, least) for peer in load.peers]
    if load.throughput is not None:
        claims += [beside(peer, "deliveries/s", "", rate, load.throughput.get(peer)) for peer in load.peers]
    claims += [
        Claim(load.name, measure, unit, middle(_values(runs[BRIDGE], read)), target=target)
        for measure, unit, read, target in load.alone
    ]
    return claims


def _memory(steady: Load, found: dict[str, list[Figures]]) -> list[Claim]:
    """What an idle client costs, from the runs of the steady load: they all begin with idle clients."""

    def kib(server: str) -> float | None:
        return middle(_values(found[server], lambda figures: figures["idleRssPerClient"] / _KIB))

    ours = kib(BRIDGE)
    targets = {"socket.io": at_most(0.65)}
    load, measure, unit = f"{steady.clients:,} idle clients", "memory per client", "KiB"
    return [Claim(load, measure, unit, ours, target=at_most(16))] + [
        Claim(load, measure, unit, ours, peer, kib(peer), targets.get(peer)) for peer in steady.peers
    ]
