"""Sweeps on real Ray by the real command line, from begin to end: what is looked at afterwards is brought back.

They take long, and wait most of the time; so they can be played while other tests run (see `conftest`).
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.sweeping.command import (
    ROOT,
    SECRETS,
    Processes,
    descendants,
    files_with_a_secret,
    finish,
    listening,
    new_checkpoints,
    until,
)

SMOKE = ROOT / "search_spaces" / "smoke.yaml"
# Near half a second for a task of a pack: long enough to be interrupted in the middle.
SLOW = ("--set", "epochs=40", "--set", "stop_trials=false", "--set", "pack_runs=2", "--trials", "4")


@dataclass(frozen=True)
class Ended:
    """A study in `out`, and how the command ended that worked on it: exit code, output, complaints."""

    out: Path
    code: int
    printed: str
    complaints: str


# ------------------------------------------------------------------------------------------------ from begin to end

SHARING: dict[str, Any] = {
    "ingredients": ["examples.own_remedy:EWCPlusPlus", "replay"],
    "fixed": {"epochs": 1, "batch_size": 64, "lr": 0.01, "replay_buffer": 50, "replay_ratio": 0.25},
    "search": {"ewcpp_lambda": {"low": 1.0, "high": 1e6, "log": True}},
}


@dataclass(frozen=True)
class Whole(Ended):
    """`study` are the arguments of the command, but for workers and folder; `log` has a mark for each step, and had
    `n_steps` when the sweep was over."""

    study: tuple[str | Path, ...]
    log: Path
    n_steps: int


def whole_sweep(processes: Processes, folder: Path) -> Whole:
    """With an ingredient and a network of one's own, on one worker, so that packs follow one another."""
    log, space, out = folder / "steps", folder / "space.yaml", folder / "on ray"
    network = {"name": "tests.sweeping.networks:counted", "args": {"log": str(log)}}
    space.write_text(yaml.safe_dump({"network": network, **SHARING}))
    sets = ("--set", "stop_trials=false", "--set", "curve_points_per_task=1")
    study = ("run", space, *sets, "--pack", "2", "--trials", "4", "--trust")
    ended = finish(processes.start(*study, "--workers", "1", "--out", out))
    return Whole(out, *ended, study, log, len(log.read_text()))


# ------------------------------------------------------------------------------------------------ confirmed


CONFIRM = ("--trials", "0,1", "--seeds", "2")


@dataclass(frozen=True)
class Confirmed(Ended):
    """How a sweep was confirmed with a worker of Ray's; `swept` is a copy of its folder before."""

    swept: Path


def confirmed_sweep(processes: Processes, folder: Path) -> Confirmed:
    """A sweep in one process, from which a trial was selected."""
    out = folder / "study"
    for command in (
        ("run", SMOKE, "--trials", "2", "--pack", "2", "--workers", "0", "--out", out),
        ("select", out),
    ):
        assert finish(processes.start(*command))[0] == 0
    swept = Path(shutil.copytree(out, folder / "swept"))
    # By a relative path: the broker, which writes the models, is in a process of its own.
    ended = finish(processes.start("confirm", "study", *CONFIRM, "--workers", "1", cwd=folder))
    return Confirmed(out, *ended, swept)


# ------------------------------------------------------------------------------------------------ interrupted


@dataclass(frozen=True)
class Terminated(Ended):
    """How a sweep ended after SIGTERM; which processes its driver had started; what each of its two workers tells (see
    `tests.sweeping.networks.telling`); where they all listened, and which of Ray's folders they used; and a copy of the
    study's, in which the next driver was killed, with what lived on of that, and Ray's folders that were left;
    the tokens that its Ray took, and the files that held one, or a secret of the environment."""

    seconds_to_end: float
    children: list[str]
    workers: list[dict[str, Any]]
    listening: list[tuple[str, int, str]]
    sessions: list[Path]
    killed: Path
    living_on: dict[int, str]
    left: list[Path]
    tokens: set[str]
    leaks: list[Path]


