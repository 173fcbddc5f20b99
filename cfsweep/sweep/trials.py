"""The trials under way: which of their runs have ended and how, and when Optuna is to hear of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from cfsweep.config import StudyConfig
from cfsweep.hypers import Hyper, Value
from cfsweep.sweep.front import Front
from cfsweep.sweep.rows import PLANE
from cfsweep.sweep.space import suggest
from cfsweep.sweep.storage import Journal
from cfsweep.training.spec import RunRecord, RunSpec


@dataclass(slots=True)
class Trial:
    """One configuration and its runs, by seed: an Optuna trial, or (`asked` is None) a reference.

    `states` holds the runs that have ended, `records` what is known of each run, `rung` the last task after which
    the intermediate objective was looked at. Of a trial that Optuna was told of, only its states are kept.
    """

    number: int
    values: dict[str, Value]
    asked: optuna.Trial | None
    states: dict[int, str] = field(default_factory=dict)
    records: dict[int, RunRecord] = field(default_factory=dict)
    objectives: dict[int, dict[str, float]] = field(default_factory=dict)
    rung: int = 0
    told: bool = False

    @property
    def running(self) -> list[RunRecord]:
        return [record for seed, record in self.records.items() if seed not in self.states]


@dataclass(frozen=True)
class Summary:
    """How far the sweep is. `best` is the largest `mixed` so far; `front` the number of trials that no other one
    beats in stability and plasticity both."""

    trials: int
    done: int
    stopped: int
    failed: int
    best: float | None
    front: int


class TrialBook:
    """All trials of a study that this driver knows of. From here on its journal is written in groups."""

    def __init__(self, config: StudyConfig, hypers: dict[str, Hyper], study: optuna.Study) -> None:
        self.config, self.hypers, self.study = config, hypers, study
        assert isinstance(study._storage, Journal)
        self.storage = study._storage
        self.journal = study._storage.file
        self.journal.grouping = True
        self.trials: dict[int, Trial] = {}
        past = study.get_trials(deepcopy=False)
        self.n_asked = sum(1 for trial in past if trial.state != TrialState.WAITING)
        self.ended = {state: sum(1 for t in past if t.state == state) for state in TrialState}
        self.best = max((t.values[0] for t in past if t.state == TrialState.COMPLETE), default=-np.inf)
        self.n_waiting = self.ended[TrialState.WAITING]
        self.plane: dict[int, dict[int, tuple[float, ...]]] = {}  # of unfinished trials, by trial and seed
        self.front = Front()  # of the finished ones, in stability and plasticity
        for frozen in past:
            if frozen.state == TrialState.RUNNING:
                self._adopt(optuna.Trial(study, frozen._trial_id), frozen)

    @property
    def n_ended(self) -> int:
        return sum(self.ended[state] for state in TrialState if state.is_finished())

    def __getitem__(self, number: int) -> Trial:
        return self.trials[number]

    def __iter__(self) -> Any:
        return iter(list(self.trials.values()))

    def ask(self, n: int) -> list[Trial]:
        """New trials from Optuna, with one write into the journal."""
        with self.journal.together():
            return [self._adopt(self._next()) for _ in range(n)]

    def _next(self) -> optuna.Trial:
        self.n_asked += 1
        if self.n_waiting:
            self.n_waiting -= 1
            return self.study.ask()
        # `ask` of the study would look through all its trials for one that waits.
        return optuna.Trial(self.study, self.storage.create_new_trial(self.study._study_id))

    def add_reference(self, run: RunSpec) -> None:
        self.trials.setdefault(run.trial, Trial(run.trial, run.values, None))

    def has_ended(self, run: RunSpec) -> bool:
        """Whether nothing more is to be learned of this run (a trial of which nothing is known has ended)."""
        trial = self.trials.get(run.trial)
        return trial is None or trial.told or run.seed in trial.states

    def load(self, row: dict[str, Any]) -> None:
        """Takes in a run that an earlier driver wrote to Parquet."""
        if row["state"] == "done":
            self._place(row["trial"], row["seed"], {name: row[f"val_{name}"] for name in PLANE})
        trial = self.trials.get(row["trial"])
        if trial is not None:
            trial.states[row["seed"]] = row["state"]
            if row["state"] == "done":
                trial.objectives[row["seed"]] = {n: row[f"objective_{n}"] for n in self.config.objective.names}

    def finish(self, trial: Trial, seed: int, objectives: dict[str, float]) -> None:
        """Takes in the objectives of a run that went all the way."""
        trial.objectives[seed] = objectives
        self._place(trial.number, seed, objectives)

    def tell(self, trial: Trial) -> None:
        """Tells Optuna the trial's end, once all its runs have ended: failed if one failed, stopped if one was.

        The study knows at once; the journal is to be told once the rows of the runs are written.
        """
        if trial.told or len(trial.states) < self.config.seeds:
            return
        asked = trial.asked
        trial.told, trial.asked, trial.values = True, None, {}
        trial.records.clear()
        if asked is None:
            return
        states, values = set(trial.states.values()), None
        if "failed" in states:
            state = TrialState.FAIL
        elif "stopped" in states:
            state = TrialState.PRUNED
        else:
            state = TrialState.COMPLETE
            names = self.config.objective.names
            values = [float(np.mean([seed[name] for seed in trial.objectives.values()])) for name in names]
            self.best = max(self.best, values[0])
        trial.objectives.clear()
        with self.journal.held():
            self.study.tell(trial.number, values, state=state, skip_if_finished=True)
        self.ended[state] += 1

    def summary(self) -> Summary:
        """Counts of trials by how they ended, and the best so far."""
        single = len(self.config.objective.names) == 1
        return Summary(
            trials=self.config.trials,
            done=self.ended[TrialState.COMPLETE],
            stopped=self.ended[TrialState.PRUNED],
            failed=self.ended[TrialState.FAIL],
            best=self.best if single and self.ended[TrialState.COMPLETE] else None,
            front=len(self.front.points),
        )

    def _place(self, number: int, seed: int, values: Mapping[str, float]) -> None:
        if number < 0:
            return
        seeds = self.plane.setdefault(number, {})
        seeds[seed] = tuple(values[name] for name in PLANE)
        if len(seeds) == self.config.seeds:
            first, second = np.mean(list(self.plane.pop(number).values()), axis=0)
            self.front.add((float(first), float(second)))

    def _adopt(self, asked: optuna.Trial, frozen: FrozenTrial | None = None) -> Trial:
        rung = max(frozen.intermediate_values, default=0) if frozen else 0
        trial = Trial(asked.number, suggest(self.config.space, self.hypers, asked), asked, rung=rung)
        self.trials[trial.number] = trial
        return trial
