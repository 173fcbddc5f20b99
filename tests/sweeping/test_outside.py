"""Sweeps whose runs a function of the user's trains: stopped, resumed, chosen and confirmed as others are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import cfsweep
from cfsweep.errors import InputError
from cfsweep.results.reader import read_study, read_table
from cfsweep.sweeping.driver import Driver
from cfsweep.training.outside import OutsideTrainer
from tests.conftest import Run
from tests.training.outside import trainers

HERE = "tests.training.outside.trainers"
SEARCH = {"kept": {"low": 0.1, "high": 1.0}, "rate": {"low": 0.1, "high": 1.0}}


def space(name: str = "train", **content: Any) -> dict[str, Any]:
    return {"trainer": f"{HERE}:{name}", "scenario": "domain-il", "search": SEARCH, **content}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def swept(name: str = "train", **options: Any) -> cfsweep.Sweep:
    return cfsweep.sweep(space(name), **{"out": "study", "trials": 6, "workers": 0, **options})


def rows(root: str = "study", table: str = "runs") -> list[dict[str, Any]]:
    return sorted(read_table(root, table).to_pylist(), key=lambda row: (row["trial"], row["seed"]))


# ------------------------------------------------------------------------------------------------ a whole sweep


def test_a_run_has_the_scores_that_its_function_gives(here: Path) -> None:
    assert swept(seeds=2).status.done + swept(seeds=2).status.stopped == 6
    for row in rows():
        if row["state"] != "done":
            continue
        settings, known = {name: row[f"hp_{name}"] for name in SEARCH}, []
        expected = []
        for task in range(trainers.N_TASKS):
            known = trainers.known_after(settings, row["seed"], task, known)
            expected.append(trainers.scores_of(known)["validation"])
        mine = [r for r in rows(table="accuracy") if (r["trial"], r["seed"]) == (row["trial"], row["seed"])]
        assert min(cell["after_task"] for cell in mine) == 0, "nobody has evaluated the untrained network"
        matrix = np.full((4, 4), np.nan)
        for cell in mine:
            matrix[cell["after_task"], cell["eval_task"]] = cell["accuracy"]
        np.testing.assert_array_equal(matrix, expected)
        assert row["val_average_score"] == pytest.approx(np.mean(expected[-1]))
        assert row["method"] == row["stream"] == f"{HERE}:train"
        missing = json.loads(row["missing"])
        assert row["steps"] is row["stored_bytes"] is row["n_parameters"] is None
        assert missing["steps"] == missing["stored_bytes"] == "a trainer from outside does not say"
        assert missing["forward_transfer"] == "the untrained network was not evaluated"
    assert rows(table="test") == []


def test_settings_that_are_called_like_cfsweeps_own_are_the_trainers(here: Path) -> None:
    """Of cfsweep's, `momentum` acts with sgd alone, and all of these trials would come to the same."""
    searched = {"momentum": {"choices": [0.1, 0.9]}}
    fixed = {"kept": 0.5, "rate": 0.5, "optimizer": "adam"}
    cfsweep.sweep({**space(), "search": searched, "fixed": fixed}, trials=6, workers=0, out="study")
    trained = [row for row in rows() if row["same_as"] is None]
    assert sorted(row["hp_momentum"] for row in trained) == [0.1, 0.9]
    assert len({row["config_hash"] for row in rows()}) == 2


def test_another_score_steers_and_is_what_is_spoken_of(here: Path, run: Run) -> None:
    """Of errors, whose worst value nobody knows: the same choices as of the scores that they are made of."""
    sweep = swept("with_errors", scores="neg_rmse", seeds=2, out="errors")
    plain = swept(seeds=2, out="plain")
    assert read_study("errors")["scores"] == [{"name": "neg_rmse", "bounds": [-np.inf, 0.0]}]
    ends = {name: [row for row in rows(name) if row["state"] == "done"] for name in ("errors", "plain")}
    assert [(row["trial"], row["seed"]) for row in ends["errors"]] == [(r["trial"], r["seed"]) for r in ends["plain"]]
    for mine, theirs in zip(ends["errors"], ends["plain"], strict=True):
        for metric in ("val_average_score", "val_stability", "val_plasticity"):
            assert mine[metric] == pytest.approx(5000 * (theirs[metric] - 1))
    cells = rows("errors", "accuracy")
    assert "accuracy" not in cells[0]
    assert all(-5000 <= cell["neg_rmse"] <= 0 for cell in cells)
    assert sweep.select()["trial"] == plain.select()["trial"]
    code, out, err = run("front", "errors")
    assert (code, err) == (0, "")
    assert "The score is neg_rmse, the higher the better." in out
    sweep.report()
    assert "neg_rmse" in Path("errors/report.html").read_text()
    assert run("gate", "errors", "--min-average-score", "-5000")[0] == 0
    assert run("gate", "errors", "--min-average-score", "1")[0] == 2, "no error is above 0"
    sweep.confirm(seeds=2, workers=0)
    said = cfsweep.export_state("errors", "kept")
    assert said["score"] == "neg_rmse"
    assert all(-5000 <= score <= 0 for score in said["scores"]["test"])
    assert cfsweep.resume("errors", more_trials=1, workers=0).status.done >= len(ends["errors"]) // 2


