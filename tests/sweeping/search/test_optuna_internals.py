"""What cfsweep uses of Optuna beyond its public interface is there, and does what `optuna_internals` needs.

Where a newer version fails here, the text says what has moved and where to look.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.samplers import RandomSampler, TPESampler
from optuna.samplers._tpe import sampler as tpe
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState

from cfsweep.sweeping.search.optuna_internals import (
    JournalFile,
    OpenTPE,
    PartOfStudy,
    SearchSpace,
    best_by_tpe,
    new_trial,
    storage_of,
    trial_again,
    trials_in,
)


def moved(name: str, owner: object, needed_by: str) -> str:
    return (
        f"Optuna {optuna.__version__}: `{name}` is not what it was. `{needed_by}` in "
        f"cfsweep/sweeping/search/optuna_internals.py needs it; look in {inspect.getsourcefile(owner)}."  # type: ignore[arg-type]
    )


PARAMETERS: list[tuple[Any, str, list[str], str]] = [
    (TPESampler, "_sample", ["self", "study", "trial", "search_space"], "OpenTPE.draw"),
    (TPESampler, "_sample_relative", ["self", "study", "trial", "search_space"], "OpenTPE.sample_relative"),
    (TPESampler, "_compute_acquisition_func", ["self", "samples", "mpe_below", "mpe_above"], "OpenTPE.rank"),
    (optuna.Study, "_get_trials", ["self", "deepcopy", "states", "use_cache"], "PartOfStudy"),
    (optuna.Trial, "__init__", ["self", "study", "trial_id"], "new_trial"),
    (BaseStorage, "create_new_trial", ["self", "study_id", "template_trial"], "new_trial"),
    (tpe, "_split_trials", ["study", "trials", "n_below"], "best_by_tpe"),
]


@pytest.mark.parametrize(("owner", "name", "parameters", "needed_by"), PARAMETERS, ids=lambda x: str(x)[:40])
def test_what_is_called_or_overridden_takes_the_same(
    owner: Any, name: str, parameters: list[str], needed_by: str
) -> None:
    found = getattr(owner, name, None)
    assert found is not None, moved(name, owner, needed_by)
    assert list(inspect.signature(found).parameters) == parameters, moved(name, owner, needed_by)


def test_objects_have_what_is_read_of_them(tmp_path: Path) -> None:
    study = optuna.create_study()
    study.ask()
    (frozen,) = study.trials
    backend = JournalFileBackend(str(tmp_path / "j"))
    (described,) = study._storage.get_all_studies()
    sampler = TPESampler(n_ei_candidates=5)
    for owner, name, kind, needed_by in (
        (study, "_storage", BaseStorage, "storage_of"),
        (study, "_study_id", int, "new_trial"),
        (frozen, "_trial_id", int, "trial_again"),
        (described, "_study_id", int, "trials_in"),
        (backend, "_file_path", str, "JournalFile.path"),
        (backend, "_lock", object, "JournalFile.locked"),
        (sampler, "_n_ei_candidates", int, "OpenTPE.set_n_candidates"),
    ):
        assert isinstance(getattr(owner, name, None), kind), moved(name, type(owner), needed_by)
    assert backend._file_path == str(tmp_path / "j")
    assert sampler._n_ei_candidates == 5
    assert isinstance(described, FrozenStudy)


# ------------------------------------------------------------------------------------------------ trials


def test_a_new_trial_is_one_that_was_asked_for() -> None:
    study = optuna.create_study(sampler=RandomSampler(seed=0))
    study.ask()
    made = new_trial(study)
    assert (made.number, study.trials[1].state) == (1, TrialState.RUNNING), moved("Trial", optuna.Trial, "new_trial")
    made.suggest_float("x", 0, 1)
    study.tell(made.number, 0.5)
    assert study.trials[1].values == [0.5]
    assert storage_of(study).get_n_trials(study._study_id) == 2


def test_a_running_trial_goes_on_with_what_it_was_given() -> None:
    study = optuna.create_study(sampler=RandomSampler(seed=0))
    drawn = study.ask().suggest_float("x", 0, 1)
    again = trial_again(study, study.trials[0])
    assert again.number == 0
    assert again.suggest_float("x", 0, 1) == drawn, moved("Trial", optuna.Trial, "trial_again")


def test_the_trials_of_a_storage() -> None:
    storage = InMemoryStorage()
    study = optuna.create_study(storage=storage)
    study.tell(study.ask(), 1.0)
    study.ask()
    assert trials_in(storage) == [(0, TrialState.COMPLETE), (1, TrialState.RUNNING)]


def test_the_best_by_tpes_order_come_first_and_none_is_lost() -> None:
    study = optuna.create_study(direction="maximize")
    values = np.random.default_rng(0).permutation(10)
    for value in values:
        study.tell(study.ask(), float(value))
    best, others = best_by_tpe(study, study.trials, 3)
    assert {t.value for t in best} == {9.0, 8.0, 7.0}, moved("_split_trials", tpe, "best_by_tpe")
    assert sorted(t.number for t in best + others) == list(range(10))


# ------------------------------------------------------------------------------------------------ the journal's file


def test_a_journals_lock_is_held_against_others(tmp_path: Path) -> None:
    file = JournalFile(str(tmp_path / "j"))
    assert file.path == str(tmp_path / "j")
    lock = tmp_path / "j.lock"  # which `study.repair` removes by this name
    with file.locked():
        assert lock.is_symlink() or lock.exists(), moved("_lock", JournalFileBackend, "JournalFile.locked")
    assert not lock.is_symlink()
    assert not lock.exists()
    with pytest.raises(KeyError), file.locked():
        raise KeyError
    assert not lock.is_symlink()


# ------------------------------------------------------------------------------------------------ the sampler


class Watching(OpenTPE):
    """Notes what passes through the three places where a subclass may step in."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.seen: list[int] = []
        self.spaces: list[SearchSpace] = []
        self.ranked: list[tuple[dict[str, Any], np.ndarray, SearchSpace]] = []
        self.drawn: list[dict[str, Any]] = []

    def study_seen(self, study: optuna.Study, trial: FrozenTrial) -> optuna.Study:
        self.seen.append(trial.number)
        return study

    def draw(self, study: optuna.Study, trial: FrozenTrial, space: SearchSpace) -> dict[str, Any]:
        self.spaces.append(space)
        self.drawn.append(super().draw(study, trial, space))
        return self.drawn[-1]

    def rank(self, candidates: dict[str, Any], values: np.ndarray, space: SearchSpace) -> None:
        self.ranked.append((candidates, values, space))


