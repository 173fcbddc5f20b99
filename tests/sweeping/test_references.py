"""The references are trained as fairly as the trials: paired, and over what is searched of the base hyperparameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import analysis
from analysis.seeds import being_added
from cfsweep.config import Space
from cfsweep.results.reader import read_table
from cfsweep.results.schema import MAJORITY, MAJORITY_TRIAL, reference_method, reference_trial
from cfsweep.results.status import has_majority, status, trained_references
from cfsweep.sweeping.notes import describe_references
from cfsweep.sweeping.references import MOST, reference_packs, reference_settings
from cfsweep.sweeping.space import check_space
from cfsweep.training.constant_answer import constant_answer
from cfsweep.training.spec import PackSpec
from tests.conftest import Run
from tests.sweeping.in_process import Sweep, tiny

LR = {"lr": {"low": 1e-4, "high": 1e-1, "log": True}}


def settings(search: dict[str, Any], **fixed: Any) -> list[dict[str, Any]]:
    return reference_settings(Space.model_validate({"ingredients": ["ewc"], "search": search, "fixed": fixed}))


def test_where_no_base_hyperparameter_is_searched_there_is_one_without_a_value() -> None:
    assert settings({}) == [{}]
    assert settings({"ewc_lambda": {"low": 1.0, "high": 9.0}}, lr=0.1) == [{}]


def test_a_learning_rate_is_spread_over_its_range_beside_the_default() -> None:
    default, *others = [of["lr"] for of in settings(LR)]
    assert default == 1e-3
    np.testing.assert_allclose(sorted(others), [10**-3.5, 10**-2.5, 10**-1.5], rtol=1e-5)
    assert [of["lr"] for of in settings({"lr": {"low": 1e-4, "high": 1e-2, "log": True}})][1:] == [
        0.00464159,
        0.000215443,
    ]


@pytest.mark.parametrize(
    ("search", "fixed", "found"),
    [
        ({"lr": {"choices": [1e-3, 1e-2]}}, {}, [{"lr": 1e-3}, {"lr": 1e-2}]),
        ({"epochs": {"low": 1, "high": 3}}, {}, [{"epochs": 3}, {"epochs": 2}, {"epochs": 1}]),
        ({"momentum": {"low": 0.1, "high": 0.9}}, {"optimizer": "adam"}, [{"momentum": 0.9}]),
        ({"lr": {"low": 0.1, "high": 0.1}}, {}, [{"lr": 0.1}]),
        (
            {"optimizer": {"choices": ["sgd", "adam"]}},
            {},
            [{"optimizer": "adam"}, {"optimizer": "sgd"}],
        ),
    ],
)
def test_settings_that_come_to_the_same_are_there_once(
    search: dict[str, Any], fixed: dict[str, Any], found: list[dict[str, Any]]
) -> None:
    assert sorted(map(str, settings(search, **fixed))) == sorted(map(str, found))


def test_each_part_of_each_range_is_there_once() -> None:
    search = {**LR, "batch_size": {"low": 1, "high": 60}, "weight_decay": {"low": 1e-6, "high": 1e-2, "log": True}}
    (default, *others) = settings(search)
    assert default == {"batch_size": 60, "lr": 1e-3, "weight_decay": 1e-6}
    assert len(others) == 6
    places = np.log10([of["lr"] for of in others]) + 4
    np.testing.assert_allclose(sorted(places / 3), (np.arange(6) + 0.5) / 6, rtol=1e-5)
    assert len({int((of["batch_size"] - 1) * 6 / 60) for of in others}) == 6
    assert settings(search) == [default, *others], "the same each time"


def test_a_zero_beside_a_range_is_a_value_of_it() -> None:
    found = settings({"weight_decay": {"low": 1e-6, "high": 1e-5, "log": True, "zero": True}})
    assert found[0] == {"weight_decay": 0.0}


def test_naive_and_joint_are_paired_with_every_seed() -> None:
    packs = reference_packs(tiny(LR, seeds=3, trials=12), [{"lr": 1e-3}, {"lr": 1e-2}], range(-4, 0), 4)
    assert [(pack.method, [run.key for run in pack.runs]) for pack in packs] == [
        ("naive", [(-1, 0), (-1, 1), (-1, 2), (-3, 0)]),
        ("naive", [(-3, 1), (-3, 2)]),
        ("joint", [(-2, 0), (-2, 1), (-2, 2), (-4, 0)]),
        ("joint", [(-4, 1), (-4, 2)]),
    ]
    assert all(pack.ingredients == () for pack in packs)
    assert {(run.trial, run.values["lr"]) for pack in packs for run in pack.runs} == {
        (trial, 1e-3 if trial >= -2 else 1e-2) for trial in range(-4, 0)
    }
    assert all(PackSpec.from_dict(pack.to_dict()) == pack for pack in packs)


def test_those_of_other_numbers_are_left_out() -> None:
    packs = reference_packs(tiny(LR, trials=12), [{"lr": 1e-3}, {"lr": 1e-2}], [-3, -2, -9], 4)
    found = [(pack.method, run.trial, run.values["lr"]) for pack in packs for run in pack.runs]
    assert found == [("naive", -3, 1e-2), ("joint", -2, 1e-3)]
    assert reference_packs(tiny(LR, trials=12), [{}], [], 4) == []


@pytest.mark.parametrize(("trials", "n"), [(1, 1), (6, 1), (12, 2), (24, 4), (48, 4)])
def test_few_trials_have_few_of_them(trials: int, n: int) -> None:
    config = tiny(LR, trials=trials, references=True)
    numbers = trained_references({"config": config.model_dump(), "references": settings(LR)})
    packs = reference_packs(config, settings(LR), numbers, 99)
    assert [len(pack.runs) for pack in packs] == [n, n]


def test_a_sweep_trains_them_all_and_says_so(sweep: Sweep) -> None:
    config = tiny(LR, trials=18, references=True)
    driver = sweep.open(config)
    assert status(sweep.folder.root).references_left == 6
    sweep.train(driver)
    rates = {row["trial"]: row["hp_lr"] for row in sweep.rows() if row["trial"] < 0}
    told = yaml.safe_load(sweep.folder.study_file.read_text())["references"]
    assert [rates[trial] for trial in (-1, -3, -5)] == [of["lr"] for of in told[:3]]
    assert [rates[trial] for trial in (-2, -4, -6)] == [of["lr"] for of in told[:3]]
    assert status(sweep.folder.root).complete
    said = describe_references(config)
    assert said.startswith("naive and joint, each with 3 settings of lr, the best of which counts: 0.001; ")
    assert describe_references(tiny(trials=3)) == "naive and joint"


def test_the_constant_answer_has_a_row_for_each_seed_without_training(sweep: Sweep) -> None:
    config = tiny(trials=1, seeds=2, references=True, purpose="confirm")
    driver = sweep.open(config)
    assert status(sweep.folder.root).references_left == 2, "it is written before anything is trained"
    sweep.train(driver)
    rows = [row for row in sweep.rows() if row["trial"] == MAJORITY_TRIAL]
    assert [row["seed"] for row in rows] == [0, 1]
    for row in rows:
        told = ("method", "state", "train_s", "steps", "stored_bytes", "n_parameters", "tasks_done", "same_as")
        assert [row[name] for name in told] == ["majority", "done", 0.0, 0, 0, 0, 5, None]
        assert {value for name, value in row.items() if name.startswith("hp_")} == {None}
    expected = constant_answer(sweep.stream, "task-il").steering
    for part, table in (("validation", "accuracy"), ("test", "test")):
        cells = [value for of_row in expected[part] for value in of_row]
        found = sweep.matrices(table)
        assert found[MAJORITY_TRIAL, 0] == found[MAJORITY_TRIAL, 1] == cells
    assert rows[0]["val_average_score"] == np.mean(expected["validation"][-1])
    assert rows[0]["objective_mixed"] == rows[1]["objective_mixed"] is not None


def test_the_constant_answer_takes_the_seeds_that_are_added(sweep: Sweep) -> None:
    sweep.train(sweep.open(tiny(trials=1, references=True)))
    assert {len(cells) for cells in sweep.matrices().values()} == {30}
    assert sweep.rows("test") == [], "a sweep does not score it by test data either"
    sweep.folder.set_budget(1, None, 3)
    grown = sweep.open(sweep.folder.read()[0])
    assert not status(sweep.folder.root).complete
    half = analysis.load(sweep.folder.root)
    assert being_added(half) == [1, 2], "until the others have them"
    sweep.train(grown)
    assert status(sweep.folder.root).complete
    assert [row["seed"] for row in sweep.rows() if row["trial"] == MAJORITY_TRIAL] == [0, 1, 2]
    assert being_added(analysis.load(sweep.folder.root)) == []


def test_a_target_without_classes_has_a_constant_answer_too(run: Run, smoke: Path) -> None:
    own = ("--set", "stream.target=tests.sweeping.targets:Unclassed", "--set", "ingredients=[]")
    few = ("run", smoke, "--trials", "1", *own, "--set", "search={}", "--set", "fixed={epochs: 1}")
    code, out, complaints = run(*few, "--dry-run")
    assert (code, complaints) == (0, "")
    assert "naive and joint" in out
    assert "majority, the constant answer" in out
    assert "by class" not in out
    assert run(*few, "--workers", "0", "--out", "study")[0] == 0
    assert status("study").complete
    assert set(read_table("study", "runs")["trial"].to_pylist()) == {-1000, -2, -1, 0}


def test_without_references_there_is_no_constant_answer(sweep: Sweep) -> None:
    sweep.train(sweep.open(tiny(trials=1)))
    assert [row["trial"] for row in sweep.rows()] == [0]
    study = yaml.safe_load(sweep.folder.study_file.read_text())
    assert len(study["majority"]) == 5, "the shares are told all the same"
    del study["majority"]
    assert not has_majority({**study, "config": {**study["config"], "references": True}})
    assert status(sweep.folder.root).complete


def test_its_number_is_beyond_those_of_all_settings_of_the_others() -> None:
    others = {reference_trial(method, k) for method in ("naive", "joint") for k in range(MOST + 1)}
    assert min(others) > MAJORITY_TRIAL
    assert reference_method(MAJORITY_TRIAL) == MAJORITY


def test_more_trials_bring_more_of_them(sweep: Sweep) -> None:
    for trials, n in ((1, 1), (13, 2)):
        sweep.train(sweep.open(tiny(LR, trials=trials, references=True)))
        assert {row["trial"] for row in sweep.rows() if row["trial"] < 0} == {*range(-2 * n, 0), MAJORITY_TRIAL}
        assert status(sweep.folder.root).complete


def test_a_folder_of_before_has_the_default_alone_and_no_constant_answer(sweep: Sweep) -> None:
    config = tiny(LR, trials=2, references=True)
    sweep.folder.create(config, check_space(config.space, "test"), sweep.stream)
    study = yaml.safe_load(sweep.folder.study_file.read_text())
    del study["references"], study["majority"]
    sweep.folder.write(study)
    sweep.train(sweep.open(config))
    assert {row["trial"] for row in sweep.rows() if row["trial"] < 0} == {-1, -2}
    assert status(sweep.folder.root).complete


def test_ranges_over_all_magnitudes_and_whole_numbers_stay_within() -> None:
    wide = settings({"lr": {"low": 1e-300, "high": 1e300, "log": True}})
    np.testing.assert_allclose(sorted(of["lr"] for of in wide[1:]), [1e-200, 1.0, 1e200])
    assert {of["epochs"] for of in settings({"epochs": {"low": 1, "high": 3}})} == {1, 2, 3}
    whole = settings({"batch_size": {"low": 1, "high": 1000, "log": True}})
    assert sorted(of["batch_size"] for of in whole[1:]) == [3, 32, 316]
