"""What it costs the search that TPE looks at a part of the study: `BoundedTPE` beside Optuna's TPE and random search.

`python -m benchmarks.sampler` maximises made-up functions of four numbers, eight answers at a time: one objective with
a rugged optimum, and two with a front between them, each with noise. It prints what was found by the end, without the
noise, for each seed: the best value (0 is the optimum), or the hypervolume. `--quick` is tiny.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import moocore
import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from rich.console import Console
from rich.table import Table

from cfsweep.sweeping.search.sampler import BoundedTPE
from cfsweep.sweeping.search.storage import Journal

AT_ONCE = 8
REFERENCE = (0.3, 0.3)
Point = NDArray[np.float64]
SAMPLERS: dict[str, Callable[[int], BaseSampler]] = {
    "bounded": lambda seed: BoundedTPE(seed, n_startup_trials=10),
    "Optuna's": lambda seed: TPESampler(seed=seed, n_startup_trials=10),
    "random": lambda seed: RandomSampler(seed=seed),
}


def rugged(x: Point) -> list[float]:
    """0 at the optimum, less elsewhere.

    >>> rugged(np.array([0.62, 0.31, 0.8, 0.15])) == [0.0], rugged(np.zeros(4))[0] < -2
    (True, True)
    """
    away = (x - np.array([0.62, 0.31, 0.8, 0.15])) * np.array([1, 1, 2, 3])
    return [float(-np.sum(away**2) - 0.05 * np.sum(1 - np.cos(12 * away)))]


def trade_off(x: Point) -> list[float]:
    """The more of the first number, the better one and the worse the other; the rest make both worse."""
    keeps = 0.55 + 0.4 * np.sqrt(x[0]) - 0.3 * (x[1] - 0.6) ** 2 - 0.5 * (x[3] - 0.5) ** 2
    learns = 0.95 - 0.36 * x[0] ** 2 - 0.3 * (x[1] - 0.7) ** 2 - 0.4 * (x[2] - 0.3) ** 2
    return [float(keeps), float(learns)]


def search(objective: Callable[[Point], list[float]], sampler: BaseSampler, n: int, seed: int) -> list[list[float]]:
    """The values found in `n` trials, without the noise that the sampler sees."""
    rng, found = np.random.default_rng(seed), []
    with tempfile.TemporaryDirectory() as scratch:
        storage = Journal(Path(scratch) / "journal.jsonl")
        storage.file.grouping = True
        n_objectives = len(objective(np.zeros(4)))
        study = optuna.create_study(storage=storage, directions=["maximize"] * n_objectives, sampler=sampler)
        for _ in range(n // AT_ONCE):
            trials = [study.ask() for _ in range(AT_ONCE)]
            points = [np.array([trial.suggest_float(f"x{i}", 0.0, 1.0) for i in range(4)]) for trial in trials]
            for trial, point in zip(trials, points, strict=True):
                values = objective(point)
                found.append(values)
                study.tell(trial, [value + rng.normal(0, 0.005) for value in values])
    return found


def quality(found: list[list[float]]) -> float:
    """One objective: the best value; two: the hypervolume.

    >>> quality([[-0.5], [-0.1]]), round(quality([[0.4, 0.5], [0.3, 0.9]]), 12)
    (-0.1, 0.02)
    """
    values = np.asarray(found)
    return float(values.max() if values.shape[1] == 1 else moocore.hypervolume(values, ref=REFERENCE, maximise=True))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sampler", description=__doc__)
    parser.add_argument("--trials", type=int, default=1496)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="32 trials, one seed")
    given = parser.parse_args(arguments)
    n, seeds = (32, 1) if given.quick else (given.trials, given.seeds)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    table = Table("function", "sampler", *(f"seed {seed}" for seed in range(seeds)), "CPU ms per trial")
    for objective in (rugged, trade_off):
        for name, sampler in SAMPLERS.items():
            started = time.process_time()
            found = [quality(search(objective, sampler(seed), n, seed)) for seed in range(seeds)]
            ms = 1e3 * (time.process_time() - started) / n / seeds
            table.add_row(objective.__name__, name, *(f"{value:.5f}" for value in found), f"{ms:.2f}")
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
