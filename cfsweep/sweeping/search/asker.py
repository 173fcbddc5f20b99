"""Optuna as the sweep sees it: an `Asker`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState

from cfsweep.config import StudyConfig
from cfsweep.hypers import Hyper
from cfsweep.sweeping.asker import Proposal
from cfsweep.sweeping.search.optuna_internals import new_trial, storage_of, trial_again
from cfsweep.sweeping.search.storage import Journal
from cfsweep.sweeping.search.study import open_study
from cfsweep.sweeping.suggest import suggest

STATES = {"done": TrialState.COMPLETE, "stopped": TrialState.PRUNED, "failed": TrialState.FAIL}


def open_asker(journal: Path, config: StudyConfig, hypers: Mapping[str, Hyper]) -> OptunaAsker:
    """The asker whose study lies in `journal`, which is made if it is not there."""
    return OptunaAsker(open_study(journal, config, hypers), config, hypers)


class OptunaAsker:
    """Asks an Optuna study. From here on its journal is written in groups."""

    def __init__(self, study: optuna.Study, config: StudyConfig, hypers: Mapping[str, Hyper]) -> None:
        self.study, self.config, self.hypers = study, config, hypers
        storage = storage_of(study)
        assert isinstance(storage, Journal)
        self.journal = storage.file
        self.journal.grouping = True
        past = study.get_trials(deepcopy=False)
        self.n_asked = sum(1 for trial in past if trial.state != TrialState.WAITING)
        self.n_waiting = len(past) - self.n_asked
        self.n_ended = {name: sum(1 for t in past if t.state == state) for name, state in STATES.items()}
        self.best = max((t.values[0] for t in past if t.state == TrialState.COMPLETE), default=None)
        self.asked: dict[int, optuna.Trial] = {}  # that have not ended, by number
        self.past_running = [frozen for frozen in past if frozen.state == TrialState.RUNNING]

    @property
    def numbers(self) -> range:
        return range(self.n_asked)

    def running(self) -> list[Proposal]:
        return [self._proposal(trial_again(self.study, frozen), frozen) for frozen in self.past_running]

    def ended(self, numbers: Sequence[int]) -> list[Proposal]:
        if not numbers:
            return []
        past = {frozen.number: frozen for frozen in self.study.get_trials(deepcopy=False)}
        names = {state: name for name, state in STATES.items()}
        space, hypers = self.config.space, self.hypers
        return [Proposal(n, suggest(space, hypers, past[n]), ended=names[past[n].state]) for n in numbers]

    def ask(self, n: int) -> list[Proposal]:
        """New trials, with one write into the journal."""
        with self.journal.together():
            return [self._proposal(self._next()) for _ in range(n)]

    def is_below_median(self, number: int, rung: int, value: float) -> bool:
        self.asked[number].report(value, rung)
        return self.asked[number].should_prune()

    def tell(self, number: int, state: str, values: Sequence[float] | None) -> None:
        with self.journal.held():
            self.study.tell(number, values, state=STATES[state], skip_if_finished=True)
        del self.asked[number]
        self.n_ended[state] += 1
        if values is not None:
            self.best = values[0] if self.best is None else max(self.best, values[0])

    @property
    def pending(self) -> bool:
        return self.journal.pending

    def flush(self) -> None:
        self.journal.flush()

    def release(self) -> None:
        self.journal.release()

    def _next(self) -> optuna.Trial:
        self.n_asked += 1
        if self.n_waiting:
            self.n_waiting -= 1
            return self.study.ask()
        return new_trial(self.study)

    def _proposal(self, trial: optuna.Trial, frozen: FrozenTrial | None = None) -> Proposal:
        self.asked[trial.number] = trial
        values = suggest(self.config.space, self.hypers, trial)
        return Proposal(trial.number, values, max(frozen.intermediate_values, default=0) if frozen else 0)
