"""One Ray on this machine, started as a sweep starts it, of which several tests ask something."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

ASKED = """
import functools, json, os, threading, time
from pathlib import Path

import ray

ray.init = functools.partial(ray.init, num_gpus=1)  # a GPU that is not there

from cfsweep.config import StreamConfig
from cfsweep.sweep.ray_backend.cluster import connected
from cfsweep.sweep.ray_backend.pack_size import chosen
from cfsweep.sweep.ray_backend.trainable import fetch_stream, pack_stream
from cfsweep.sweep.scheduler import SweepPlan, Workers
from cfsweep.sweep.space import check_space
from cfsweep.training.streams import load_stream
from tests.sweep.in_process import tiny

@ray.remote(num_cpus=1)
def at_its_beginning():
    import os, sys
    return sorted({"cfsweep.sweep.ray_backend.trainable", "optuna"} & set(sys.modules)), dict(os.environ)

@ray.remote(num_cpus=1)
def where(references):
    # The place in which file of memory the tensors lie, and what they hold; twice, as for two packs.
    time.sleep(1)  # so that both workers are asked
    stream, again = fetch_stream(references[0]), fetch_stream(references[0])
    assert again is stream
    places = {}
    for name in ("x", "y"):
        at = getattr(stream, name).data_ptr()
        for line in open("/proc/self/maps"):
            ends, _, offset, _, inode, *path = line.split()
            begin, end = (int(address, 16) for address in ends.split("-"))
            if begin <= at < end:
                places[name] = (path, inode, int(offset, 16) + at - begin, int(getattr(stream, name).sum()))
    return os.getpid(), places

def children():
    # The command lines of what this process has started.
    for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        yield Path(f"/proc/{child}/cmdline").read_text().replace("\\0", " ")

stream = load_stream(StreamConfig(name="split-digits"))
config = tiny(pack_runs="auto")
plan = SweepPlan(config, check_space(config.space, "test"), stream, Path("nowhere"))
with connected(Workers(count=2)) as up:
    beginnings = ray.get([at_its_beginning.remote() for _ in range(2)])
    reference = ray.put(pack_stream(stream))
    facts = {
        "sums": [int(stream.x.sum()), int(stream.y.sum())],
        "places": ray.get([where.remote([reference]) for _ in range(2)]),
        "loaded": [loaded for loaded, _ in beginnings],
        "environment": beginnings[0][1],
        "children": list(children()),
        "resources": ray.cluster_resources(),
    }
    facts["fits"] = chosen(plan, reference, 1, {"CPU": 1, "GPU": 1.0}, threading.Event())
print(json.dumps(facts), flush=True)
"""


@pytest.fixture(scope="session")
def ray_facts(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What is found on Ray as a sweep starts it for two workers, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", ASKED],
        env=environment,
        cwd=tmp_path_factory.mktemp("asked"),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    facts: dict[str, Any] = json.loads(done.stdout)
    return facts
