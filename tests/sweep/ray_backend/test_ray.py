"""Real sweeps by the real command line, on real Ray: begin, go on, interrupt, kill, and a cluster of two nodes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pyarrow.parquet as pq
import pytest

from cfsweep.results.reader import read_table
from cfsweep.results.schema import ACCURACY_SCHEMA
from cfsweep.results.status import Status, status
from cfsweep.sweep.cluster import interruptible
from cfsweep.sweep.folder import Folder
from cfsweep.sweep.trainable import pack_stream, unpack_stream
from cfsweep.training.streams import Stream
from tests.sweep.in_process import Sweep

SMOKE = Path(__file__).parents[2] / "search_spaces" / "smoke.yaml"
# A second or so for a task of a pack: long enough to be interrupted in the middle.
SLOW = ("--set", "epochs=80", "--set", "early_stopping=false", "--set", "pack_runs=2", "--trials", "4")


@pytest.fixture(scope="module")
def environment(project_root: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("RAY_") and k != "CFSWEEP_DATA"}
    return {**kept, "PYTHONPATH": str(project_root), "COLUMNS": "200"}


@pytest.fixture(scope="module")
def start(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Any]]:
    """Starts the command line; whatever is still alive at the end is killed."""
    started: list[subprocess.Popen[str]] = []
    cwd = tmp_path_factory.mktemp("cwd")

    def begin(*args: str | Path, **more: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "cfsweep.cli", *map(str, args)]
        process = subprocess.Popen(
            command, cwd=cwd, env={**environment, **more}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def finish(process: subprocess.Popen[str], timeout_s: float = 90) -> tuple[int, str, str]:
    """(exit code, standard output, standard error)."""
    out, err = process.communicate(timeout=timeout_s)
    return process.returncode, out, err


def until(condition: Callable[[], object], process: subprocess.Popen[str], timeout_s: float = 60) -> None:
    """Waits for the condition while the process lives."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def new_checkpoints(folder: Path) -> Callable[[], bool]:
    """Whether a pack has finished a task since this was called."""
    began = time.time_ns()

    def any_new() -> bool:
        with contextlib.suppress(FileNotFoundError):
            return any(path.stat().st_mtime_ns > began for path in (folder / "checkpoints").glob("pack*.pt"))
        return False

    return any_new


def workers() -> dict[int, int]:
    """Process id of each worker that trains or has trained a pack, and that of its parent, the node's raylet."""
    found = {}
    titles = ("ray::PackTrainable", "ray::ResourceTrainable")  # between two tasks, and while it trains
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            if (process / "cmdline").read_text().startswith(titles):
                found[int(process.name)] = int((process / "stat").read_text().rpartition(")")[2].split()[1])
    return found


def check_complete(folder: Path, trials: int) -> Status:
    """That the study is whole: each trial and reference once, in Parquet and in Optuna alike."""
    now = status(folder)
    assert now.complete
    runs = read_table(folder, "runs").to_pylist()
    assert sorted(row["trial"] for row in runs) == list(range(-2, trials))
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


def test_a_sweep_from_begin_to_end(start: Callable[..., Any], tmp_path: Path) -> None:
    out = tmp_path / "study"
    args = ("run", SMOKE, "--set", "optimizer=sgd", "--set", "search.lr={choices: [0.01, 1e30]}", "--out", out)
    code, printed, complaints = finish(start(*args, "--trials", "8"))
    assert (code, complaints) == (3, "")  # some trials have failed, the others are there
    now = check_complete(out, 8)
    assert now.failed
    assert now.done
    assert f"8/8 trials: {now.done} done, {now.stopped} stopped, {now.failed} failed" in printed
    assert "failed: the loss was not finite at task 0" in printed
    assert f"python -m analysis report {out}" in printed
    for part in out.glob("*/*.parquet"):
        assert pq.read_schema(part).metadata[b"cfsweep_schema_version"] == b"1"

    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    code, printed, complaints = finish(start(*args, "--trials", "8"))
    assert (code, complaints) == (3, "")
    assert "the study is complete: 8 trials ended" in printed
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def interrupt(process: subprocess.Popen[str], number: int, out: Path) -> None:
    """Sends the signal in the middle of a pack, and checks that the sweep ends at once, cleanly, and unfinished."""
    until(new_checkpoints(out), process)
    process.send_signal(number)
    sent = time.monotonic()
    code, printed, complaints = finish(process, 30)
    assert time.monotonic() - sent < 15
    assert (code, complaints) == (130, "")
    assert f"interrupted. `cfsweep resume {out}` goes on." in printed
    assert not status(out).complete


def test_terminated_then_killed_then_completed(start: Callable[..., Any], tmp_path: Path) -> None:
    out = tmp_path / "study"
    interrupt(start("run", SMOKE, *SLOW, "--out", out), signal.SIGTERM, out)
    with Folder(out).locked():
        code, _, complaints = finish(start("resume", out), 30)
    assert code == 2
    assert complaints == f"cfsweep: {out}: another cfsweep is writing to this study. Wait for it, or stop it.\n"
    second = start("resume", out)
    until(new_checkpoints(out), second)
    second.kill()
    second.communicate()
    assert not status(out).complete
    code, _, complaints = finish(start("resume", out))
    assert (code, complaints) == (0, "")
    assert check_complete(out, 4).done == 4


@pytest.mark.slow
def test_interrupted_then_completed(start: Callable[..., Any], tmp_path: Path) -> None:
    out = tmp_path / "study"
    interrupt(start("run", SMOKE, *SLOW, "--out", out), signal.SIGINT, out)
    code, _, complaints = finish(start("resume", out))
    assert (code, complaints) == (0, "")
    assert check_complete(out, 4).done == 4


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_and_the_second_insists(number: int) -> None:
    before = signal.getsignal(number)
    with interruptible() as event, interruptible(event) as same:
        assert same is event
        os.kill(os.getpid(), number)
        assert event.is_set()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before


