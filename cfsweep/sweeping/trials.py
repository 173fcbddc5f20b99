"""The trials under way: which of their runs have ended and how, and when the asker is to hear of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cfsweep.config import StudyConfig
from cfsweep.hypers import Value
from cfsweep.sweeping.asker import Asker, Proposal
from cfsweep.sweeping.rows import FRONT_AXES
from cfsweep.sweeping.running_front import RunningFront
from cfsweep.training.spec import RunRecord, RunSpec


@dataclass(slots=True)
class Trial:
    """One configuration and its runs, by seed: a trial that the asker wants to hear of, or (`proposed` is false) one
    that it does not: a reference, or what is trained again because its rows were lost.

    `states` holds the runs that have ended, `records` what is known of each run, `rung` the last task after which
    the trial was compared with the others. Once its end is `reported`, only its states are kept. `was` is how a trial
    had ended whose rows were lost, or that is tried again: what was stopped stays so, however far it is trained now.
    """

    number: int
    values: dict[str, Value]
    proposed: bool = True
    rung: int = 0
    states: dict[int, str] = field(default_factory=dict)
    records: dict[int, RunRecord] = field(default_factory=dict)
    objectives: dict[int, dict[str, float]] = field(default_factory=dict)
    reported: bool = False
    was: str = ""

    @property
    def running(self) -> list[RunRecord]:
        """The records of its runs that have not ended."""
        return [record for seed, record in self.records.items() if seed not in self.states]


@dataclass(frozen=True)
class Summary:
    """How far the sweep is. `best` is the largest `mixed` so far; `front` the number of trials that no other one
    beats in stability and plasticity both, equal ones counted once; `tasks` the number of tasks of runs that this
    session has trained, of `tasks_at_most`: fewer where trials are stopped, are equal to others or go on within a run.
    In this session so many `deaths` of workers were seen, of which some `hung` before, and checkpoints that were
    `damaged`, or `unsaved` for want of room. `runs_before` had ended when it began, and `runs_going_on` were on their
    way."""

    trials: int
    done: int
    stopped: int
    failed: int
    best: float | None
    front: int
    tasks: int = 0
    tasks_at_most: int = 0
    deaths: int = 0
    damaged: int = 0
    unsaved: int = 0
    hung: int = 0
    runs_before: int = 0
    runs_going_on: int = 0


class TrialBook:
    """All trials of a study that this driver knows of."""

    def __init__(self, config: StudyConfig, asker: Asker) -> None:
        self.config, self.asker = config, asker
        self.trials: dict[int, Trial] = {}
        self.plane: dict[int, dict[int, tuple[float, ...]]] = {}  # of unfinished trials, by trial and seed
        # In this session:
        self.n_tasks_trained = self.n_tasks_at_most = self.n_deaths = self.n_hung = self.n_damaged = self.n_unsaved = 0
        self.n_turned = Counter[str]()  # of trials that had ended, and have ended again otherwise
        self.n_runs_before = self.n_runs_going_on = 0  # trained by an earlier driver, and on their way
        self.front = RunningFront()  # of the finished ones, in stability and plasticity
        for proposal in asker.running():
            self._take_up(proposal)

    def __getitem__(self, number: int) -> Trial:
        return self.trials[number]

    def __iter__(self) -> Iterator[Trial]:
        return iter(list(self.trials.values()))

    def ask(self, n: int) -> list[Trial]:
        """New trials from the asker."""
        return [self._take_up(proposal) for proposal in self.asker.ask(n)]

    def add_reference(self, run: RunSpec) -> None:
        """Takes in a run of a reference."""
        self.trials.setdefault(run.trial, Trial(run.trial, run.values, proposed=False))

    def take_up_lost(self, trials_of_rows: Iterable[int]) -> list[Trial]:
        """The trials that have ended, but not all of whose runs have a row: rows were lost, or the study has more seeds
        now. Of them the asker knows all."""
        rows = Counter(trials_of_rows)
        lost = [n for n in self.asker.numbers if n not in self.trials and rows[n] < self.config.seeds]
        found = [Trial(p.number, p.values, proposed=False, was=p.ended) for p in self.asker.ended(lost)]
        self.trials.update({trial.number: trial for trial in found})
        return found

    def added_to_stopped(self, rows: Iterable[Mapping[str, Any]]) -> list[tuple[Trial, int]]:
        """The trials that were stopped when the study had fewer seeds, each with a seed that it lacks: those are not
        trained. `rows` are those of the runs that are written."""
        begun_with: dict[int, int] = {}
        for row in rows:
            begun_with[row["trial"]] = max(row["seed"] + 1, begun_with.get(row["trial"], self.config.as_begun.seeds))
        stopped = [t for t in self if t.was == "stopped" or "stopped" in t.states.values()]
        lacking = [(t, range(begun_with.get(t.number, self.config.seeds), self.config.seeds)) for t in stopped]
        return [(trial, seed) for trial, seeds in lacking for seed in seeds if seed not in trial.states]

    def has_ended(self, run: RunSpec) -> bool:
        """Whether nothing more is to be learned of this run (a trial of which nothing is known has ended)."""
        trial = self.trials.get(run.trial)
        return trial is None or trial.reported or run.seed in trial.states

    def load(self, row: dict[str, Any]) -> None:
        """Takes in a run that an earlier driver wrote to Parquet, or that was handed the results of an equal one."""
        scored = row["state"] == "done" and "validation" in self.config.parts
        if scored and row.get("same_as") is None:
            self._place(row["trial"], row["seed"], {name: row[f"val_{name}"] for name in FRONT_AXES})
        trial = self.trials.get(row["trial"])
        if trial is not None:
            trial.states[row["seed"]] = row["state"]
            if scored:
                trial.objectives[row["seed"]] = {n: row[f"objective_{n}"] for n in self.config.objective.names}

    def finish(self, trial: Trial, seed: int, objectives: dict[str, float]) -> None:
        """Takes in the objectives of a run that went all the way."""
        trial.objectives[seed] = objectives
        self._place(trial.number, seed, objectives)

    def report_end(self, trial: Trial) -> None:
        """Tells the asker the trial's end, once all its runs have ended: failed if one failed, stopped if one was."""
        if trial.reported or len(trial.states) < self.config.seeds:
            return
        states, values = set(trial.states.values()), None
        state = next((state for state in ("failed", "stopped") if state in states), "done")
        if state == "done" and trial.objectives and trial.proposed:
            names = self.config.objective.names
            values = [float(np.mean([seed[name] for seed in trial.objectives.values()])) for name in names]
        trial.reported, trial.values = True, {}
        trial.records.clear()
        trial.objectives.clear()
        if trial.was:
            self.n_turned.update({state: 1})
            self.n_turned.subtract({trial.was: 1})
        if trial.proposed:
            self.asker.tell(trial.number, state, values)

    def summary(self) -> Summary:
        """Counts of trials by how they ended, and the best so far."""
        single = len(self.config.objective.names) == 1
        again = Counter(t.was for t in self.trials.values() if t.was and not t.reported)  # whose rows are not all there
        return Summary(
            trials=self.config.trials,
            **{state: n - again[state] + self.n_turned[state] for state, n in self.asker.n_ended.items()},
            best=self.asker.best if single else None,
            front=len(self.front.points),
            tasks=self.n_tasks_trained,
            tasks_at_most=self.n_tasks_at_most,
            deaths=self.n_deaths,
            damaged=self.n_damaged,
            unsaved=self.n_unsaved,
            hung=self.n_hung,
            runs_before=self.n_runs_before,
            runs_going_on=self.n_runs_going_on,
        )

    def _place(self, number: int, seed: int, values: Mapping[str, float]) -> None:
        if number < 0:
            return
        seeds = self.plane.setdefault(number, {})
        seeds[seed] = tuple(values[name] for name in FRONT_AXES)
        if len(seeds) == self.config.seeds:
            first, second = np.mean(list(self.plane.pop(number).values()), axis=0)
            self.front.add((float(first), float(second)))

    def _take_up(self, proposal: Proposal) -> Trial:
        trial = Trial(proposal.number, proposal.values, rung=proposal.rung)
        self.trials[trial.number] = trial
        return trial
