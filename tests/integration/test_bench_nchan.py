"""nchan loses no event in a measurement, what is measured of it is its worker, and nothing of it stays."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from bench.fanout import trial
from bench.fanout.plans import Plan
from bench.fanout.servers import SERVERS, Running
from bench.peers import install, nginx
from bench.peers.install import PeersMissing

CLIENTS = 10


@pytest.fixture(scope="module", autouse=True)
def nchan_is_here() -> None:
    try:
        install.nchan()
    except PeersMissing as error:
        pytest.skip(f"nchan can't be had: {error}")
    if os.geteuid() != 0 and not nginx.FIXED_FOLDER.exists():
        pytest.skip(f"only root can make {nginx.FIXED_FOLDER}, without which nchan does not start")


@pytest.fixture
def nchan(tmp_path: Path) -> Iterator[Running]:
    with SERVERS["nchan"](tmp_path) as running:
        yield running


@pytest.mark.parametrize(
    "plan",
    [Plan(60, 1, 0.002), Plan(200, 10, 0.01), Plan(1000, 50, window=200)],
    ids=["single events", "bursts", "flat out"],
)
def test_every_event_reaches_every_client_of_nchan_once_and_in_order(plan: Plan) -> None:
    figures = trial.once(SERVERS["nchan"], plan, clients=CLIENTS, sample=1)
    assert "void" not in figures, figures
    assert figures["deliveries"] == plan.count * CLIENTS
    if plan.interval:
        # Two of three events say when they were sent.
        assert figures["samples"] == CLIENTS * sum(seq % 3 != 1 for seq in range(1, plan.count + 1))


def test_what_is_measured_of_nchan_is_the_only_worker_of_its_nginx(nchan: Running) -> None:
    worker = psutil.Process(nchan.pid)
    master = worker.parent()
    assert master is not None
    assert worker.name() == master.name() == "nginx"
    assert master.children() == [worker]
    assert master.parent() == psutil.Process()
    assert worker.children() == []


def test_nginx_listens_on_loopback_alone_and_its_worker_is_not_root(nchan: Running) -> None:
    worker = psutil.Process(nchan.pid)
    listening = [each for each in worker.net_connections() if each.status == psutil.CONN_LISTEN]
    assert {each.laddr for each in listening} == {("127.0.0.1", nchan.port)}
    assert worker.uids().effective != 0


def test_nginx_leaves_neither_a_process_nor_a_port_nor_a_folder(tmp_path: Path) -> None:
    was_there = nginx.FIXED_FOLDER.exists()
    with SERVERS["nchan"](tmp_path) as running:
        worker = psutil.Process(running.pid)
        assert nginx.FIXED_FOLDER.exists() == was_there, "it would stay when the bench is killed"
    assert not worker.is_running()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", running.port), 1)
