"""A trainer that trains nothing: made-up accuracies that depend on a trial's values as real ones might."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from cfsweep.config import Range, Space
from cfsweep.hypers import Value
from cfsweep.training.spec import PackReport, PackSpec, RunRecord, RunSpec

N_TASKS = 5
N_EXAMPLES = 500
COUNTS = {"validation": [N_EXAMPLES] * N_TASKS, "test": [N_EXAMPLES] * N_TASKS}


def place(space: Space, values: Mapping[str, Value]) -> NDArray[np.float64]:
    """Where the searched values lie in their ranges, each in [0, 1]."""
    found = []
    for name, searched in space.search.items():
        assert isinstance(searched, Range)
        low, high, value = searched.low, searched.high, max(float(values[name]), searched.low)
        if searched.log:
            low, high, value = np.log(low), np.log(high), np.log(value)
        found.append((value - low) / (high - low))
    return np.asarray(found)


def accuracies(space: Space, run: RunSpec) -> list[list[float]]:
    """(tasks + 1, tasks): what keeps more learns less, and far from the middle both are worse; 1 % is noise. Each is a
    share of `N_EXAMPLES`."""
    at = place(space, run.values)
    good = float(np.exp(-2 * np.sum((at - 0.6) ** 2)))
    kept = 0.5 + 0.5 * at[0] ** 0.5 * good
    learned = 0.99 - 0.3 * at[0] ** 2 - 0.2 * (1 - good)
    rows = np.full((N_TASKS + 1, N_TASKS), 0.5)
    for task in range(N_TASKS):
        rows[task + 1] = rows[task]
        rows[task + 1, :task] = 0.5 + (rows[task, :task] - 0.5) * kept
        rows[task + 1, task] = learned
    noise = np.random.default_rng((run.trial, run.seed)).normal(0, 0.01, rows.shape)
    shares: list[list[float]] = (np.floor(np.clip(rows + noise, 0, 1) * N_EXAMPLES) / N_EXAMPLES).tolist()
    return shares


class MadeUpPack:
    """Reports as a pack does, at once."""

    def __init__(self, space: Space, spec: PackSpec) -> None:
        self.spec = spec
        self.tasks_done = 0
        self.accuracies = {run.key: accuracies(space, run) for run in spec.runs}
        self.dropped_at: dict[tuple[int, int], int] = {}

    def drop(self, keys: set[tuple[int, int]]) -> None:
        self.dropped_at.update(dict.fromkeys(keys & set(self.accuracies), self.tasks_done))

    def train_next_task(self) -> PackReport:
        self.tasks_done += 1
        over = self.tasks_done == N_TASKS or len(self.dropped_at) == len(self.accuracies)
        records = tuple(self.record(run) for run in self.spec.runs)
        return PackReport(self.tasks_done - 1, over, records, COUNTS, 50_000, 10**6, "nowhere", "cpu")

    def record(self, run: RunSpec) -> RunRecord:
        done = self.dropped_at.get(run.key, self.tasks_done)
        rows = self.accuracies[run.key][: done + 1]
        kept = [("replay", a, t, 2 * t + c, 10) for a in range(done) for t in range(a + 1) for c in (0, 1)]
        return RunRecord(run.trial, run.seed, rows, rows, buffers=kept, train_s=0.1 * done, steps=100 * done)