def test_a_score_of_ones_own_has_its_name_and_bounds(here: Path) -> None:
    swept("with_points", scores=f"{HERE}:points", trials=2)
    assert read_study("study")["scores"] == [{"name": "points", "bounds": [0.0, 10.0]}]
    assert max(cell["points"] for cell in rows(table="accuracy")) > 1


@pytest.mark.parametrize(
    ("name", "score", "said"),
    [
        ("with_errors", None, "task 0: `0 <= accuracy <= 1` must hold, but got -"),
        ("with_points", "roc_auc", "task 0: `0 <= roc_auc <= 1` must hold, but got "),
        ("train", "roc_auc,accuracy", "returns one score, but got --score roc_auc,accuracy. Name one."),
        ("train", "rmse", "unknown score `rmse`. Known, closest first: neg_rmse"),
    ],
)
def test_what_is_not_that_score_is_one_line(here: Path, run: Run, name: str, score: str | None, said: str) -> None:
    Path("space.yaml").write_text(yaml.safe_dump(space(name)))
    code, _, complaint = run("run", "space.yaml", "--out", "study", *(("--score", score) if score else ()))
    assert code == 2
    assert said in complaint
    assert complaint.count("\n") == 1
    assert not Path("study").exists()


def test_equal_trials_are_trained_once(here: Path) -> None:
    searched = {"kept": {"choices": [0.5]}, "rate": {"choices": [0.2, 0.3]}}
    cfsweep.sweep({**space(), "search": searched}, trials=5, workers=0, out="study")
    assert sum(row["same_as"] is None for row in rows()) == 2


def test_the_study_says_what_it_is(here: Path) -> None:
    swept("with_counts")
    study = read_study("study")
    assert [task["name"] for task in study["tasks"]] == list("abcd")
    assert [(task["n_validation"], task["n_test"]) for task in study["tasks"]] == [(400, 50)] * 4
    assert list(study["code_sha256"]) == ["tests/training/outside/trainers.py"]
    assert study["config"]["references"] is False
    assert study["config"]["stream"]["n_tasks"] == 4
    assert {name: about["kind"] for name, about in study["hypers"].items()} == {"kept": "float", "rate": "float"}


def test_trials_that_lose_are_stopped_by_either_objective(here: Path) -> None:
    for name, objective in (("train", "mixed"), ("with_counts", "pareto")):
        assert swept(name, objective=objective, out=objective, trials=24).status.stopped > 0
    uncounted = swept(objective="pareto", out="uncounted", trials=24)
    assert uncounted.status.stopped == 0, "nobody knows how far chance moves the scores"


def test_it_is_chosen_confirmed_and_handed_out(here: Path) -> None:
    sweep = swept("in_a_folder", seeds=2)
    chosen = sweep.select()["trial"]
    done = [number for number in range(6) if all(r["state"] == "done" for r in rows() if r["trial"] == number)]
    assert chosen == max(done, key=lambda n: np.mean([r["val_average_score"] for r in rows() if r["trial"] == n]))
    confirmed = sweep.confirm(seeds=2, workers=0)
    assert chosen in [row.trial for row in confirmed.trials]
    fresh = [row for row in rows("study/confirmed") if row["trial"] == chosen]
    assert [row["seed"] for row in fresh] == [10_000, 10_001]
    tested = [r for r in rows("study/confirmed", "test") if r["trial"] == chosen and r["after_task"] == 3]
    assert len(tested) == 2 * trainers.N_TASKS
    said = cfsweep.export_state("study", "kept", seed=10_001)
    settings = {name: fresh[0][f"hp_{name}"] for name in SEARCH}
    assert said["settings"] == settings
    known: list[float] = []
    for task in range(trainers.N_TASKS):
        known = trainers.known_after(settings, 10_001, task, known)
    assert json.loads(Path("kept/state/below/known.json").read_text()) == known
    assert said == json.loads(Path("kept/run.json").read_text())
    assert said["scores"] == trainers.scores_of(known)
    sweep.report()


