"""(d) and (e): `cfsweep run` itself, on the same space; and the runs of given λ in one pack."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import yaml

from benchmarks.loop import SETTINGS, products_ms, update_ms
from benchmarks.peers.job import PARTS, Job, Record, TaskData, mixed
from benchmarks.peers.reached import Found
from benchmarks.peers.summary import Swept
from cfsweep.config import NetworkConfig
from cfsweep.results.reader import read_table
from cfsweep.training.ingredients import hypers_of
from cfsweep.training.pack import Pack
from cfsweep.training.spec import PackSpec, RunSpec, score_rows
from cfsweep.training.streams import Stream

WITHOUT = ("--set", "stop_trials=false", "--set", "share_prefix=false")


def tasks_of(stream: Stream) -> list[TaskData]:
    """The stream's splits as the network of a pack sees them, for peers that know nothing of cfsweep."""
    x, y = ((stream.x.float() - stream.shift) * stream.scale).flatten(1).numpy(), stream.y.numpy()
    return [
        {part: (x[getattr(task, part)], y[getattr(task, part)] - task.classes[0]) for part in PARTS}
        for task in stream.tasks
    ]


def fixed(job: Job) -> dict[str, object]:
    """What every peer holds fixed, in cfsweep's words."""
    return {
        "optimizer": "adam",
        "lr": job.lr,
        "epochs": job.epochs,
        "batch_size": job.batch_size,
        "ewc_mode": "online",
        "ewc_fisher": "empirical",
        "ewc_examples": job.ewc_examples,
    }


def write_space(path: Path, job: Job) -> None:
    """The sweep as a search space."""
    space = {
        "scenario": "task-il",
        "network": {"name": "mlp", "args": {"hidden": list(job.hidden)}},
        "ingredients": ["ewc"],
        "fixed": fixed(job),
        "search": {"ewc_lambda": {"low": job.low, "high": job.high, "log": True}},
    }
    path.write_text(yaml.safe_dump(space))


def command(space: Path, stream: str, data: str | None, job: Job, out: Path, more: Sequence[str]) -> list[str]:
    """`cfsweep run` with nothing set that the sweep does not need, but for `more`."""
    return [
        *(sys.executable, "-m", "cfsweep.cli", "run", str(space), "--stream", stream, "--out", str(out)),
        *("--trials", str(job.trials), "--workers", str(job.workers), "--set", f"sampler_seed={job.seed}"),
        *(("--data", data) if data else ()),
        *more,
    ]


def floor_s(stream: Stream, job: Job, repeats: int) -> float:
    """Seconds of the matrix products and the optimizer's updates of one trial alone, in one thread of this process."""
    settings = replace(SETTINGS, epochs=job.epochs, batch_size=job.batch_size, hidden=job.hidden, lr=job.lr)
    steps = job.epochs * sum(-(-len(task.train) // job.batch_size) for task in stream.tasks)
    return steps * sum(each(stream, settings, repeats) for each in (products_ms, update_ms)) / 1e3


def swept(out: Path) -> Swept:
    """What the finished study in `out` says of itself. A pack begins when it is handed out: the start of its worker
    lies in the sweep, not before it. What a trial came to is known when its rows are there."""
    rows = read_table(out, "runs").to_pylist()
    written = {path: path.stat().st_mtime for path in (out / "runs").glob("*.parquet")}
    found = [
        Found(at, row["objective_mixed"], row["val_stability"], row["val_plasticity"])
        for path, at in written.items()
        for row in pq.read_table(path).to_pylist()
        if row["trial"] >= 0 and row["state"] == "done"
    ]
    return Swept(
        trials=sum(row["trial"] >= 0 for row in rows),
        began=min(row["started_at"] for row in rows).timestamp(),
        ended=max(written.values()),
        train_s=sum(row["train_s"] for row in rows),
        references_s=sum(row["train_s"] for row in rows if row["trial"] < 0),
        stopped=sum(row["state"] == "stopped" for row in rows),
        found=tuple(found),
    )


def given(stream: Stream, job: Job, seeds: Sequence[int]) -> list[Record]:
    """The runs of the job's first λ with each seed, trained as one pack."""
    values = {name: fixed(job).get(name, hyper.default) for name, hyper in hypers_of(("ewc",)).items()}
    runs = tuple(
        RunSpec(trial, seed, {**values, "ewc_lambda": strength})
        for trial, strength in enumerate(job.first)
        for seed in seeds
    )
    network, began = NetworkConfig(name="mlp", args={"hidden": list(job.hidden)}), time.time()
    pack = Pack(PackSpec(network, "task-il", ("ewc",), runs, parts=("validation",)), stream)
    while not pack.done:
        report = pack.train_next_task()
    n_tasks = len(stream.tasks)
    return [
        Record(
            float(run.values["ewc_lambda"]),
            run.seed,
            mixed(score_rows(each.validation, n_tasks)[1:].tolist()),
            score_rows(each.validation, n_tasks)[1:].tolist(),
            each.train_s,
            0.0,  # not told apart
            began,
            time.time(),
        )
        for run, each in zip(runs, report.records, strict=True)
    ]
