"""Real sweeps by the real command line, on real Ray: begin, go on, interrupt, kill, and a cluster of two nodes."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pyarrow.parquet as pq
import pytest
import yaml

from cfsweep.results.reader import read_table
from cfsweep.results.schema import ACCURACY_SCHEMA
from cfsweep.results.status import Status, status
from cfsweep.sweep.folder import Folder
from cfsweep.training.streams import Stream
from tests.conftest import Run
from tests.sweep.in_process import Sweep
from tests.sweep.ray_backend.conftest import SLOW, Start, Terminated, finish, new_checkpoints, until


def workers() -> dict[int, int]:
    """Process id of each worker that trains or has trained a pack, and that of its parent, the node's raylet."""
    found = {}
    titles = ("ray::PackTrainable", "ray::ResourceTrainable")  # between two tasks, and while it trains
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            if (process / "cmdline").read_text().startswith(titles):
                found[int(process.name)] = int((process / "stat").read_text().rpartition(")")[2].split()[1])
    return found


def check_complete(folder: Path, trials: int, first: int = -2) -> Status:
    """That the study is whole: each trial and reference once, in Parquet and in Optuna alike."""
    now = status(folder)
    assert now.complete
    runs = read_table(folder, "runs").to_pylist()
    assert sorted(row["trial"] for row in runs) == list(range(first, trials))
    accuracy = read_table(folder, "accuracy")
    assert accuracy.schema.equals(ACCURACY_SCHEMA)
    assert accuracy.num_rows == sum((row["tasks_done"] + 1) * 5 for row in runs)  # the untrained network, and T tasks
    config, _ = Folder(folder).read()
    backend = optuna.storages.journal.JournalFileBackend(str(folder / "journal.log"))
    study = optuna.load_study(study_name=config.study_id, storage=optuna.storages.JournalStorage(backend))
    states = {"done": "COMPLETE", "stopped": "PRUNED", "failed": "FAIL"}
    told = {trial.number: trial.state.name for trial in study.trials}
    assert told == {row["trial"]: states[row["state"]] for row in runs if row["trial"] >= 0}
    assert list((folder / "checkpoints").iterdir()) == []
    return now


def files_in(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_sweep_from_begin_to_end_gives_what_it_gives_in_this_process(
    start: Start, run: Run, tmp_path: Path, stream: Stream
) -> None:
    """With an ingredient and a network of one's own; and a worker has trained the first task of all runs once."""
    log, on_ray, here = tmp_path / "steps", tmp_path / "on ray", tmp_path / "here"
    space = {
        "network": {"name": "tests.sweep.networks:counted", "args": {"log": str(log)}},
        "ingredients": ["examples.own_remedy:EWCPlusPlus", "replay"],
        "fixed": {"epochs": 1, "batch_size": 64, "lr": 0.01, "replay_buffer": 50, "replay_ratio": 0.25},
        "search": {"ewcpp_lambda": {"low": 1.0, "high": 1e6, "log": True}},
    }
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(space))
    sets = ("--set", "stop_trials=false", "--set", "curve_points_per_task=1")
    study = ("run", tmp_path / "space.yaml", *sets, "--pack", "2", "--trials", "4")
    code, printed, complaints = finish(start(*study, "--workers", "1", "--out", on_ray))
    assert (code, complaints) == (0, "")
    assert check_complete(on_ray, 4).done == 4
    assert "4/4 trials: 4 done, 0 stopped, 0 failed, best mixed 0." in printed
    assert f"python -m analysis report {on_ray}" in printed
    for part in on_ray.glob("*/*.parquet"):
        assert pq.read_schema(part).metadata[b"cfsweep_schema_version"] == b"1"
    steps = [len(log.read_text())]

    before = files_in(on_ray)
    code, printed, complaints = run(*study, "--out", on_ray, "--workers", "0")
    assert (code, complaints) == (0, "")
    assert "the study is complete: 4 trials ended" in printed
    assert files_in(on_ray) == before

    assert run(*study, "--workers", "0", "--out", here)[0] == 0
    steps.append(len(log.read_text()))
    assert rows_of(on_ray) == rows_of(here)
    runs = rows_of(here)["runs"]
    assert {row["method"] for row in runs} == {"ewc+++replay", "naive", "joint"}
    assert len({row["hp_ewcpp_lambda"] for row in runs}) == 4 + 1

    config, _ = Folder(here).read()
    apart = Sweep(tmp_path / "apart", stream)
    apart.train(apart.open(config.model_copy(update={"share_prefix": False}), workers=1))
    steps.append(len(log.read_text()))
    assert apart.matrices() == Sweep(on_ray, stream).matrices()
    assert apart.matrices("test") == Sweep(on_ray, stream).matrices("test")
    assert [row["steps"] for row in apart.rows()] == [row["steps"] for row in Sweep(on_ray, stream).rows()]
    steps_of_first_task = len(stream.tasks[0].train) // 64
    assert steps[1] == 2 * steps[0]
    # Of four runs in two packs, one has trained the first task; and of the two references, one.
    assert steps[2] - steps[1] - steps[0] == (3 + 1) * steps_of_first_task