NETWORK = """
import math
import torch
from torch import nn

class Counted(nn.Module):
    def __init__(self, n_inputs, n_outputs, log):
        super().__init__()
        self.head, self.log = nn.Linear(n_inputs, n_outputs), log

    def forward(self, x):
        if self.training and torch.is_grad_enabled() and len(x) == 64:  # a whole batch
            with open(self.log, "a") as file:
                file.write(".")
        return self.head(x.flatten(1))

def counted(input_shape, n_outputs, log):
    return Counted(math.prod(input_shape), n_outputs, log)
"""


def test_packs_on_workers_share_their_first_task(
    start: Callable[..., Any], project_root: Path, tmp_path: Path, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "counting.py").write_text(NETWORK)
    log, out = tmp_path / "steps", tmp_path / "shared"
    search = ("--set", "search={ewc_lambda: {low: 1.0, high: 1.0e+6, log: true}}", "--set", "pack_runs=2")
    network = ("--set", "network.name=counting:counted", "--set", f"network.args.log={log}")
    study = ("--workers", "1", "--trials", "4", "--set", "early_stopping=false", "--set", "references=false")
    path = os.pathsep.join(map(str, (project_root, tmp_path)))
    code, _, complaints = finish(start("run", SMOKE, *search, *network, *study, "--out", out, PYTHONPATH=path))
    assert (code, complaints) == (0, "")
    assert list((out / "checkpoints").iterdir()) == []
    shared_steps = len(log.read_text())

    monkeypatch.syspath_prepend(tmp_path)
    apart = Sweep(tmp_path / "apart", stream)
    config, _ = Folder(out).read()
    apart.train(apart.open(config.model_copy(update={"share_prefix": False}), workers=1))
    steps_of_first_task = len(stream.tasks[0].train) // 64
    # Of four runs in two packs, one has trained the first task.
    assert len(log.read_text()) - 2 * shared_steps == 3 * steps_of_first_task
    shared = Sweep(out, stream)
    assert shared.matrices() == apart.matrices()
    assert shared.matrices("test") == apart.matrices("test")
    assert [row["steps"] for row in shared.rows()] == [row["steps"] for row in apart.rows()]


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


@pytest.fixture
def cluster(environment: dict[str, str]) -> Iterator[tuple[str, list[int]]]:
    """A Ray cluster of two nodes with one processor each: (address, process ids of the nodes' raylets)."""
    command = [sys.executable, "-c", CLUSTER]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        address, *raylets = process.stdout.readline().split()
        yield address, [int(pid) for pid in raylets]
        process.communicate("", timeout=60)


def test_a_cluster_of_two_nodes_and_a_killed_worker(
    start: Callable[..., Any], cluster: tuple[str, list[int]], tmp_path: Path
) -> None:
    address, raylets = cluster
    assert len(set(raylets)) == 2
    out = tmp_path / "study"
    process = start("run", SMOKE, *SLOW, "--address", address, "--out", out)
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
    assert check_complete(out, 4).done == 4
    assert {row["attempt"] for row in read_table(out, "runs").to_pylist()} == {1, 2}

    before = {path: path.read_bytes() for path in out.glob("*/*.parquet")}
    process = start("resume", out, "--trials", "+1", "--address", "auto", RAY_ADDRESS=address)
    code, _, complaints = finish(process)
    assert (code, complaints) == (0, "")
    check_complete(out, 5)
    assert {path: path.read_bytes() for path in before} == before


SHARED = """
import json, time
import ray
from cfsweep.config import StreamConfig
from cfsweep.sweep.cluster import Workers, connected
from cfsweep.sweep.trainable import fetch_stream, pack_stream
from cfsweep.training.streams import load_stream

@ray.remote(num_cpus=1)
class Worker:
    def where(self, references):
        # The place in which file of memory the tensors lie, and what they hold; twice, as for two packs.
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
        return places

with connected(Workers(count=2)) as up:
    stream = load_stream(StreamConfig(name="split-digits"))
    references = [ray.put(pack_stream(stream))]
    workers = [Worker.remote() for _ in range(2)]
    found = ray.get([worker.where.remote(references) for worker in workers])
    print(json.dumps([int(stream.x.sum()), int(stream.y.sum()), *found]), flush=True)
"""


def test_the_stream_is_in_memory_once_for_all_workers_of_a_machine(environment: dict[str, str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SHARED], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=90
    )
    assert done.returncode == 0, done.stderr
    sum_x, sum_y, first, second = json.loads(done.stdout)
    assert first == second  # the same bytes of the same file of memory, under two processes
    for name, total in (("x", sum_x), ("y", sum_y)):
        path, inode, _, content = first[name]
        assert "plasma" in path[0]
        assert inode != "0"
        assert content == total


def test_workers_share_the_streams_memory(stream: Stream) -> None:
    content = {**pack_stream(stream), "x": stream.x.numpy().copy(), "y": stream.y.numpy().copy()}
    for array in (content["x"], content["y"]):
        array.flags.writeable = False  # as they come from Ray's object store
    shared = unpack_stream(content)
    assert np.shares_memory(shared.x.numpy(), content["x"])
    assert np.shares_memory(shared.y.numpy(), content["y"])
    assert shared.tasks[3].name == stream.tasks[3].name
    np.testing.assert_array_equal(shared.tasks[3].validation, stream.tasks[3].validation)