def suggest(trial: optuna.Trial) -> dict[str, Any]:
    return {
        "x": trial.suggest_float("x", 1e-3, 10.0, log=True),
        "k": trial.suggest_int("k", 2, 40),
        "c": trial.suggest_categorical("c", ["a", "b"]),
    }


def run(study: optuna.Study, n: int) -> list[dict[str, Any]]:
    found = []
    for _ in range(n):
        trial = study.ask()
        found.append(suggest(trial))
        study.tell(trial, -abs(np.log(found[-1]["x"])) - (found[-1]["c"] == "b"))
    return found


@pytest.mark.parametrize("options", [{}, {"multivariate": True, "constant_liar": True}])
def test_whoever_only_watches_gets_optunas_answers(options: dict[str, Any]) -> None:
    settings = {"seed": 0, "n_startup_trials": 4, **options}
    ours, theirs = (optuna.create_study(direction="maximize", sampler=s(**settings)) for s in (Watching, TPESampler))
    assert run(ours, 12) == run(theirs, 12)
    sampler = ours.sampler
    assert isinstance(sampler, Watching)
    assert set(sampler.seen) == set(range(12)), moved("infer_relative_search_space", TPESampler, "OpenTPE.study_seen")
    assert sampler.drawn, moved("_sample", TPESampler, "OpenTPE.draw")
    assert sampler.ranked, moved("_compute_acquisition_func", TPESampler, "OpenTPE.rank")
    assert not [trial for trial in ours.trials if trial.system_attrs], moved(
        "_sample_relative", TPESampler, "OpenTPE.sample_relative (nothing but the parameters is to be written)"
    )


def test_the_best_candidate_is_taken_and_their_number_can_be_set() -> None:
    sampler = Watching(seed=0, n_startup_trials=4, multivariate=True)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    run(study, 6)
    sampler.set_n_candidates(7)
    (taken,) = run(study, 1)
    candidates, values, space = sampler.ranked[-1]
    assert values.shape == (7,), moved("_n_ei_candidates", TPESampler, "OpenTPE.set_n_candidates")
    assert {name: len(found) for name, found in candidates.items()} == {"x": 7, "k": 7, "c": 7}
    assert space == sampler.spaces[-1], moved("_search_space", tpe._ParzenEstimator, "OpenTPE.rank")
    best = int(values.argmax())
    assert {name: space[name].to_external_repr(found[best].item()) for name, found in candidates.items()} == taken


def test_the_sampler_sees_the_part_of_the_study_alone() -> None:
    class Blinkered(OpenTPE):
        def study_seen(self, study: optuna.Study, trial: FrozenTrial) -> optuna.Study:
            return PartOfStudy(study, study.trials[:8])

    def answer(sampler: OpenTPE, n_after: int) -> list[dict[str, Any]]:
        study = optuna.create_study(direction="maximize", sampler=RandomSampler(seed=1))
        run(study, 8)
        study.sampler = RandomSampler(seed=2)
        run(study, n_after)
        study.sampler = sampler
        return run(study, 3)

    settings: dict[str, Any] = {"seed": 0, "n_startup_trials": 4, "multivariate": True}
    assert answer(Blinkered(**settings), 0) == answer(Blinkered(**settings), 20), moved(
        "_get_trials", optuna.Study, "PartOfStudy"
    )
    assert answer(OpenTPE(**settings), 0) != answer(OpenTPE(**settings), 20)


def test_a_part_of_a_study_is_ordered_and_can_be_asked_by_state() -> None:
    study = optuna.create_study(direction="maximize")
    run(study, 3)
    study.ask()
    part = PartOfStudy(study, [study.trials[3], study.trials[0]])
    assert [t.number for t in part.trials] == [0, 3]
    assert [t.number for t in part.get_trials(states=(TrialState.COMPLETE,))] == [0]
    assert part.directions == study.directions
