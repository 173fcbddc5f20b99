"""What sharing the first task saves: the same search over EWC's strength at a fixed learning rate, three times over.

`python -m benchmarks.first_task --data DIR` trains it on a few images of permuted-mnist, for 2, 5 and 10 tasks: every
run by itself, with the first task shared within each pack, and shared across packs too (kept in files and in memory as
in a sweep). The three take turns in one process with one thread; the table shows medians. It stops if a single accuracy
or a single bit of the weights differs, so set `MKL_CBWR=AUTO,STRICT`, as the workers of a sweep do. `--quick` takes the
embedded digits; `--write` puts the table into docs/performance.md.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.page import PERFORMANCE, markdown_table, measured_on, put_section
from cfsweep.config import NetworkConfig, StreamConfig
from cfsweep.hypers import Value
from cfsweep.metrics import average_score
from cfsweep.sweeping.first_task_store import FirstTaskFolder, WorkerFirstTasks
from cfsweep.training.ingredients import hypers_of
from cfsweep.training.pack import Pack
from cfsweep.training.spec import PackSpec, RunRecord, RunSpec
from cfsweep.training.streams import Stream, load_stream

VARIANTS = ("nothing", "within packs", "across packs")


@dataclass(frozen=True)
class Search:
    """`trials` strengths with `seeds` seeds each, in packs of `pack_runs` runs."""

    trials: int = 6
    seeds: int = 4
    pack_runs: int = 8
    hidden: tuple[int, ...] = (256, 256)
    batch_size: int = 64
    epochs: int = 1

    def packs(self) -> list[PackSpec]:
        values: dict[str, Value] = {name: hyper.default for name, hyper in hypers_of(("ewc",)).items()}
        values |= {"batch_size": self.batch_size, "epochs": self.epochs, "ewc_mode": "online", "ewc_examples": 100}
        strengths = np.logspace(0, 6, self.trials).tolist()
        runs = [
            RunSpec(trial, seed, {**values, "ewc_lambda": strength})
            for trial, strength in enumerate(strengths)
            for seed in range(self.seeds)
        ]
        network = NetworkConfig(name="mlp", args={"hidden": list(self.hidden)})
        groups = [tuple(runs[at : at + self.pack_runs]) for at in range(0, len(runs), self.pack_runs)]
        return [PackSpec(network, "domain-il", ("ewc",), group) for group in groups]

    def first_tasks(self, variant: str) -> int:
        """How many first tasks are to be trained."""
        by_pack = [{run.seed for run in pack.runs} for pack in self.packs()]
        counts = (self.trials * self.seeds, sum(map(len, by_pack)), len(set().union(*by_pack)))
        return dict(zip(VARIANTS, counts, strict=True))[variant]


@dataclass(frozen=True)
class Trained:
    """A whole search: seconds of the processor and of the clock, and all that it found out."""

    cpu_s: float
    wall_s: float
    records: tuple[RunRecord, ...]
    weights: Tensor

    def differs_from(self, other: Trained) -> int:
        """How many accuracies and weights are not the same to the last bit."""
        pairs = [
            (np.asarray(getattr(mine, part)), np.asarray(getattr(theirs, part)))
            for mine, theirs in zip(self.records, other.records, strict=True)
            for part in ("validation", "test")
        ]
        return sum(int((a != b).sum()) for a, b in pairs) + int((self.weights != other.weights).sum())

    def numbers(self) -> int:
        """How many accuracies and weights there are."""
        cells = [np.size(getattr(record, part)) for record in self.records for part in ("validation", "test")]
        return sum(cells) + self.weights.numel()

    @property
    def accuracy(self) -> float:
        """Mean over the runs of the average test accuracy after the last task."""
        matrices = [np.array(record.test)[1:] for record in self.records]
        return float(np.mean([average_score(matrix) for matrix in matrices]))


def train(search: Search, stream: Stream, variant: str) -> Trained:
    """The whole search, one pack after the other, as one worker would train it."""
    records: list[RunRecord] = []
    weights: list[Tensor] = []
    with tempfile.TemporaryDirectory() as folder:
        cpu, wall = time.process_time(), time.perf_counter()
        kept = FirstTaskFolder(Path(folder))
        options: dict[str, Any] = {"share_first_task": variant != "nothing"}
        if variant == "across packs":
            options["first_tasks"] = WorkerFirstTasks(kept.get, kept.put)
        for spec in search.packs():
            pack = Pack(spec, stream, **options)
            while not pack.done:
                report = pack.train_next_task()
            records += report.records
            weights.append(pack.stack.theta[torch.from_numpy(pack.stack.row_of)])
        cpu_s, wall_s = time.process_time() - cpu, time.perf_counter() - wall
    return Trained(cpu_s, wall_s, tuple(records), torch.cat(weights))


def cut(stream: Stream, n_tasks: int, n_train: int, n_other: int) -> Stream:
    """The first few tasks of the stream with the first few examples of each, and nothing else in the store."""
    sizes = {"train": n_train, "validation": n_other, "test": n_other}
    parts = [{name: getattr(task, name)[:n] for name, n in sizes.items()} for task in stream.tasks[:n_tasks]]
    used = np.unique(np.concatenate([part for own in parts for part in own.values()]))
    tasks = tuple(
        replace(task, **{name: np.searchsorted(used, part) for name, part in own.items()})
        for task, own in zip(stream.tasks, parts, strict=False)
    )
    return replace(stream, x=stream.x[torch.from_numpy(used)], y=stream.y[torch.from_numpy(used)], tasks=tasks)


def measure(search: Search, streams: Sequence[Stream], rounds: int) -> list[tuple[str, ...]]:
    """A row of the table for each stream and variant.

    Raises:
        SystemExit: the results of two variants differ.
    """
    rows: list[tuple[str, ...]] = []
    train(search, streams[0], "across packs")  # whatever is slow at first only
    for stream in streams:
        trained: dict[str, list[Trained]] = {variant: [] for variant in VARIANTS}
        for number in range(rounds):
            for variant in VARIANTS[number % 3 :] + VARIANTS[: number % 3]:
                trained[variant].append(train(search, stream, variant))
                refuse_difference(trained[variant][-1], trained[variant][0], stream, variant)
        plain = trained["nothing"]
        for variant in VARIANTS:
            refuse_difference(trained[variant][0], plain[0], stream, variant)
            rows.append(row(search, stream, variant, trained[variant], plain))
    return rows


def refuse_difference(one: Trained, other: Trained, stream: Stream, variant: str) -> None:
    differing = one.differs_from(other)
    if differing:
        raise SystemExit(
            f"{len(stream.tasks)} tasks, sharing {variant}: {differing} of {one.numbers()} numbers differ. "
            "Set MKL_CBWR=AUTO,STRICT."
        )


def row(search: Search, stream: Stream, variant: str, own: list[Trained], plain: list[Trained]) -> tuple[str, ...]:
    n_runs, n_tasks = search.trials * search.seeds, len(stream.tasks)
    left = search.first_tasks(variant)
    share = len(stream.tasks[0].train) / sum(len(task.train) for task in stream.tasks)
    saved = sorted(1 - a.cpu_s / b.cpu_s for a, b in zip(own, plain, strict=True))
    spread = f" ({saved[0]:.1%} to {saved[-1]:.1%})" if variant != "nothing" else ""
    return (
        f"{n_tasks}",
        variant,
        f"{left} of {n_runs}",
        f"{statistics.median(t.wall_s for t in own):.2f}",
        f"{statistics.median(t.cpu_s for t in own):.2f}",
        f"{share * (1 - left / n_runs):.1%}",
        f"{statistics.median(saved):.1%}{spread}",
        f"{own[0].accuracy:.6f}",
        f"0 of {own[0].numbers():,}",
    )


HEADINGS = (
    "tasks",
    "shared",
    "first tasks trained",
    "s",
    "CPU s",
    "of the work, saved",
    "of the CPU seconds, saved",
    "average accuracy",
    "numbers that differ",
)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.first_task", description=__doc__)
    parser.add_argument("--data", default=os.environ.get("CFSWEEP_DATA"), help="folder with MNIST/raw ($CFSWEEP_DATA)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="the embedded digits, 4 runs in packs of 2, one round")
    parser.add_argument("--write", action="store_true", help="write the table into docs/performance.md")
    given = parser.parse_args(arguments)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        if given.quick:
            search = Search(trials=4, seeds=1, pack_runs=2, hidden=(64,))
            streams, rounds = [load_stream(StreamConfig(n_tasks=n)) for n in (2, 5)], 1
        else:
            search, rounds = Search(), given.rounds
            whole = load_stream(StreamConfig(name="permuted-mnist", data=given.data))
            streams = [cut(whole, n_tasks, n_train=640, n_other=200) for n_tasks in (2, 5, 10)]
        rows = measure(search, streams, rounds)
    finally:
        torch.set_num_threads(threads)
    task = streams[0].tasks[0]
    about = (
        f"{streams[0].name}, domain-il, {len(task.train)} training images in the first task; EWC, {search.trials} "
        f"strengths x {search.seeds} seeds at one learning rate in packs of {search.pack_runs}; mlp {search.hidden}, "
        f"batch {search.batch_size}, {search.epochs} epoch, one thread; medians of {rounds} rounds, with the range of "
        "what was saved. All accuracies and all weights are compared, to the last bit."
    )
    text = f"{about}\n\n{markdown_table(HEADINGS, rows)}"
    print(text)
    if given.write:
        foot = measured_on("MKL_CBWR=AUTO,STRICT python -m benchmarks.first_task --write")
        put_section(PERFORMANCE, "first-task", f"{text}\n\n{foot}")


if __name__ == "__main__":
    main()
