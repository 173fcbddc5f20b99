"""Hosts with networks, processes and memory of their own, and a store that all reach: one loses its power, then the
head does, and others go on; or a cable is pulled. (`examples/hosts.sh` makes them, as in docs/cluster.md.)"""

from __future__ import annotations

import fcntl
import os
import random
import secrets
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs
import pytest

from cfsweep.results.reader import filesystem, is_study, read_table
from tests.faults.conftest import Measured
from tests.faults.disturbed import SMOKE
from tests.faults.verdict import own_lines, told, verdict
from tests.results.s3 import S3, running
from tests.sweeping.command import ROOT, Processes, finish

SCRIPT = ROOT / "examples" / "hosts.sh"
HERE = "10.77.0.254"  # this machine, for the hosts
PORT = 6379
TRIALS = 60
STUDY = ("--trials", str(TRIALS), "--pack", "2", "--set", "epochs=100", "--set", "stop_trials=false")
pytestmark = pytest.mark.slow


def hosts(*args: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([SCRIPT, *args], capture_output=True, text=True, check=False)


@pytest.fixture
def network() -> Iterator[None]:
    """Hosts can be made within it, of which a machine has one network: another process waits."""
    if os.geteuid() != 0:
        pytest.skip("only root makes hosts of its own: run the tests as root for this one")
    with Path("/run/cfsweep-hosts.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield from _network()


def _network() -> Iterator[None]:
    hosts("down")
    made = hosts("up", "try", "10.77.0.9")
    if made.returncode:
        hosts("down")
        pytest.skip(f"this machine lets no hosts be made: {made.stderr.strip()}")
    hosts("kill", "try")
    yield
    hosts("down")


@pytest.fixture
def s3(network: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    with running(HERE) as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        yield server


class Hosts:
    """A cluster of hosts, and a study whose results lie in the store, at `out`."""

    def __init__(self, place: Path, s3: S3, processes: Processes) -> None:
        self.place, self.out, self.processes = place, s3.address("hosts"), processes
        (place / "token").write_text(secrets.token_hex(32))
        (place / "token").chmod(0o600)
        self.environment = {
            **processes.environment,
            **s3.environment,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(place / "token"),
            "RAY_USAGE_STATS_ENABLED": "0",
            "CFSWEEP_CACHE": "/tmp/ray/cache",  # which no other host sees
        }

    def on(self, host: str, *command: str | Path) -> subprocess.Popen[str]:
        found = subprocess.Popen(
            [SCRIPT, "in", host, *map(str, command)],
            env=self.environment,
            cwd=self.place,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.processes.started.append(found)
        return found

    def up(self, host: str, ip: str, head: str | None = None) -> None:
        assert hosts("up", host, ip).returncode == 0
        at = (
            ("--address", f"{head}:{PORT}") if head else ("--head", "--port", str(PORT), "--include-dashboard", "false")
        )
        code, _, said = finish(self.on(host, "ray", "start", *at, "--node-ip-address", ip, "--num-cpus", "1"))
        assert code == 0, said

    def rows(self) -> list[dict[str, Any]]:
        return read_table(self.out, "runs").to_pylist() if is_study(self.out) else []

    def until_trained(self, driver: subprocess.Popen[str], names: set[str], more: int = 0) -> None:
        """Rows of these hosts are there, and so many rows more than now."""
        deadline, begun = time.monotonic() + 300, len(self.rows())
        while not (names <= {row["host"] for row in self.rows()} and len(self.rows()) >= begun + more):
            assert driver.poll() is None, finish(driver)
            assert time.monotonic() < deadline
            time.sleep(0.2)

    def whole(self) -> int:
        """Asserts that what lies in the store is whole; how many runs were compared."""
        copy = self.place / "copy"
        fs, path = filesystem(self.out)
        pafs.copy_files(path, str(copy), source_filesystem=fs, destination_filesystem=pafs.LocalFileSystem())
        return verdict(copy, TRIALS, 1, aside=r"\.writers?(/.*)?")


@pytest.fixture
def cluster(s3: S3, tmp_path: Path) -> Iterator[Hosts]:
    processes = Processes(tmp_path)
    yield Hosts(tmp_path, s3, processes)
    processes.end()


@pytest.mark.fault(
    "a host loses its power, then the head does (results in a store)",
    "the first costs its packs' last tasks; `resume` on other hosts goes on once the claim is two minutes old",
)
def test_a_host_and_then_the_head_lose_their_power(cluster: Hosts, measured: Measured) -> None:
    cluster.up("head", "10.77.0.1")
    cluster.up("other", "10.77.0.2", head="10.77.0.1")
    driver = cluster.on("head", "cfsweep", "run", SMOKE, *STUDY, "--address", "auto", "--out", cluster.out)
    cluster.until_trained(driver, {"head", "other"})
    assert hosts("kill", "other").returncode == 0
    cluster.until_trained(driver, {"head"}, more=2)
    assert hosts("kill", "head").returncode == 0
    finish(driver)
    measured.faults = 2
    before = {(row["trial"], row["seed"]): row for row in cluster.rows()}
    assert len(before) < TRIALS

    cluster.up("third", "10.77.0.3")
    cluster.up("fourth", "10.77.0.4", head="10.77.0.3")
    deadline, refused = time.monotonic() + 200, 0
    while True:
        code, printed, complaints = finish(cluster.on("third", "cfsweep", "resume", cluster.out, "--address", "auto"))
        if code == 0:
            break
        assert f"cfsweep: {cluster.out}: another cfsweep is writing to this study (process" in complaints
        assert "on head, last heard of" in complaints
        assert time.monotonic() < deadline
        refused += 1
        time.sleep(10)
    assert refused, "nobody can know at once that the head is dead"
    assert "picked up: " in printed
    measured.runs = cluster.whole()
    found = cluster.rows()
    after = {(row["trial"], row["seed"]): row for row in found}
    assert {key: after[key] for key in before} == before, "what was there is as it was"
    assert {"third", "fourth"} <= {row["host"] for row in found}


@pytest.mark.fault(
    "a host's cable is pulled until it is taken for dead; then the head's, with the store behind it, for a while",
    "it goes on with the hosts that are left, and carries to the store what it could not meanwhile",
)
def test_cables_are_pulled(cluster: Hosts, measured: Measured, rng: random.Random) -> None:
    cluster.up("head", "10.77.0.1")
    cluster.up("other", "10.77.0.2", head="10.77.0.1")
    driver = cluster.on("head", "cfsweep", "run", SMOKE, *STUDY, "--address", "auto", "--out", cluster.out)
    cluster.until_trained(driver, {"head", "other"})
    for host, least_s, most_s in (("other", 45.0, 60.0), ("head", 10.0, 25.0)):
        assert driver.poll() is None, finish(driver)
        subprocess.run(["ip", "link", "set", f"cfs-{host}", "down"], check=True)
        time.sleep(rng.uniform(least_s, most_s))
        subprocess.run(["ip", "link", "set", f"cfs-{host}", "up"], check=True)
        measured.faults += 1
    code, printed, complaints = finish(driver)
    assert code == 0, (printed, complaints)
    measured.told = own_lines(complaints)[:1]
    told(complaints, *[r"cfsweep: .*"] * len(own_lines(complaints)))
    measured.runs = cluster.whole()