def test_a_chosen_trial_can_be_pasted_as_a_space(here: Path, run: Run) -> None:
    chosen = swept(seeds=2).select()["trial"]
    code, out, _ = run("select", "study", "--replace")
    assert code == 0
    text = out[out.index("description:") : out.index("and run")]
    assert yaml.safe_load(text)["trainer"] == f"{HERE}:train"
    Path("study-trial.yaml").write_text(text)
    assert "--scenario domain-il --trials 1 --seeds 10 --set stream.n_tasks=4" in out
    of_study = ("--scenario", "domain-il", "--set", "stream.n_tasks=4")
    again = ("--trials", "1", "--seeds", "2", "--workers", "0", "--out", "again")
    assert run("run", "study-trial.yaml", *of_study, *again)[0] == 0
    before = [row["val_average_score"] for row in rows() if row["trial"] == chosen]
    assert [row["val_average_score"] for row in rows("again")] == before


# ------------------------------------------------------------------------------------------------ going on


def test_a_sweep_that_was_killed_goes_on_from_its_checkpoints(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    swept("in_a_folder", out="whole", trials=3)
    calls: list[tuple[int, int]] = []
    takes = Driver.take_report

    def dying(driver: Driver, pack_id: str, report: Any) -> None:
        if report.task == 1 and report.records[0].trial == 1:
            raise KeyboardInterrupt
        takes(driver, pack_id, report)

    with monkeypatch.context() as patched:
        patched.setattr(Driver, "take_report", dying)
        with pytest.raises(KeyboardInterrupt):
            swept("in_a_folder", trials=3)
    trained = OutsideTrainer.train_next_task

    def counting(trainer: OutsideTrainer, *saves: Any) -> Any:
        calls.append((trainer.run.trial, trainer.next_task))
        return trained(trainer, *saves)

    monkeypatch.setattr(OutsideTrainer, "train_next_task", counting)
    cfsweep.resume("study", workers=0)
    assert [task for trial, task in calls if trial == 1] == [2, 3], "the first two are in the checkpoint"
    # (Which settings the third trial has depends on what the sampler had heard.)
    resumed, whole = ([row["val_average_score"] for row in rows(root)[:2]] for root in ("study", "whole"))
    assert resumed == whole


def test_a_trainer_is_tried_out_once(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    trained = trainers.train

    def counting(settings: dict[str, Any], seed: int, task: int, state: Any) -> Any:
        calls.append(task)
        return trained(settings, seed, task, state)

    monkeypatch.setattr(trainers, "train", counting)
    swept(trials=1)
    assert calls == [0, 1, 0, 1, 2, 3]
    swept(trials=1)
    cfsweep.resume("study", workers=0)
    assert len(calls) == 6
    cfsweep.resume("study", more_trials=1, workers=0)
    assert len(calls) == 10


def test_other_code_is_tried_out_anew_and_is_another_study(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, calls, trained = f"import {HERE} as own\ntrain = lambda *given: own.train(*given)\n", [], trainers.train
    monkeypatch.setattr(trainers, "train", lambda *given: calls.append(given[2]) or trained(*given))
    Path("outside_own.py").write_text(code)
    own = {**space(), "trainer": "outside_own:train"}
    cfsweep.sweep(own, trials=1, workers=0, out="study")
    assert len(calls) == 6
    Path("outside_own.py").write_text(f"{code}# changed\n")
    with pytest.raises(InputError, match=r"the study began with outside_own\.py of SHA-256"):
        cfsweep.resume("study", more_trials=1, workers=0)
    assert calls[6:] == [0, 1]


# ------------------------------------------------------------------------------------------------ what goes wrong


@pytest.mark.parametrize(
    ("name", "reason"), [("raises", "ValueError: the rate is too high"), ("not_a_number", "is nan")]
)
def test_a_run_that_fails_fails_alone(here: Path, name: str, reason: str) -> None:
    now = swept(name, trials=8).status
    assert 0 < now.failed < 8
    assert now.failed + now.done + now.stopped == 8
    for row in rows():
        if row["hp_rate"] > 0.7 and row["tasks_done"] >= 2 and row["state"] != "stopped":
            assert row["state"] == "failed"
            assert reason in row["failure"]
            assert row["tasks_done"] == 2


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("exits", "it fails on the first two tasks (RuntimeError: the trainer ended by sys.exit('no such file')"),
        ("forgets_its_state", "task 0: it returned no state, so the next task would begin from nothing"),
        ("cannot_be_saved", "task 0: the state must be bytes or a folder"),
        ("too_few", "needs at least 2, but the trainer scores n_tasks=1"),
        ("one_task", "needs at least 2, but the trainer scores n_tasks=1"),
        ("no_such", "unknown function in module"),
        ("takes_three", "it is called with (settings, seed, task, state)"),
    ],
)
def test_what_is_no_trainer_is_refused_before_anything_is_written(here: Path, run: Run, name: str, said: str) -> None:
    Path("space.yaml").write_text(yaml.safe_dump(space(name)))
    code, _, complaint = run("run", "space.yaml", "--workers", "0", "--out", "study")
    assert code == 2
    assert complaint.count("\n") == 1
    assert said in complaint
    assert not Path("study").exists()


def test_a_wrong_number_of_scores_is_refused(here: Path) -> None:
    with pytest.raises(InputError, match="`validation` must have a number for each of 5 tasks, but has 4"):
        swept(settings={"stream.n_tasks": 5})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"stream": "split-mnist"}, "`stream.name` is of the streams that cfsweep loads"),
        ({"splits": 2}, "`stream.splits` is of the streams that cfsweep loads"),
        ({"settings": {"stream.validation_frac": 0.2}}, "`stream.validation_frac` is of the streams"),
        ({"settings": {"curve_points_per_task": 3}}, "has no `curve_points_per_task`"),
        ({"objective": "pareto", "settings": {"objective.third": "stored_bytes"}}, "is not known of a trainer"),
        ({"settings": {"lr": 0.1}}, "unknown key `lr`"),
    ],
)
def test_what_a_trainer_from_outside_does_not_know(here: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as told:
        swept(**options)
    assert said in str(told.value)


def test_it_may_be_named_by_an_option_and_its_settings_too(here: Path, run: Run) -> None:
    Path("space.yaml").write_text(yaml.safe_dump({"search": {**SEARCH, "size": {"low": 1, "high": 3}}}))
    options = ("--trainer", f"{HERE}:train", "--trials", "2", "--workers", "0", "--set", "kept=0.5")
    code, out, _ = run("run", "space.yaml", *options, "--dry-run")
    assert code == 0
    assert "which has trained two tasks to try it out" in out
    assert "searched: 1 to 3, whole numbers" in out
    assert "has no references" in out
    assert run("run", "space.yaml", *options, "--out", "study")[0] == 0
    assert [(row["hp_kept"], type(row["hp_size"])) for row in rows()] == [(0.5, int)] * 2


def test_a_cost_in_seconds_may_be_an_objective(here: Path) -> None:
    swept(objective="pareto", settings={"objective.third": "train_s"}, trials=2)
    assert all(row["objective_train_s"] > 0 for row in rows())


def test_without_test_scores_nothing_is_confirmed(here: Path, run: Run) -> None:
    sweep = swept("validation_alone", trials=2)
    sweep.select()
    with pytest.raises(InputError, match="its trainer returns no scores on test data"):
        sweep.confirm(seeds=1, workers=0)
    Path("space.yaml").write_text(yaml.safe_dump(space("validation_alone")))
    assert "returns no `test` scores" in run("run", "space.yaml", "--dry-run")[1]


def test_what_cfsweep_cannot_do_with_models_of_others(here: Path, run: Run) -> None:
    sweep = swept(trials=2)
    sweep.select()
    with pytest.raises(InputError, match=r"--refit: `trainer: .*` cuts its data itself"):
        sweep.confirm(refit=True, workers=0)
    with pytest.raises(InputError, match="no model is kept there yet"):
        cfsweep.export_state("study", "kept")
    sweep.confirm(seeds=1, workers=0)
    with pytest.raises(InputError, match="has models of its own, which cfsweep cannot run"):
        cfsweep.export("study", "kept")
    assert run("export", "study", "--to", "kept", "--onnx")[0] == 2
    assert run("export", "study", "--to", "kept")[0] == 0
    assert run("export", "study", "--to", "kept")[0] == 2, "it is there already"
    with pytest.raises(InputError, match="trains from outside"):
        cfsweep.train(space={**space(search={}), "fixed": {"kept": 0.5, "rate": 0.5}})