def rows_of(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """All that a study has found, in a fixed order, but times and what else its processes held in memory."""
    found, chance = {}, ("train_s", "started_at", "peak_bytes")
    for table in ("runs", "accuracy", "test", "curves", "buffers"):
        rows = read_table(folder, table).to_pylist()
        kept = [{k: v for k, v in row.items() if k not in chance} for row in rows]
        assert kept, table
        found[table] = sorted(kept, key=lambda row: json.dumps(row, sort_keys=True))
    return found


def test_terminated_then_killed_then_completed(terminated: Terminated, start: Start, run: Run, tmp_path: Path) -> None:
    assert (terminated.code, terminated.complaints) == (130, "")
    assert terminated.seconds_to_end < 15
    assert f"interrupted. `cfsweep resume {terminated.out}` goes on." in terminated.printed
    assert not status(terminated.out).complete

    out = Path(shutil.copytree(terminated.out, tmp_path / "study"))
    with Folder(out).locked():
        code, _, complaints = run("resume", out)
    assert code == 2
    assert complaints == f"cfsweep: {out}: another cfsweep is writing to this study. Wait for it, or stop it.\n"
    second = start("resume", out, "--workers", "1")
    until(new_checkpoints(out), second)
    second.kill()
    second.communicate()
    assert not status(out).complete
    code, _, complaints = run("resume", out, "--workers", "0")  # what workers of Ray left, this process goes on with
    assert (code, complaints) == (0, "")
    assert check_complete(out, 4).done == 4


@pytest.mark.slow
def test_interrupted_then_completed(start: Start, smoke: Path, tmp_path: Path) -> None:
    out = tmp_path / "study"
    process = start("run", smoke, *SLOW, "--out", out)
    until(new_checkpoints(out), process)
    process.send_signal(signal.SIGINT)
    code, printed, complaints = finish(process, 30)
    assert (code, complaints) == (130, "")
    assert f"interrupted. `cfsweep resume {out}` goes on." in printed
    assert not status(out).complete
    code, _, complaints = finish(start("resume", out))
    assert (code, complaints) == (0, "")
    assert check_complete(out, 4).done == 4


def test_the_stream_is_in_memory_once_for_all_workers_of_a_machine(terminated: Terminated, stream: Stream) -> None:
    one, other = terminated.workers
    assert one["pid"] != other["pid"]
    assert one["streams"] == other["streams"]  # the same bytes of the same file of memory, under two processes
    (places,) = one["streams"]
    for name, total in (("x", stream.x.sum()), ("y", stream.y.sum())):
        path, inode, _, content = places[name]
        assert "plasma" in path[0]
        assert inode != "0"
        assert content == int(total)


# ------------------------------------------------------------------------------------------------ a cluster

CLUSTER = """
import sys
from ray.cluster_utils import Cluster
node = {"num_cpus": 1, "include_dashboard": False}
cluster = Cluster(initialize_head=True, head_node_args=node)
cluster.add_node(num_cpus=1)
raylets = [node.all_processes["raylet"][0].process.pid for node in cluster.list_all_nodes()]
print(cluster.address, *raylets, flush=True)
sys.stdin.read()
cluster.shutdown()
"""

# What the user's folder holds: an ingredient whose convention says, wherever it is asked, where the code lies.
INGREDIENT = """
import json, os, sys
import torch
from cfsweep.hypers import Hyper
from cfsweep.training.ingredients import Conventions, Penalty
from mynets import small

class Placed(Penalty):
    name, summary, paper = "placed", "says where it is", "none"
    hypers = (Hyper("placed_strength", "float", 1.0, "nothing", low=0.0, off=0.0, takes_effect="later"),)

    @staticmethod
    def conventions(settings):
        return Conventions(json.dumps({"ingredient": __file__, "network": small.__file__, "pid": os.getpid()}))

    def gradient(self, theta, state, values):
        return torch.zeros_like(theta)

    def consolidate(self, theta, state, values, task, examples):
        return state
"""
NETWORK = """
import math
from torch import nn

def build(input_shape, n_outputs, hidden):
    layers = [nn.Linear(math.prod(input_shape), hidden), nn.ReLU(), nn.Linear(hidden, n_outputs)]
    return nn.Sequential(nn.Flatten(), *layers)
"""
SPACE = """
network: {name: "mynets.small:build", args: {hidden: 16}}
ingredients: ["mine:Placed"]
fixed: {batch_size: 64, lr: 0.01}
search: {placed_strength: {low: 1.0, high: 9.0}}
"""


@pytest.fixture
def cluster(environment: dict[str, str], tmp_path: Path) -> Iterator[tuple[str, list[int]]]:
    """A Ray cluster of two nodes with one processor each: (address, process ids of the nodes' raylets)."""
    command, elsewhere = [sys.executable, "-c", CLUSTER], tmp_path / "elsewhere"
    elsewhere.mkdir()
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, env=environment, cwd=elsewhere, **pipes, text=True) as process:
        assert process.stdout is not None
        address, *raylets = process.stdout.readline().split()
        yield address, [int(pid) for pid in raylets]
        process.communicate("", timeout=60)


