"""The references: `naive`, without a remedy, `joint`, on the data of all tasks so far, and `majority`, which is not
trained: the constant answer.

Where base hyperparameters such as the learning rate are searched, they have a small search of their own over them; else
the remedies would win by those alone.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from cfsweep.config import Space, StudyConfig
from cfsweep.hypers import BASE_HYPERS, Value
from cfsweep.results.schema import JOINT, MAJORITY_TRIAL, NAIVE, reference_trial
from cfsweep.sweeping.packing import pack_runs
from cfsweep.sweeping.space import reference_values
from cfsweep.sweeping.suggest import suggest
from cfsweep.training.acting import acting
from cfsweep.training.constant_answer import ConstantAnswer
from cfsweep.training.spec import Counts, PackReport, PackSpec, RunRecord, RunSpec

PER_HYPER, MOST = 3, 6  # settings besides the default, for each hyperparameter that is searched and in all
BASE = {hyper.name: hyper for hyper in BASE_HYPERS}


def reference_settings(space: Space) -> list[dict[str, Value]]:
    """What the references are trained with of the base hyperparameters that the space searches: the default, as in
    trial 0, and others spread over what is searched, each part of each range once (a Latin hypercube).

    Settings that come to the same are there once; where nothing is searched there is one, without any value.

    References:
        McKay, Beckman & Conover 1979, "A Comparison of Three Methods for Selecting Values of Input Variables in the
        Analysis of Output from a Computer Code" (Latin hypercube sampling).
    """
    searched = [name for name in BASE if name in space.search]
    n = min(PER_HYPER * len(searched), MOST)
    rng = np.random.default_rng(0)
    places = (np.array([rng.permutation(n) for _ in searched]).reshape(-1, n).T + 0.5) / n if n else np.empty((0, 0))
    tried = [reference_values(space, BASE)]
    tried += [suggest(space, BASE, _Place(dict(zip(searched, place, strict=True)))) for place in places.tolist()]
    seen: list[dict[str, Value]] = []
    settings = []
    for values in tried:
        if (acts := acting((), values)) not in seen:
            seen.append(acts)
            settings.append({name: values[name] for name in searched})
    return settings


class _Place:
    """Answers as a sampler does, with the values at places in [0, 1) of the ranges and lists, by name."""

    def __init__(self, places: dict[str, float]) -> None:
        self.places = places

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        place = self.places[name]
        found = low + (high - low) * place
        if log:
            found = math.exp(math.log(low) + (math.log(high) - math.log(low)) * place)
        return float(f"{found:.6g}")  # so that 0.001 is the 0.001 that may be the default

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        if log:
            return round(self.suggest_float(name, low, high, log=True))
        return low + int((high - low + 1) * self.places[name])

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        return choices[int(len(choices) * self.places[name])]


def reference_packs(
    config: StudyConfig, settings: Sequence[Mapping[str, Value]], numbers: Collection[int], size: int
) -> list[PackSpec]:
    """The packs of the references with these `numbers`, of those that have one of the `settings` each."""
    fixed = reference_values(config.space, BASE)
    packs: list[PackSpec] = []
    for method in (NAIVE, JOINT):
        runs = [
            RunSpec(number, seed, {**fixed, **given})
            for k, given in enumerate(settings)
            if (number := reference_trial(method, k)) in numbers
            for seed in config.seed_numbers
        ]
        packs += pack_runs(config, BASE, runs, size, ingredients=(), joint=method == JOINT)
    return packs


def majority_report(constant: Sequence[ConstantAnswer], seeds: Iterable[int], n_examples: Counts) -> PackReport:
    """What a pack would say of the reference `majority` with these seeds, given the `constant` answers on each split of
    the data. It has no parameters, is the same for each seed of a split, and costs nothing."""
    of_split = {seed: constant[seed % len(constant)] for seed in seeds}
    n_tasks = len(n_examples["validation"])
    records = tuple(
        RunRecord(MAJORITY_TRIAL, seed, s.steering.get("validation", []), s.steering.get("test", []), further=s.further)
        for seed, s in of_split.items()
    )
    return PackReport(task=n_tasks - 1, done=True, records=records, n_examples=n_examples, n_parameters=0)
