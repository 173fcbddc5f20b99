"""Hosts with networks, processes and memory of their own, and a store that all reach: one loses its power, then the
head does, and others go on. (`examples/hosts.sh` makes them, as in docs/cluster.md.)"""

from __future__ import annotations

import os
import secrets
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cfsweep.results.reader import is_study, read_table
from cfsweep.results.status import status
from tests.results.s3 import S3, running
from tests.sweeping.command import ROOT, Processes, finish

SCRIPT = ROOT / "examples" / "hosts.sh"
HERE = "10.77.0.254"  # this machine, for the hosts
PORT = 6379


def hosts(*args: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([SCRIPT, *args], capture_output=True, text=True, check=False)


@pytest.fixture
def network() -> Iterator[None]:
    """Hosts can be made within it."""
    if os.geteuid() != 0:
        pytest.skip("only root makes hosts of its own: run the tests as root for this one")
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


@pytest.mark.slow
def test_a_host_and_then_the_head_lose_their_power(s3: S3, tmp_path: Path, smoke: Path) -> None:
    (tmp_path / "token").write_text(secrets.token_hex(32))
    (tmp_path / "token").chmod(0o600)
    processes, out = Processes(tmp_path), s3.address("hosts")
    environment = {
        **processes.environment,
        **s3.environment,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(tmp_path / "token"),
        "RAY_USAGE_STATS_ENABLED": "0",
        "CFSWEEP_CACHE": "/tmp/ray/cache",  # which no other host sees
    }

    def on(host: str, *command: str | Path) -> subprocess.Popen[str]:
        found = subprocess.Popen(
            [SCRIPT, "in", host, *map(str, command)],
            env=environment,
            cwd=tmp_path,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        processes.started.append(found)
        return found

    def up(host: str, ip: str, head: str | None = None) -> None:
        assert hosts("up", host, ip).returncode == 0
        where = (
            ("--address", f"{head}:{PORT}") if head else ("--head", "--port", str(PORT), "--include-dashboard", "false")
        )
        code, _, said = finish(on(host, "ray", "start", *where, "--node-ip-address", ip, "--num-cpus", "1"))
        assert code == 0, said

    def rows() -> list[dict[str, Any]]:
        return read_table(out, "runs").to_pylist() if is_study(out) else []

    def until_trained(driver: subprocess.Popen[str], names: set[str], more: int = 0) -> None:
        deadline, begun = time.monotonic() + 300, len(rows())
        while not (names <= {row["host"] for row in rows()} and len(rows()) >= begun + more):
            assert driver.poll() is None, finish(driver)
            assert time.monotonic() < deadline
            time.sleep(0.2)

    try:
        up("head", "10.77.0.1")
        up("other", "10.77.0.2", head="10.77.0.1")
        study = ("--trials", "60", "--pack", "2", "--set", "epochs=60", "--set", "stop_trials=false")
        driver = on("head", "cfsweep", "run", smoke, *study, "--address", "auto", "--out", out)
        until_trained(driver, {"head", "other"})
        assert hosts("kill", "other").returncode == 0
        until_trained(driver, {"head"}, more=2)
        assert hosts("kill", "head").returncode == 0
        finish(driver)
        before = {(row["trial"], row["seed"]): row for row in rows()}
        assert len(before) < 60

        up("third", "10.77.0.3")
        up("fourth", "10.77.0.4", head="10.77.0.3")
        deadline, refused = time.monotonic() + 200, 0
        while True:
            code, printed, complaints = finish(on("third", "cfsweep", "resume", out, "--address", "auto"))
            if code == 0:
                break
            assert f"cfsweep: {out}: another cfsweep is writing to this study (process" in complaints
            assert "on head, last heard of" in complaints
            assert time.monotonic() < deadline
            refused += 1
            time.sleep(10)
        assert refused, "nobody can know at once that the head is dead"
        assert "picked up: " in printed
    finally:
        processes.end()
    assert status(out).complete
    found = rows()
    assert set(Counter((row["trial"], row["seed"]) for row in found).values()) == {1}
    assert {row["trial"] for row in found} >= set(range(60))
    after = {(row["trial"], row["seed"]): row for row in found}
    assert {key: after[key] for key in before} == before, "what was there is as it was"
    assert {"third", "fourth"} <= {row["host"] for row in found}
    scores = read_table(out, "accuracy").to_pylist()
    cells = Counter((row["trial"], row["seed"], row["after_task"], row["eval_task"]) for row in scores)
    assert set(cells.values()) == {1}
