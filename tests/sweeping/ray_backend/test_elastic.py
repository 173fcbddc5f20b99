"""A cluster that grows and shrinks under two studies, and own code that lies beside the working folder."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cfsweep.results.reader import read_table
from tests.sweeping.command import ROOT, Processes, finish
from tests.sweeping.ray_backend.scenarios import NETWORK, training

CLUSTER = """
import os, sys
os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
from ray.cluster_utils import Cluster
def raylet(node):
    return node.all_processes["raylet"][0].process.pid
node = {"num_cpus": 1, "include_dashboard": False}
cluster = Cluster(initialize_head=True, head_node_args=node)
print(cluster.address, raylet(cluster.head_node), flush=True)
added = []
for line in sys.stdin:
    if line.strip() == "add":
        added.append(cluster.add_node(num_cpus=1))
        print(raylet(added[-1]), flush=True)
    else:
        print(raylet(added[0]), flush=True)
        cluster.remove_node(added.pop(0), allow_graceful=False)
cluster.shutdown()
"""
SPACE = {
    "network": {"name": "own_beside.nets:build", "args": {"hidden": 16}},
    "ingredients": ["replay"],
    "fixed": {"batch_size": 64, "lr": 0.01},
    "search": {"replay_ratio": {"low": 0.1, "high": 0.5}},
}


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    (tmp_path / "here").mkdir()
    found = Processes(tmp_path / "here")
    yield found
    found.end()


@pytest.mark.slow
def test_workers_follow_the_cluster_and_two_studies_share_it(processes: Processes, tmp_path: Path) -> None:
    (tmp_path / "beside" / "own_beside").mkdir(parents=True)
    (tmp_path / "beside" / "own_beside" / "nets.py").write_text(NETWORK)
    space = processes.cwd / "space.yaml"
    space.write_text(yaml.safe_dump(SPACE))
    processes.environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "e" * 64}
    cluster = processes.start(program=("-c", CLUSTER), cwd=tmp_path)
    assert cluster.stdin is not None
    assert cluster.stdout is not None
    address, head = cluster.stdout.readline().split()

    def ask(what: str) -> int:
        print(what, file=cluster.stdin, flush=True)
        return int(cluster.stdout.readline())  # type: ignore[union-attr]

    def start(out: str, epochs: int, *more: str) -> Any:
        options = (
            "--set",
            f"epochs={epochs}",
            "--set",
            "references=false",
            "--pack",
            "2",
            "--address",
            address,
            "--insecure",
            "--trust",
        )
        beside = f"{ROOT}:{tmp_path / 'beside'}"
        return processes.start("run", space, "--trust", *options, *more, "--out", tmp_path / out, PYTHONPATH=beside)

    def until_trained_under(raylet: int) -> None:
        deadline = time.monotonic() + 300
        while raylet not in training().values():
            assert process.poll() is None, finish(process)
            assert time.monotonic() < deadline
            time.sleep(0.05)

    process = start("follows", 60, "--trials", "60")
    until_trained_under(int(head))
    first = ask("add")
    until_trained_under(first)
    second = ask("add")
    until_trained_under(second)
    other = start("other", 1, "--trials", "2", "--workers", "1")
    ask("remove")  # the first one, in the midst
    for process_of, out, n in ((process, "follows", 60), (other, "other", 2)):
        code, printed, complaints = finish(process_of)
        assert (code, complaints) == (0, ""), printed
        rows = read_table(tmp_path / out, "runs").to_pylist()
        assert Counter(row["trial"] for row in rows) == Counter(range(n))
        assert {row["state"] for row in rows} <= {"done", "stopped"}
    cluster.communicate("", timeout=60)