def terminated_then_killed(processes: Processes, folder: Path) -> Terminated:
    """SIGTERM in the middle of a pack, then SIGKILL in the middle of another."""
    out, log = folder / "study", folder / "told"
    network = ("--set", "network.name=tests.sweeping.networks:telling", "--set", f"network.args.log={log}")
    temporary = Path(tempfile.mkdtemp(prefix="t", dir="/tmp"))  # by a short name, as sockets lie there
    process = processes.start(
        "run", SMOKE, *SLOW, *network, "--workers", "2", "--out", out, TMPDIR=str(temporary), **SECRETS
    )

    def told() -> dict[int, dict[str, Any]]:
        tellings = map(json.loads, log.read_text().splitlines() if log.exists() else ())
        return {telling["pid"]: telling for telling in tellings if telling["pid"] != process.pid}

    any_new = new_checkpoints(out)
    until(lambda: any_new() and len(told()) == 2, process)
    begun = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    children = [Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ") for pid in begun]
    doors = listening({process.pid: "driver", **descendants(process.pid)})
    sessions = list(temporary.glob("ray/session_2*"))
    # The token that its Ray goes by, which its driver has made.
    variables = [Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") for pid in begun]
    tokens = {v.removeprefix(b"RAY_AUTH_TOKEN=").decode() for of in variables for v in of if b"AUTH_TOKEN=" in v}
    leaks = [*files_with_a_secret(temporary, *tokens), *files_with_a_secret(out, *tokens)]
    workers = list(told().values())
    process.send_signal(signal.SIGTERM)
    sent = time.monotonic()
    ended = finish(process, 30)
    seconds = time.monotonic() - sent
    killed = Path(shutil.copytree(out, folder / "killed"))
    second = processes.start("resume", killed, "--trust", "--workers", "1", TMPDIR=str(temporary))
    until(new_checkpoints(killed), second)
    started = descendants(second.pid)
    second.kill()
    second.communicate()
    living_on = those_who_live_on(started, 20)
    left = list(temporary.glob("ray/session_2*"))
    shutil.rmtree(temporary)
    return Terminated(out, *ended, seconds, children, workers, doors, sessions, killed, living_on, left, tokens, leaks)


def those_who_live_on(processes: dict[int, str], timeout_s: float) -> dict[int, str]:
    """Which of them still live after that time; it returns sooner when none does."""
    deadline = time.monotonic() + timeout_s
    while (left := {pid: name for pid, name in processes.items() if alive(pid)}) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


# ------------------------------------------------------------------------------------------------ a cluster

CLUSTER = """
import os, sys
os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
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
import json, os
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


@dataclass(frozen=True)
class OnCluster(Ended):
    """`raylets` are the process ids of the cluster's two nodes, `seen` those under which packs were trained; `killed`
    is the worker that was killed, `driver` the command; its `folder` with the user's own code was moved meanwhile.
    `plain` is another sweep, without code of one's own, and `strange` one with another token."""

    raylets: set[int]
    seen: set[int]
    killed: int
    driver: int
    folder: Path
    plain: Ended
    strange: Ended


def on_a_cluster(processes: Processes, folder: Path) -> OnCluster:
    """Two nodes with one processor each, code of one's own in the current folder, and a worker that is killed."""
    own, out, elsewhere = folder / "own", folder / "study", folder / "elsewhere"
    (own / "mynets").mkdir(parents=True)
    elsewhere.mkdir()
    for name, content in {"mine.py": INGREDIENT, "mynets/small.py": NETWORK, "space.yaml": SPACE}.items():
        (own / name).write_text(content)
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "c" * 64}
    cluster = processes.start(program=("-c", CLUSTER), cwd=elsewhere, **token)
    assert cluster.stdout is not None
    address, *raylets = cluster.stdout.readline().split()
    study = ("run", "space.yaml", *SLOW, "--set", "references=false", "--address", "auto", "--out", out)
    process = processes.start(*study, cwd=own, RAY_ADDRESS=address, RAY_AUTH_TOKEN=token["RAY_AUTH_TOKEN"])
    until((out / "study.yaml").exists, process)
    # Ray puts the folder that a driver began in on the path of workers of the same machine: they shall not find it.
    own = own.rename(folder / "moved")
    any_new, seen, killed, nodes = new_checkpoints(out), set[int](), 0, set(map(int, raylets))
    deadline = time.monotonic() + 300
    while process.poll() is None:
        assert time.monotonic() < deadline
        mine = {pid: raylet for pid, raylet in training().items() if raylet in nodes}
        seen |= set(mine.values())
        if not killed and mine and any_new():
            killed = next(iter(mine))
            os.kill(killed, signal.SIGKILL)
        time.sleep(0.1)
    ended = finish(process)
    few = ("--set", "references=false", "--trials", "1", "--workers", "1")
    file = folder / "token"
    others = []
    for name, content in (("plain", token["RAY_AUTH_TOKEN"]), ("strange", "d" * 64)):
        file.write_text(content)
        args = ("run", SMOKE, *few, "--address", address, "--out", folder / name)
        others.append(Ended(folder / name, *finish(processes.start(*args, RAY_AUTH_TOKEN_PATH=str(file)))))
    cluster.communicate("", timeout=60)
    return OnCluster(out, *ended, nodes, seen, killed, process.pid, own, *others)


def training() -> dict[int, int]:
    """Process id of each worker that trains or has trained a pack, and that of its parent, the node's raylet."""
    found = {}
    titles = ("ray::PackTrainable", "ray::ResourceTrainable")  # between two tasks, and while it trains
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            if (process / "cmdline").read_text().startswith(titles):
                found[int(process.name)] = int((process / "stat").read_text().rpartition(")")[2].split()[1])
    return found
