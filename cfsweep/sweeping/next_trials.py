"""The trials of a search for a bundle's next task: trained in packs that begin with the bundle, kept as they end."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cfsweep.bundle.continued import Opened, score_on, sizes_of
from cfsweep.bundle.manifest import NAME, sha256
from cfsweep.config import StudyConfig
from cfsweep.errors import InputError
from cfsweep.files import write_atomically
from cfsweep.hypers import Hyper, Value
from cfsweep.metrics import mixed_after
from cfsweep.sweeping.folder import Folder
from cfsweep.sweeping.pack_size import ON_CPU
from cfsweep.sweeping.packing import pack_runs, trials_per_pack
from cfsweep.training.ingredients import ingredient_class
from cfsweep.training.pack import Pack, pack_size
from cfsweep.training.spec import RunRecord, RunSpec
from cfsweep.training.streams import Stream

Floats = NDArray[np.float64]
Progress = Callable[[int, int], object]


@dataclass(frozen=True)
class Tried:
    """One trial: its settings, and (seeds, T) its scores on validation data of every task after the new one, NaN where
    there are none. A run that failed has none, and `failure` says why one did."""

    number: int
    values: Mapping[str, Value]
    scores: Floats
    objective: float | None
    failure: str | None

    @property
    def told(self) -> list[float] | None:
        """The objective as a sampler is told it."""
        return None if self.objective is None else [self.objective]


@dataclass(frozen=True)
class Search:
    """What was tried for a next task. `before` (T,) are the scores with which every trial began; the `names` are those
    that were searched; `rehearsed`: the old tasks were scored by the examples that the bundle has kept. `buffers`: the
    sizes of the bundle's buffers that were searched."""

    before: Floats
    trials: tuple[Tried, ...]
    names: tuple[str, ...]
    rehearsed: bool
    buffers: Mapping[str, float]

    @property
    def best(self) -> Tried:
        """The trial with the largest objective, of equal ones the first.

        Raises:
            InputError: all of them failed.
        """
        ended = [trial for trial in self.trials if trial.objective is not None]
        if not ended:
            raise InputError(f"--sweep: every trial failed, the first because {self.trials[0].failure}. Narrow it.")
        return max(ended, key=lambda trial: (trial.objective, -trial.number))

    @property
    def shrinks(self) -> tuple[str, ...]:
        """What the best trial makes smaller for good: buffers."""
        return tuple(name for name, most in self.buffers.items() if float(self.best.values[name]) < most)

    @property
    def before_old_and_new(self) -> tuple[float, float]:
        """The mean score of the old tasks, and that of the new one, with which every trial began."""
        return float(np.nanmean(self.before[:-1])), float(self.before[-1])

    def train_best(self, pack: Pack) -> None:
        """Trains the next task of a `pack` of one run, with the settings of the best trial and the bundle's seed, by
        `train_next_task`; the record has then also how the old tasks did before and after, which the search has found
        out for this very run. Scores by examples that the bundle has kept are left out: these are no validation data.
        """
        pack.train_next_task()
        (record,) = pack.records
        if self.rehearsed or record.failure is not None:
            return
        for row, known in zip(record.validation[-2:], (self.before, self.best.scores[0]), strict=False):
            row[:] = [float(new) if np.isnan(old) else old for old, new in zip(row, known, strict=True)]

    def rows(self) -> list[dict[str, Any]]:
        """One per trial: `trial`, the settings that were searched (`hp_`), `objective_mixed`, `val_old` and `val_new`
        (means over seeds, of the old tasks' mean and of the new one), `val_tasks` (one number per task), `failure`;
        None is what there is not."""
        return [self._row(trial) for trial in self.trials]

    def _row(self, trial: Tried) -> dict[str, Any]:
        row: dict[str, Any] = {
            "trial": trial.number,
            **{f"hp_{name}": trial.values[name] for name in self.names},
            **dict.fromkeys(("objective_mixed", "val_old", "val_new", "val_tasks")),
            "failure": trial.failure,
        }
        if trial.objective is None:
            return row
        means = trial.scores.mean(axis=0)
        return row | {
            "objective_mixed": trial.objective,
            "val_old": float(np.nanmean(means[:-1])),
            "val_new": float(means[-1]),
            "val_tasks": [None if np.isnan(score) else float(score) for score in means],
        }

    def parquet(self) -> bytes:
        """The `rows` as a Parquet file."""
        file = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(self.rows()), file)
        return bytes(file.getvalue())