def test_a_cluster_of_two_nodes_a_killed_worker_and_code_of_ones_own(
    start: Start, run: Run, cluster: tuple[str, list[int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, raylets = cluster
    assert len(set(raylets)) == 2
    own, out = tmp_path / "own", tmp_path / "study"
    (own / "mynets").mkdir(parents=True)
    for name, content in {"mine.py": INGREDIENT, "mynets/small.py": NETWORK, "space.yaml": SPACE}.items():
        (own / name).write_text(content)
    study = ("run", "space.yaml", *SLOW, "--set", "references=false", "--out", out)
    process = start(*study, "--address", "auto", cwd=own, RAY_ADDRESS=address)
    until((out / "study.yaml").exists, process)
    # Ray puts the folder that a driver began in on the path of workers of the same machine: they shall not find it.
    own = own.rename(tmp_path / "moved")
    any_new, seen, killed = new_checkpoints(out), set[int](), 0
    while process.poll() is None:
        mine = {pid: raylet for pid, raylet in workers().items() if raylet in raylets}
        seen |= set(mine.values())
        if not killed and mine and any_new():
            killed = next(iter(mine))
            os.kill(killed, signal.SIGKILL)
        time.sleep(0.1)
    code, _, complaints = finish(process)
    assert (code, complaints) == (0, "")
    assert seen == set(raylets)  # packs were trained under the raylets of both nodes
    assert killed
    assert check_complete(out, 4, first=0).done == 4
    runs = read_table(out, "runs").to_pylist()
    assert {row["attempt"] for row in runs} == {1, 2}

    # The user's modules came to the workers, who would not have found them in any folder of their own.
    assert {row["method"] for row in runs} == {"placed"}
    places = [json.loads(row["penalty_convention"]) for row in runs]
    for place in places:
        assert place["pid"] != process.pid
        for file, its_name in ((place["ingredient"], "mine.py"), (place["network"], "small.py")):
            assert "py_modules_files" in Path(file).parts
            assert Path(file).name == its_name
    assert sorted(path.name for path in own.iterdir() if path.name != "__pycache__") == [
        "mine.py",
        "mynets",
        "space.yaml",
    ]

    before = {path: path.read_bytes() for path in out.glob("*/*.parquet")}
    monkeypatch.chdir(own)
    code, _, complaints = run("resume", out, "--trials", "+1", "--workers", "0")
    assert (code, complaints) == (0, "")
    check_complete(out, 5, first=0)
    assert {path: path.read_bytes() for path in before} == before
