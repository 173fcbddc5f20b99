"""Nodes of a cluster on this machine go, come, and stand still; then its head is gone."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.conftest import Ends, Measured
from tests.faults.disturbed import Disturbed, send, wait_for
from tests.faults.verdict import own_lines, told
from tests.sweeping.command import Processes, descendants, finish
from tests.sweeping.ray_backend.scenarios import training

# A node that says nothing is taken for dead after some ten seconds, not after a minute.
SOON_DEAD = {
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "3000",
    "RAY_health_check_failure_threshold": "2",
}
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "f" * 64}
CLUSTER = """
import os, sys
os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
from ray.cluster_utils import Cluster
node = {"num_cpus": 1, "include_dashboard": False}
cluster = Cluster(initialize_head=True, head_node_args={"gcs_server_port": int(sys.argv[1]), **node})
head = cluster.head_node.all_processes
print(cluster.address, head["gcs_server"][0].process.pid, flush=True)
for line in sys.stdin:
    print(cluster.add_node(num_cpus=1).all_processes["raylet"][0].process.pid, flush=True)
"""
GOES_ON = r"cfsweep: .*; goes on by itself in \d+ s \(\d of at most 6 times without progress\)"
pytestmark = pytest.mark.slow


class Cluster:
    """With a head at `address`, and nodes that are known by the ids of their raylets."""

    def __init__(self, processes: Processes, place: Path, port: int) -> None:
        self.process = processes.start(
            str(port), program=("-c", CLUSTER), cwd=place, TMPDIR=str(place), **TOKEN, **SOON_DEAD
        )
        self.address, gcs = self._answer()
        self.gcs = int(gcs)

    def _answer(self) -> list[str]:
        assert self.process.stdout is not None
        return self.process.stdout.readline().split()

    def add(self) -> int:
        """A node with one processor; its raylet."""
        print("add", file=self.process.stdin, flush=True)
        return int(self._answer()[0])

    def end(self) -> None:
        """All of it, at once."""
        if self.process.poll() is not None:
            return
        for pid in (*descendants(self.process.pid), self.process.pid):
            send(pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def place() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="c", dir="/tmp"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def cluster(disturbed: Disturbed, place: Path) -> Iterator[Cluster]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    found = Cluster(disturbed.processes, place, port)
    yield found
    found.end()


def begin(disturbed: Disturbed, cluster: Cluster, epochs: int = 200) -> subprocess.Popen[str]:
    disturbed.settings = ("--set", f"epochs={epochs}")  # it takes some seconds until a node has joined, and trains
    return disturbed.start("--address", cluster.address, **TOKEN)


def until_it_trains(process: subprocess.Popen[str], raylet: int) -> None:
    def trains() -> bool:
        assert process.poll() is None, process.communicate()
        return raylet in training().values()

    wait_for(trains)


@pytest.mark.fault(
    "a node of a cluster is killed, and another one comes", "its packs go on elsewhere, and on the new node"
)
def test_nodes_go_and_come(disturbed: Disturbed, ends: Ends, measured: Measured, cluster: Cluster) -> None:
    node = cluster.add()
    process = begin(disturbed, cluster)
    until_it_trains(process, node)
    disturbed.moment(process, latest=2)
    measured.faults = send(node, signal.SIGKILL)
    until_it_trains(process, cluster.add())
    code, printed, complaints = finish(process)
    assert "another one goes on from its last checkpoint" in printed
    assert ends.whole((code, printed, complaints)) == ""


@pytest.mark.fault(
    "a node stands still until it is taken for dead, and comes back (late reports)",
    "its packs go on elsewhere; what it says late is passed over",
)
def test_a_node_stands_still(disturbed: Disturbed, ends: Ends, measured: Measured, cluster: Cluster) -> None:
    node = cluster.add()
    process = begin(disturbed, cluster, epochs=300)
    until_it_trains(process, node)
    disturbed.moment(process, latest=2)
    stopped = [node, *descendants(node)]
    for pid in stopped:
        send(pid, signal.SIGSTOP)
    measured.faults = 1
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.5)
    assert process.poll() is None, "nobody hears what it says late"
    for pid in stopped:
        send(pid, signal.SIGCONT)
    code, printed, complaints = finish(process)
    assert "another one goes on from its last checkpoint" in printed
    assert ends.whole((code, printed, complaints)) == ""


@pytest.mark.fault("the broker is killed on a cluster", "the sweep says so, begins another one there, and goes on")
def test_the_broker_is_killed(disturbed: Disturbed, ends: Ends, measured: Measured, cluster: Cluster) -> None:
    process = begin(disturbed, cluster)
    for _ in range(disturbed.rng.randint(1, 2)):
        disturbed.moment(process, latest=3, earliest=1)
        wait_for(lambda: broker_of(cluster) is not None)
        measured.faults += send(broker_of(cluster) or 0, signal.SIGKILL)
    complaints = ends.whole(finish(process))
    measured.told = own_lines(complaints)[:1]
    told(complaints, *[GOES_ON] * measured.faults)


def broker_of(cluster: Cluster) -> int | None:
    processes = descendants(cluster.process.pid)
    return next((pid for pid, name in processes.items() if name.startswith("ray::StreamBroker")), None)


@pytest.mark.fault("the GCS of a cluster is stopped for 20 s (SIGSTOP), and goes on", "so does the sweep, by itself")
def test_the_gcs_is_stopped_for_a_while(disturbed: Disturbed, ends: Ends, measured: Measured, cluster: Cluster) -> None:
    process = begin(disturbed, cluster)
    disturbed.moment(process, earliest=1)
    send(cluster.gcs, signal.SIGSTOP)
    time.sleep(20)
    measured.faults = send(cluster.gcs, signal.SIGCONT)
    complaints = ends.whole(finish(process))
    measured.told = own_lines(complaints)[:1]
    told(complaints, *[GOES_ON] * len(own_lines(complaints)))


@pytest.mark.fault(
    "all of a cluster is killed; another one begins at its address",
    "the sweep says so, waits, and goes on there",
)
def test_the_cluster_is_killed(
    disturbed: Disturbed, ends: Ends, measured: Measured, cluster: Cluster, place: Path
) -> None:
    process = begin(disturbed, cluster)
    cluster.add()
    disturbed.moment(process, earliest=1)
    cluster.end()
    measured.faults = 1
    again = Cluster(disturbed.processes, place, int(cluster.address.rpartition(":")[2]))
    try:
        complaints = ends.whole(finish(process))
    finally:
        again.end()
    measured.told = own_lines(complaints)[:1]
    told(complaints, *[GOES_ON] * max(1, len(own_lines(complaints))))


@pytest.mark.fault(
    "the GCS of a cluster is killed, and does not come back", "one line, exit code 2; `resume` goes on anywhere"
)
def test_the_gcs_is_killed_for_good(disturbed: Disturbed, ends: Ends, measured: Measured, cluster: Cluster) -> None:
    process = begin(disturbed, cluster)
    disturbed.moment(process, earliest=1)
    measured.faults = send(cluster.gcs, signal.SIGKILL)
    code, _, complaints = finish(process)
    assert code == 2, complaints
    last = own_lines(complaints)[-1]
    told(complaints, *[GOES_ON] * (len(own_lines(complaints)) - 1), r"cfsweep: (?!.*goes on by itself).*")
    measured.told = [last]
    assert ends.whole() == ""