def search(
    start: Opened,
    config: StudyConfig,
    hypers: Mapping[str, Hyper],
    stream: Stream,
    rehearsed: bool,
    kept: Folder,
    progress: Progress,
) -> Search:
    """What comes of the trials of `config`, those that the folder `kept` has from before among them: a search that was
    killed goes on, and loses no more than the pack that was in training."""
    from cfsweep.sweeping.search.asker import open_asker

    seeds = range(start.about.seed, start.about.seed + config.seeds)
    size = pack_size(config.space.network, stream, start.about.scenario, ON_CPU)
    before = _before(start, stream)
    _forget_another_search(kept, _identity(start, config, stream, rehearsed))
    asker, known = open_asker(kept.journal, config, hypers), _known(kept)
    begun = asker.running()
    ended = asker.ended(sorted(set(asker.numbers) - {each.number for each in begun}))
    tried = {each.number: _from_line(each.number, each.values, known[each.number]) for each in ended}
    while begun or config.trials > asker.n_asked:
        left = config.trials - asker.n_asked
        batch = begun or asker.ask(min(left, trials_per_pack(size, config.seeds, left, workers=1)))
        begun = []
        runs = [RunSpec(each.number, seed, each.values) for each in batch for seed in seeds]
        records: dict[tuple[int, int], RunRecord] = {}
        for spec in pack_runs(config, hypers, runs, size):
            records |= {r.key: r for r in start.pack(spec.runs, stream, ("validation",)).train_next_task().records}
        for each in batch:
            own = [records[each.number, seed] for seed in seeds]
            tried[each.number] = one = _tried(each.number, each.values, own, config.objective.old_weight)
            asker.tell(each.number, "failed" if one.objective is None else "done", one.told)
        _keep(kept, tried)  # before the journal says that they have ended
        asker.release()
        progress(len(tried), config.trials)
    trials = tuple(tried[number] for number in sorted(tried))
    buffers = {name: float(start.about.settings[name]) for name in config.space.search if name in _sizes(start)}
    return Search(before, trials, tuple(config.space.search), rehearsed, buffers)


def _sizes(start: Opened) -> set[str]:
    return {name for each in start.about.ingredients for name in sizes_of(ingredient_class(each))}


def _before(start: Opened, stream: Stream) -> Floats:
    run = RunSpec(0, start.about.seed, dict(start.about.settings))
    pack = start.pack([run], stream, ("validation",))
    return np.array([score_on(pack, task, "validation") for task in range(len(stream.tasks))])


def _tried(number: int, values: Mapping[str, Value], records: list[RunRecord], old_weight: float) -> Tried:
    failure = next((record.failure for record in records if record.failure is not None), None)
    if failure is not None:
        return Tried(number, values, np.empty((0, 0)), None, failure)
    scores = np.array([record.validation[-1] for record in records])
    objective = float(np.mean([_mixed(row, old_weight) for row in scores]))
    return Tried(number, values, scores, objective, None)


def _mixed(row: Floats, old_weight: float) -> float:
    """`mixed_after` of the last task, over the old tasks that have validation data."""
    known = np.append(row[:-1][np.isfinite(row[:-1])], row[-1])
    return mixed_after(np.tile(known, (len(known), 1)), len(known) - 1, old_weight)


# ------------------------------------------------------------------------------------------------ what is kept

TRIALS, SEARCH = "trials.json", "search.txt"


def _identity(start: Opened, config: StudyConfig, stream: Stream, rehearsed: bool) -> str:
    """What must be the same for a search to go on: bundle, task, what scores, space, seeds."""
    return " ".join([sha256(start.bundle / NAME), stream.digest, config.study_id, "kept" if rehearsed else "old"])


def _forget_another_search(kept: Folder, identity: str) -> None:
    said = kept.root / SEARCH
    if not said.exists() or said.read_text() != identity:
        for path in (kept.journal, kept.root / TRIALS):
            path.unlink(missing_ok=True)
        write_atomically(said, lambda file: file.write(identity.encode()))


def _keep(kept: Folder, tried: Mapping[int, Tried]) -> None:
    lines = {n: [each.scores.tolist(), each.objective, each.failure] for n, each in tried.items()}
    write_atomically(kept.root / TRIALS, lambda file: file.write(json.dumps(lines).encode()))


def _known(kept: Folder) -> dict[int, list[Any]]:
    path = kept.root / TRIALS
    return {int(number): of for number, of in json.loads(path.read_text()).items()} if path.exists() else {}


def _from_line(number: int, values: Mapping[str, Value], line: list[Any]) -> Tried:
    scores, objective, failure = line
    return Tried(number, values, np.array(scores) if scores else np.empty((0, 0)), objective, failure)


def forget(kept: Folder) -> None:
    """Removes what was kept: the search has come to its end."""
    shutil.rmtree(kept.root, ignore_errors=True)
