"""Many studies of one kind, measured: made up, or a few seeds of a real one. What is done is kept on disk."""

from __future__ import annotations

import hashlib
import json
import math
import zlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

import analysis
from analysis import noise, true_means, uncertainty
from analysis.aggregate import by_seed, finished, trials
from analysis.seeds import counted
from benchmarks import coverage_measures, made_up_studies
from benchmarks.coverage_measures import NO_BANDS, Bands, of_choice, of_volume
from benchmarks.made_up_studies import Study, made_up
from cfsweep.errors import InputError
from cfsweep.files import write_atomically
from cfsweep.results.schema import DEFAULT_TRIAL

COLUMNS = ("val_stability", "val_plasticity", "val_average_score")
MEASURED_BY = (noise, true_means, uncertainty, coverage_measures, made_up_studies)
DRAWS = 400  # of each interval: the middle 95 % of them hold 94.5 %
PART = 50  # studies that one process measures at a time
LEAST_SEEDS = 20  # of a real study, whose mean over all seeds stands for the truth


@dataclass(frozen=True)
class Cell:
    """Studies of one kind: `population` and `noise` by name, or a real one in the folder `study`. `fronts` says whether
    fronts are measured beside choices, `others` whether with intervals that were rejected."""

    n_seeds: int
    population: str = ""
    noise: str = "plain"
    n_trials: int = 0
    study: str = ""
    fronts: bool = True
    others: bool = False


@dataclass(frozen=True)
class Result:
    """Of one cell: by name the sum of a number over the studies that have it, and how many those are; the front
    shares of the model and of the bootstrap."""

    totals: dict[str, tuple[float, float]]
    model: Bands
    bootstrap: Bands

    def mean(self, name: str) -> float:
        """The mean of a number, NaN where no study has it.

        >>> Result({"x": (3.0, 4.0)}, NO_BANDS, NO_BANDS).mean("x")
        0.75
        """
        total, n = self.totals.get(name, (0.0, 0.0))
        return total / n if n else math.nan

    def __add__(self, other: Result) -> Result:
        totals = dict(self.totals)
        for name, (total, n) in other.totals.items():
            before, n_before = totals.get(name, (0.0, 0.0))
            totals[name] = (before + total, n_before + n)
        return Result(totals, self.model + other.model, self.bootstrap + other.bootstrap)


NOTHING = Result({}, NO_BANDS, NO_BANDS)


def measure(cell: Cell, numbers: range) -> Result:
    """What the studies of these numbers give, the same in every process and order."""
    found = NOTHING
    for study, rng in _studies(cell, numbers):
        values, model, bootstrap = of_choice(study, DRAWS, rng), NO_BANDS, NO_BANDS
        if cell.fronts:
            of_front, model, bootstrap = of_volume(study, DRAWS, rng, cell.others)
            values |= of_front
        found += Result({k: (v, 1.0) for k, v in values.items() if not math.isnan(v)}, model, bootstrap)
    return found


def _studies(cell: Cell, numbers: range) -> Iterator[tuple[Study, np.random.Generator]]:
    kind = zlib.crc32(f"{cell.population}/{cell.noise}/{cell.n_trials}/{Path(cell.study).name}".encode())
    whole = real(Path(cell.study)) if cell.study else None
    for number in numbers:
        rng = np.random.default_rng([kind, cell.n_seeds, number])
        if whole is None:
            yield made_up(cell.population, cell.noise, cell.n_trials, cell.n_seeds, rng), rng
        else:
            seeds = rng.choice(whole.values.shape[1], cell.n_seeds, replace=False)
            yield Study(whole.truth, whole.values[:, seeds], whole.default), rng


def real(folder: Path) -> Study:
    """The finished trials of a study with all its seeds, whose means stand for the truth.

    Raises:
        InputError: no study, too few seeds, or no finished trial or default.
    """
    runs = counted(analysis.load(folder))
    numbers = finished(trials(runs))["trial"].tolist()
    values = by_seed(runs, numbers, list(COLUMNS))
    whole = np.flatnonzero(~np.isnan(values).any((1, 2)))
    kept = [numbers[place] for place in whole]
    if values.shape[1] < LEAST_SEEDS:
        raise InputError(
            f"--study {folder}: `{LEAST_SEEDS} seeds or more` must hold, as their mean stands for the truth, but got "
            f"{values.shape[1]}. Go on with `cfsweep resume {folder} --seeds 60`."
        )
    if len(kept) < 2 or DEFAULT_TRIAL not in kept:
        raise InputError(f"--study {folder}: the default and another trial must have finished. Resume it.")
    return Study(values[whole].mean(1), values[whole], kept.index(DEFAULT_TRIAL))


def measure_all(cells: Iterable[Cell], n_studies: int, workers: int, out: Path) -> Iterator[tuple[Cell, Result]]:
    """Parts of each cell's studies with their results, in the order in which they are done; from `out` what was done
    before by the same code. `workers` processes of one thread, 0 for this one."""
    starts = range(0, n_studies, PART)
    jobs = [(cell, range(start, min(start + PART, n_studies))) for start in starts for cell in dict.fromkeys(cells)]
    left = []
    for cell, numbers in jobs:
        path = _path(out, cell, numbers)
        if path.exists():
            yield cell, _read(path)
        else:
            left.append((cell, numbers, path))
    if workers == 0:
        for job in left:
            yield job[0], _kept(*job)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        waiting = {pool.submit(_kept, *job): job[0] for job in left}
        try:
            for done in as_completed(waiting):
                yield waiting[done], done.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _kept(cell: Cell, numbers: range, path: Path) -> Result:
    found = measure(cell, numbers)
    bands = {"model": found.model.table.tolist(), "bootstrap": found.bootstrap.table.tolist()}
    text = json.dumps({"cell": asdict(cell), "totals": found.totals, **bands})
    write_atomically(path, lambda file: file.write(text.encode()))
    return found


def _read(path: Path) -> Result:
    content: dict[str, Any] = json.loads(path.read_text())
    totals = {name: (total, n) for name, (total, n) in content["totals"].items()}
    return Result(totals, Bands(np.array(content["model"])), Bands(np.array(content["bootstrap"])))


def _path(out: Path, cell: Cell, numbers: range) -> Path:
    """Where a result is kept: under a name that changes with what it depends on, the studies and the measuring code."""
    rows = sorted(path.name for path in Path(cell.study, "runs").iterdir()) if cell.study else []
    what = json.dumps([asdict(cell), numbers.start, numbers.stop, rows]).encode()
    return out / f"{hashlib.sha256(what + _code()).hexdigest()[:16]}.json"


@cache
def _code() -> bytes:
    """The code that measures, as it was when this process first asked."""
    return b"".join(Path(str(file)).read_bytes() for file in (__file__, *(module.__file__ for module in MEASURED_BY)))
