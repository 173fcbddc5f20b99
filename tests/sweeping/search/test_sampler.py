"""TPE that looks at a bounded part of the study: Optuna's own up to the bound, and sane beyond."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.samplers import TPESampler
from optuna.trial import TrialState

from cfsweep.sweeping.search import sampler as sampler_module
from cfsweep.sweeping.search.sampler import BoundedTPE, kept_trials
from cfsweep.sweeping.search.storage import Journal


def study_with(path: Path, sampler: TPESampler, n_objectives: int) -> optuna.Study:
    storage = Journal(path)
    storage.file.grouping = True
    return optuna.create_study(storage=storage, directions=["maximize"] * n_objectives, sampler=sampler)


def suggest(trial: optuna.Trial) -> dict[str, Any]:
    return {
        "x": trial.suggest_float("x", 1e-3, 10.0, log=True),
        "y": trial.suggest_float("y", -1.0, 1.0),
        "k": trial.suggest_int("k", 2, 40),
        "c": trial.suggest_categorical("c", ["a", "b"]),
    }


def values_of(params: dict[str, Any]) -> list[float]:
    near = -abs(np.log(params["x"])) - params["y"] ** 2 - abs(params["k"] - 20) / 20 - (params["c"] == "b")
    return [float(near), float(params["y"] + params["x"] / 10)]


def run(study: optuna.Study, n: int, at_once: int) -> list[dict[str, Any]]:
    """Asks for `at_once` trials, tells of them in another order; some fail, some are stopped."""
    asked, rng = [], np.random.default_rng(0)
    for _ in range(n // at_once):
        trials = [study.ask() for _ in range(at_once)]
        params = [suggest(trial) for trial in trials]
        asked += params
        for i in rng.permutation(at_once):
            state = TrialState(int(rng.choice([1, 2, 3], p=[0.8, 0.15, 0.05])))  # complete, stopped, failed
            complete = state == TrialState.COMPLETE
            study.tell(trials[i], values_of(params[i])[: len(study.directions)] if complete else None, state=state)
    return asked


@pytest.mark.parametrize("n_objectives", [1, 2])
def test_up_to_the_bound_the_answers_are_optunas(tmp_path: Path, n_objectives: int) -> None:
    ours = study_with(tmp_path / "a", BoundedTPE(seed=3, n_startup_trials=10), n_objectives)
    theirs = study_with(tmp_path / "b", TPESampler(seed=3, n_startup_trials=10), n_objectives)
    assert run(ours, 60, at_once=6) == run(theirs, 60, at_once=6)


@pytest.mark.parametrize("n_objectives", [1, 2])
def test_beyond_the_bound_it_sees_no_more_and_still_finds_the_good(
    tmp_path: Path, n_objectives: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"MOST_ENDED": 40, "MOST_RUNNING": 10, "SLACK": 10, "BEST": 10}.items():
        monkeypatch.setattr(sampler_module, name, value)
    seen: list[int] = []
    study_seen = BoundedTPE.study_seen

    def watch(self: BoundedTPE, study: optuna.Study, trial: Any) -> optuna.Study:
        found = study_seen(self, study, trial)
        seen.append(len(found.get_trials()))
        return found

    monkeypatch.setattr(BoundedTPE, "study_seen", watch)
    studies = [study_with(tmp_path / name, BoundedTPE(3, 10), n_objectives) for name in "ab"]
    asked, again = (run(study, 168, at_once=12) for study in studies)
    assert asked == again
    assert max(seen) <= 50
    assert len({tuple(params.values()) for params in asked}) == 168
    for params in asked:
        assert type(params["k"]) is int
        assert 2 <= params["k"] <= 40
    means = [np.mean([values_of(params)[0] for params in some]) for some in (asked[:10], asked[-60:])]
    assert means[1] > means[0] + 0.5


def test_the_best_and_the_latest_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampler_module, "BEST", 5)
    study = study_with(tmp_path / "j", BoundedTPE(0, 10), 1)
    values = np.random.default_rng(0).permutation(60)
    for value in values:
        study.tell(study.ask(), float(value))
    kept = {trial.number for trial in kept_trials(study, study.trials, 20)}
    best = set(np.argsort(-values)[:5].tolist())
    assert best <= kept
    assert kept - best == set(sorted(set(range(60)) - best)[-15:])


def test_the_journal_does_not_hold_the_parameters_twice(tmp_path: Path) -> None:
    study = study_with(tmp_path / "j", BoundedTPE(0, 2), 1)
    run(study, 12, at_once=3)
    assert not [trial for trial in study.trials if trial.system_attrs]


@pytest.mark.parametrize(("low", "high", "log"), [(1, 4, False), (1, 4, True)])
def test_whole_numbers_reach_both_ends_of_their_range(
    tmp_path: Path, low: int, high: int, log: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"MOST_ENDED": 20, "SLACK": 5, "BEST": 5}.items():
        monkeypatch.setattr(sampler_module, name, value)
    for sign in (-1, 1):
        study = study_with(tmp_path / f"{sign}", BoundedTPE(0, 10), 1)
        found = []
        for _ in range(80):
            trial = study.ask()
            found.append(trial.suggest_int("k", low, high, log=log))
            study.tell(trial, float(sign * found[-1]))
        assert (high if sign == 1 else low) in found
