"""Many studies of one kind, measured: made up, or a few seeds of a real one. What is done is kept on disk."""

from __future__ import annotations

import hashlib
import json
import math
import zlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

import analysis
from analysis import noise, true_means, uncertainty
from analysis.aggregate import by_seed, finished, trials
from analysis.seeds import counted
from benchmarks import coverage_measures, made_up_studies
from benchmarks.coverage_measures import Bands, Found, of_choice, of_volume
from benchmarks.made_up_studies import Study, made_up
from cfsweep.errors import InputError
from cfsweep.files import write_atomically
from cfsweep.results.schema import DEFAULT_TRIAL

COLUMNS = ("val_stability", "val_plasticity", "val_average_accuracy")
MEASURED_BY = (noise, true_means, uncertainty, coverage_measures, made_up_studies)
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
    """Of one cell: each number's mean over the studies that have it; P(front) of the model and of the bootstrap."""

    means: Found
    model: Bands
    bootstrap: Bands


def measure(cell: Cell, n_studies: int, draws: int) -> Result:
    """What `n_studies` of them give, each with the same numbers in every process and order."""
    found: list[Found] = []
    model = bootstrap = Bands(*np.zeros((3, len(coverage_measures.BANDS) - 1)))
    for study, rng in _studies(cell, n_studies):
        numbers = of_choice(study, draws, rng)
        if cell.fronts:
            of_front, *shown = of_volume(study, draws, rng, cell.others)
            numbers |= of_front
            model, bootstrap = (Bands(*np.add(one, more)) for one, more in zip((model, bootstrap), shown, strict=True))
        found.append(numbers)
    names = dict.fromkeys(name for numbers in found for name in numbers)
    return Result({name: _mean([numbers.get(name, math.nan) for numbers in found]) for name in names}, model, bootstrap)


def _mean(values: list[float]) -> float:
    there = [value for value in values if not math.isnan(value)]
    return sum(there) / len(there) if there else math.nan


def _studies(cell: Cell, n_studies: int) -> Iterator[tuple[Study, np.random.Generator]]:
    kind = zlib.crc32(f"{cell.population}/{cell.noise}/{cell.n_trials}/{Path(cell.study).name}".encode())
    whole = real(Path(cell.study)) if cell.study else None
    for number in range(n_studies):
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


def measure_all(
    cells: Iterable[Cell], n_studies: int, draws: int, workers: int, out: Path
) -> Iterator[tuple[Cell, Result]]:
    """Each cell with its result, in the order in which they are done, and from `out` what was done before by the same
    code. `workers` processes of one thread, 0 for this one."""
    left = []
    for cell in dict.fromkeys(cells):
        path = _path(out, cell, n_studies, draws)
        if path.exists():
            yield cell, _read(path)
        else:
            left.append(cell)
    if workers == 0:
        for cell in left:
            yield cell, _kept(cell, n_studies, draws, out)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        waiting = {pool.submit(_kept, cell, n_studies, draws, out): cell for cell in left}
        try:
            for done in as_completed(waiting):
                yield waiting[done], done.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _kept(cell: Cell, n_studies: int, draws: int, out: Path) -> Result:
    found = measure(cell, n_studies, draws)
    content = {"cell": asdict(cell), "means": found.means, "model": found.model, "bootstrap": found.bootstrap}
    text = json.dumps(content, default=np.ndarray.tolist)
    write_atomically(_path(out, cell, n_studies, draws), lambda file: file.write(text.encode()))
    return found


def _read(path: Path) -> Result:
    content: dict[str, Any] = json.loads(path.read_text())
    model, bootstrap = (Bands(*np.array(content[name])) for name in ("model", "bootstrap"))
    return Result(content["means"], model, bootstrap)


def _path(out: Path, cell: Cell, n_studies: int, draws: int) -> Path:
    """Where a result is kept: under a name that changes with what it depends on, the studies and the measuring code."""
    code = [Path(str(file)).read_bytes() for file in (__file__, *(module.__file__ for module in MEASURED_BY))]
    rows = sorted(path.name for path in Path(cell.study, "runs").iterdir()) if cell.study else []
    whole = hashlib.sha256(b"".join([json.dumps([asdict(cell), n_studies, draws, rows]).encode(), *code]))
    return out / f"{whole.hexdigest()[:16]}.json"
