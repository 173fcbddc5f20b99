"""The settings of a bundle's next task, searched: each trial goes on from the bundle, and is scored by validation data
of the old tasks and of the new one."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cfsweep.bundle.continued import Opened, opened, score_on
from cfsweep.bundle.next_task import scored_by, scored_by_kept
from cfsweep.bundle.own_stream import stream_of
from cfsweep.config import Choices, Searched, Space, StudyConfig
from cfsweep.errors import InputError, few
from cfsweep.hypers import Hyper, Value
from cfsweep.metrics import mixed_after
from cfsweep.sweeping.pack_size import ON_CPU
from cfsweep.sweeping.packing import pack_runs, trials_per_pack
from cfsweep.sweeping.parsing import assigned, make_config
from cfsweep.sweeping.space import check_space
from cfsweep.training.pack import Pack, pack_size
from cfsweep.training.spec import RunRecord, RunSpec
from cfsweep.training.streams import Stream

FILE = "search.parquet"  # in the bundle
# What of a study's settings a search goes by, or looks at by itself (the stream).
OF_A_SEARCH = ("space", "stream", "trials", "seeds", "sampler_seed", "objective", "identity_version")
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


@dataclass(frozen=True)
class Search:
    """What was tried for a next task. `before` (T,) are the scores with which every trial began; the `names` are those
    that were searched; `rehearsed`: the old tasks were scored by the examples that the bundle has kept."""

    before: Floats
    trials: tuple[Tried, ...]
    names: tuple[str, ...]
    old_weight: float
    rehearsed: bool

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
    def before_old_and_new(self) -> tuple[float, float]:
        """The mean score of the old tasks, and that of the new one, with which every trial began."""
        return float(np.nanmean(self.before[:-1])), float(self.before[-1])

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


def search_settings(
    bundle: Path,
    task: Path,
    space: Path | Mapping[str, Any],
    options: Mapping[str, Any],
    settings: Iterable[str] | Mapping[str, Any],
    old: str | None,
    data: str | None,
    progress: Progress = lambda done, trials: None,
) -> Search:
    """Searches what `space` does, beside it with the bundle's own settings, for the model in `bundle` to learn `task`:
    `w * mean_old + (1 - w) * new` on validation data, `w` the `objective.old_weight`, mean over seeds.

    The old tasks' validation data are those of the stream `old`, cut as the bundle's was; without it the examples that
    the bundle has kept score, which flatter, as they are trained on. `options` and `settings` as for `make_config`: of
    a study's, the `trials`, `seeds`, `sampler_seed` and `objective.old_weight`. The first trial has the bundle's own
    settings, or what the space has nearest to them; network and scenario are the bundle's, whatever the space was
    written for. Runs are trained in this process. `progress` is called with the number of trials that have ended, and
    of all.

    Raises:
        InputError: there is nothing to search, or something is asked for that cannot be had; or the bundle cannot go
            on with the task.
    """
    start = opened(bundle)
    asked = dict(settings if isinstance(settings, Mapping) else assigned(settings))
    if named := [key for key in asked if key.partition(".")[0] in ("network", "scenario", "ingredients")]:
        raise InputError(f"--set {named[0]}: network, scenario and remedies are the bundle's. Leave it out.")
    config, hypers = _described(start, make_config(space, options, asked))
    stream = _scored(start, start.stream(task), old, data)
    scored = [number for number in range(stream.n_learned) if len(stream.tasks[number].validation)]
    if not scored:
        raise InputError(
            f"{bundle}: no example of its tasks is in it to score a trial by. Name their stream with `--old`."
        )
    return _searched(start, config, hypers, stream, rehearsed=old is None, progress=progress)


# ------------------------------------------------------------------------------------------------ what is searched


def _described(start: Opened, config: StudyConfig) -> tuple[StudyConfig, dict[str, Hyper]]:
    """The search as a study whose trials have the bundle's settings where the space says nothing; and the
    hyperparameters, whose defaults are these.

    Raises:
        InputError: the space is not for this bundle.
    """
    about, given = start.about, config.space
    _refuse_what_is_not_of_a_search(config)
    if strange := [name for name in given.ingredients if name not in about.ingredients]:
        there = few(about.ingredients) if about.ingredients else "none"
        raise InputError(
            f"--sweep: `ingredients <= {{{there}}}` must hold, but got {few(strange)}: the bundle has kept nothing for "
            "it. Search the settings of its own remedies."
        )
    own = {name: value for name, value in about.settings.items() if name not in given.search}
    space = Space(
        ingredients=about.ingredients, network=about.network, fixed={**own, **given.fixed}, search=given.search
    )
    hypers = check_space(space, "--sweep")
    if not space.search:
        raise InputError("--sweep: the space searches nothing. Name ranges or choices below `search`.")
    start.changed(space.fixed)
    for name, searched in space.search.items():
        for value in _ends(searched):
            start.changed({**given.fixed, name: value})
    hypers = {name: replace(hyper, default=about.settings[name]) for name, hyper in hypers.items()}
    stream = about.stream_config.model_copy(update={"splits": 1})
    return config.model_copy(update={"space": space, "stream": stream}), hypers


def _refuse_what_is_not_of_a_search(config: StudyConfig) -> None:
    usual = StudyConfig(space=config.space)
    for name in StudyConfig.model_fields:
        if name not in OF_A_SEARCH and getattr(config, name) != getattr(usual, name):
            raise InputError(f"--set {name}: it is of a sweep over a whole stream. Leave it out.")
    stream = config.stream.model_copy(update={"data": None, "scenario": usual.stream.scenario})
    if stream != usual.stream:
        raise InputError("--set stream: the stream is the bundle's, and `--task`. Leave it out.")
    if config.objective.name != "mixed":
        raise InputError("--set objective.name: it must be mixed, as one model comes out. Leave it out.")


def _ends(searched: Searched) -> tuple[Value, ...]:
    """Values of which all hold if each of what is searched does: those of a list, the ends of a range."""
    if isinstance(searched, Choices):
        return searched.choices
    return (searched.low, searched.high, *((0,) if searched.zero else ()))


def _scored(start: Opened, stream: Stream, old: str | None, data: str | None) -> Stream:
    """`stream` with what scores the old tasks.

    Raises:
        InputError: the validation data were trained on, or are not those of the bundle's tasks.
    """
    about = start.about
    if about.cut.refit:
        raise InputError(
            f"{start.bundle}: it was trained on the validation data, too (`--refit`), so nothing is left to score a "
            "trial by. Search from the bundle of a model that was not."
        )
    if old is None:
        return scored_by_kept(stream)
    found = stream_of(about, data, old, "--old")
    if missing := [name for name, digest in about.data_sha256.items() if digest not in found.files.values()]:
        raise InputError(
            f"--old {old}: it must have the data that the bundle was trained on, but {missing[0]} of SHA-256 "
            f"{about.data_sha256[missing[0]][:12]} is not among it. Bring it back as it was, or name its place."
        )
    return scored_by(stream, found.of_split(about.cut.split))


# ------------------------------------------------------------------------------------------------ the search


def _searched(
    start: Opened, config: StudyConfig, hypers: Mapping[str, Hyper], stream: Stream, rehearsed: bool, progress: Progress
) -> Search:
    seeds = range(start.about.seed, start.about.seed + config.seeds)
    size = pack_size(config.space.network, stream, start.about.scenario, ON_CPU)
    from cfsweep.sweeping.search.asker import open_asker

    before: Floats | None = None
    tried: list[Tried] = []
    with tempfile.TemporaryDirectory(prefix="cfsweep-search-") as scratch:
        asker = open_asker(Path(scratch) / "journal.jsonl", config, hypers)
        while (left := config.trials - asker.n_asked) > 0:
            asked = asker.ask(min(left, trials_per_pack(size, config.seeds, left, workers=1)))
            runs = [RunSpec(each.number, seed, each.values) for each in asked for seed in seeds]
            records: dict[tuple[int, int], RunRecord] = {}
            for spec in pack_runs(config, hypers, runs, size):
                pack = start.pack(spec.runs, stream, ("validation",))
                before = _before(pack) if before is None else before
                records |= {record.key: record for record in pack.train_next_task().records}
            for each in asked:
                own = [records[each.number, seed] for seed in seeds]
                tried.append(_tried(each.number, each.values, own, config.objective.old_weight))
                value = tried[-1].objective
                asker.tell(each.number, "failed" if value is None else "done", None if value is None else [value])
            progress(len(tried), config.trials)
    assert before is not None  # a study has trials
    return Search(before, tuple(tried), tuple(config.space.search), config.objective.old_weight, rehearsed)


def _before(pack: Pack) -> Floats:
    return np.array([score_on(pack, task, "validation") for task in range(len(pack.stream.tasks))])


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
