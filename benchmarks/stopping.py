"""How much training does stopping between tasks save, and what does it cost?

`python -m benchmarks.stopping --data DIR` sweeps two streams with and without stopping, for several seeds of the
sampler, replays other rules over what the sweeps without it recorded, and prints tables; `--write` puts them into
docs/performance.md. An interrupted run goes on in `--out`. `--quick` sweeps the embedded digits, a few trials.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import moocore
import numpy as np
import yaml
from rich.console import Console

import search_spaces
from benchmarks.page import PERFORMANCE, markdown_table, measured_on, put_section
from benchmarks.replay import (
    SHARES,
    Floats,
    Loses,
    MedianRule,
    RankRule,
    Recording,
    agreement,
    hypervolume,
    mixed_replayed,
    replayed,
)
from cfsweep.config import StudyConfig
from cfsweep.errors import CfsweepError
from cfsweep.results.reader import read_table
from cfsweep.sweeping.progress import Display
from cfsweep.sweeping.scheduler import Scheduler, Workers
from cfsweep.sweeping.schedulers import open_scheduler
from cfsweep.sweeping.stopping import STARTUP_TRIALS, ended_matrices, is_clearly_beaten
from cfsweep.sweeping.study import begin, prepare
from cfsweep.training.pack import example_counts


def ranked_behind(share: float) -> Loses:
    """The rank lies behind the ranks of this share of all."""

    def rule(value: tuple[float, ...], errors: tuple[float, ...], others: Floats) -> bool:
        ranks = moocore.pareto_rank(np.vstack([others, value]), maximise=True)
        return bool(ranks[-1] > np.quantile(ranks, share))

    return rule


def beaten_by(margin: float = 0.0, of_error: float = 0.0) -> Loses:
    """Another one is better in both objectives, by more than `margin` and so many standard errors."""

    def rule(value: tuple[float, ...], errors: tuple[float, ...], others: Floats) -> bool:
        return bool((others > np.add(value, margin + of_error * np.asarray(errors))).all(axis=1).any())

    return rule


def both(first: Loses, second: Loses) -> Loses:
    """Both rules speak against it."""
    return lambda value, errors, others: first(value, errors, others) and second(value, errors, others)


MEDIAN = "behind the median rank"
SHIPPED = RankRule(f"{MEDIAN}, and beaten by two standard errors (shipped)", is_clearly_beaten)
RULES = (
    RankRule("none", lambda value, errors, others: False),
    RankRule(MEDIAN, ranked_behind(0.5)),
    RankRule(f"{MEDIAN}, from the third task on", ranked_behind(0.5), first_rung=2),
    RankRule(f"{MEDIAN}, 32 trials first", ranked_behind(0.5), startup=32),
    RankRule("in the worst third of the ranks", ranked_behind(2 / 3)),
    RankRule("in the worst quarter of the ranks", ranked_behind(3 / 4)),
    RankRule("beaten by 0.01", beaten_by(0.01)),
    RankRule("beaten by two standard errors", beaten_by(of_error=2.0)),
    RankRule(f"{MEDIAN}, and beaten by one standard error", both(ranked_behind(0.5), beaten_by(of_error=1.0))),
    RankRule("the same, from the third task on", both(ranked_behind(0.5), beaten_by(of_error=1.0)), first_rung=2),
    SHIPPED,
)
MIXED_RULES = (
    MedianRule("under the median (shipped)"),
    MedianRule("in the worst third", keeps=200 / 3),
    MedianRule("in the worst quarter", keeps=75.0),
)


@dataclass(frozen=True)
class Setting:
    """A stream to sweep with `mixed.yaml`, with those of its ingredients that the scenario knows."""

    name: str
    stream: dict[str, Any]
    hidden: tuple[int, ...]
    fixed: dict[str, Any]
    ingredients: tuple[str, ...]
    seeds: int
    trials: int

    def config(self, sampler_seed: int, stopping: bool, data: str | None) -> StudyConfig:
        space = yaml.safe_load(search_spaces.path("mixed").read_text())
        space["ingredients"] = list(self.ingredients)
        space["network"] = {"name": "mlp", "args": {"hidden": list(self.hidden)}}
        space["fixed"] |= self.fixed
        space["search"] = {k: v for k, v in space["search"].items() if k.partition("_")[0] in self.ingredients}
        return StudyConfig.model_validate(
            {
                "space": {**space, "scenario": self.stream["scenario"]},
                "stream": {**self.stream, "data": data},
                "objective": {"name": "pareto"},
                "seeds": self.seeds,
                "trials": self.trials,
                "sampler_seed": sampler_seed,
                "stop_trials": stopping,
                "references": False,
            }
        )


DIGITS = Setting(
    "split-digits, task-il",
    {"name": "split-digits", "scenario": "task-il", "validation_frac": 0.2},
    (6, 6),
    {"lr": 0.03},
    ("ewc", "replay", "packnet"),
    seeds=3,
    trials=96,
)
MNIST = Setting(
    "split-mnist, domain-il",
    {"name": "split-mnist", "scenario": "domain-il"},
    (32,),
    {"lr": 0.003, "epochs": 2, "batch_size": 64},
    ("ewc", "replay"),
    seeds=1,
    trials=96,
)
QUICK = Setting("split-digits, task-il", DIGITS.stream, (6,), {"epochs": 1}, ("ewc", "replay"), seeds=1, trials=14)


@dataclass(frozen=True)
class Swept:
    """A finished sweep: the matrices of its trials but the default, by number; tasks trained, seconds of training."""

    matrices: dict[int, Floats]
    n_examples: tuple[int, ...]
    train_s: float

    @property
    def tasks(self) -> int:
        return sum(len(matrix) for matrix in self.matrices.values())

    def recording(self, at_once: int) -> Recording:
        """Of all trials that went all the way."""
        whole = [matrix for matrix in self.matrices.values() if len(matrix) == len(self.n_examples)]
        return Recording(np.array(whole), self.n_examples, at_once)


def sweep(
    setting: Setting,
    sampler_seed: int,
    stopping: bool,
    given: argparse.Namespace,
    scheduler: Scheduler,
    console: Console,
) -> Swept:
    """Sweeps, or reads the sweep that is there.

    Raises:
        KeyboardInterrupt: the sweep was interrupted.
    """
    prepared = prepare(setting.config(sampler_seed, stopping, given.data), "benchmarks.stopping")
    out = given.out / f"{setting.name.replace(', ', '-')}-{sampler_seed}-{'on' if stopping else 'off'}"
    if begin(prepared, out, scheduler, Display(console)).interrupted:
        raise KeyboardInterrupt
    runs = read_table(out, "runs").to_pandas()
    counts = example_counts(prepared.stream)["validation"]
    return Swept(dict(ended_matrices(out, setting.seeds, "accuracy")), tuple(counts), float(runs["train_s"].sum()))


def report(setting: Setting, pairs: Sequence[tuple[Swept, Swept]], at_once: int, n_orders: int) -> str:
    """The tables of one stream; `pairs` are sweeps (without, with stopping), one pair for each seed of the sampler."""
    recordings = [without.recording(at_once) for without, _ in pairs]
    n_tasks = recordings[0].n_tasks
    at = [f"equal at {100 * share:.0f} %" for share in SHARES]
    headings = ["rule", "trials stopped", "training saved", "hypervolume lost", "front lost", *at]
    rows = [[rule.name, *replayed(recordings, rule, n_orders).cells()] for rule in RULES]
    sweeps = [
        [
            f"{number}",
            *(f"{hypervolume(one.recording(at_once).points):.4f}" for one in pair),
            f"{100 * (1 - pair[1].tasks / pair[0].tasks):.1f} %",
            *(f"{one.train_s:.0f}" for one in pair),
        ]
        for number, pair in enumerate(pairs)
    ]
    per_sweep = ["sampler seed", "hypervolume without", "with", "training saved", "seconds without", "with"]
    tau = [f"{np.mean([agreement(r, rung) for r in recordings]):.2f}" for rung in range(1, n_tasks - 1)]
    single = [[rule.name, *mixed_replayed(recordings, rule, n_orders)] for rule in MIXED_RULES]
    return "\n\n".join(
        [
            f"### {setting.name}",
            f"{setting.trials} trials a sweep, {setting.seeds} seed(s) each; {len(pairs)} sweep(s) without stopping, "
            f"replayed in {n_orders} orders, {at_once} trials at once. The ranks after tasks 2 to {n_tasks - 1} agree "
            f"with the final ones by a Kendall tau of {', '.join(tau)}.",
            markdown_table(headings, rows),
            "Sweeps with the shipped rule, beside the same without, as many trials each:",
            markdown_table(per_sweep, sweeps),
            "`mixed`, replayed over the same matrices:",
            markdown_table(["rule", "trials stopped", "training saved", "best kept", "mean loss"], single),
        ]
    )


INTRODUCTION = f"""What is replayed are the accuracy matrices of sweeps in which nobody was stopped, in random orders of
arrival; the default, which is never stopped, is left out. Training is counted in tasks. Hypervolume lies above
(0.5, 0.5), what guessing gets. `equal at 50 %`: how much training comes to the hypervolume that no stopping has after
half of its training, as a ratio to that; below 1 is a gain. No rule judges by fewer than {STARTUP_TRIALS} other trials.
The space is search_spaces/mixed.yaml, on split-digits with the demo's network."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 done, 2 bad input, 130 interrupted (and resumable)."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stopping", description=__doc__)
    parser.add_argument("--data", default=os.environ.get("CFSWEEP_DATA"), help="folder with MNIST/raw ($CFSWEEP_DATA)")
    parser.add_argument("--out", type=Path, default=Path("runs/stopping"), help="one folder per sweep goes here")
    parser.add_argument("--workers", type=int, default=2, help="processes that train; 0 trains in this one")
    parser.add_argument("--sampler-seeds", type=int, default=2)
    parser.add_argument("--orders", type=int, default=100)
    parser.add_argument("--quick", action="store_true", help="the embedded digits, one pair of sweeps, 14 trials")
    parser.add_argument("--write", action="store_true", help="into docs/performance.md")
    given, console = parser.parse_args(arguments), Console(width=160)
    settings, pack_runs, workers = ((QUICK,) if given.quick else (DIGITS, MNIST)), 8, Workers(given.workers)
    try:
        with tempfile.TemporaryDirectory() as scratch, open_scheduler(workers, lambda: None) as (scheduler, _):
            if given.quick:
                given.out, given.sampler_seeds, given.orders = Path(scratch), 1, 3
            sections = [INTRODUCTION]
            for setting in settings:
                seeds = range(given.sampler_seeds)
                pairs = [tuple(sweep(setting, n, on, given, scheduler, console) for on in (False, True)) for n in seeds]
                at_once = max(1, given.workers) * max(1, pack_runs // setting.seeds)
                sections.append(report(setting, pairs, at_once, given.orders))  # type: ignore[arg-type]
    except CfsweepError as error:
        print(f"benchmarks.stopping: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    command = f"python -m benchmarks.stopping --sampler-seeds {given.sampler_seeds} --orders {given.orders}"
    text = "\n\n".join([*sections, measured_on(command)])
    print(text)
    if given.write:
        put_section(PERFORMANCE, "stopping", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
