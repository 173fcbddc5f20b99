"""A study that has ended takes more seeds: what is there stays, and the rest is as if it had begun with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import analysis
from cfsweep.config import StudyConfig
from cfsweep.results.status import status
from cfsweep.sweeping.driver import Driver
from cfsweep.sweeping.written import read_written
from cfsweep.training.pack import Pack
from tests.conftest import Run
from tests.sweeping.in_process import Killed, Sweep, tiny

LR = {"lr": {"choices": [0.01, 0.003, 0.001]}}


def more(sweep: Sweep, seeds: int) -> StudyConfig:
    config, _ = sweep.folder.read()
    return sweep.folder.set_budget(config.trials, None, seeds)


def numbers(sweep: Sweep) -> dict[tuple[int, int], Any]:
    """All that the runs found out, their time apart."""
    apart = ("study_id", "train_s", "started_at", "attempt", "peak_bytes")
    rows = {(row["trial"], row["seed"]): {k: v for k, v in row.items() if k not in apart} for row in sweep.rows()}
    return {key: (row, sweep.matrices()[key]) for key, row in rows.items()}


def test_more_seeds_are_those_that_it_would_have_begun_with(sweep: Sweep, sweep_beside: Sweep) -> None:
    sweep.train(sweep.open(tiny(LR, trials=5, seeds=2, references=True)))
    before, study_id = numbers(sweep), sweep.folder.read()[0].study_id
    config = more(sweep, 4)
    assert config.study_id == study_id
    assert not status(sweep.folder.root).complete
    sweep.train(sweep.open(config))
    assert status(sweep.folder.root).complete
    after = numbers(sweep)
    assert {key: after[key] for key in before} == before
    whole = tiny(LR, trials=5, seeds=4, references=True)
    sweep_beside.train(sweep_beside.open(whole))
    assert whole.study_id != study_id
    theirs = numbers(sweep_beside)
    same = [key for key in theirs if theirs[key][0]["hp_lr"] == after[key][0]["hp_lr"]]
    assert {seed for _, seed in same} == {0, 1, 2, 3}
    assert {trial for trial, _ in same} >= {0, -1, -2}
    for key in same:
        assert after[key][1:] == theirs[key][1:]
    assert set(analysis.trials(analysis.load(sweep.folder.root))["n_seeds"]) == {4}


def test_again_more_seeds_and_more_trials(sweep: Sweep) -> None:
    sweep.train(sweep.open(tiny(LR, trials=2)))
    study_id = sweep.folder.read()[0].study_id
    for seeds, trials in ((2, 2), (3, 4), (3, 4)):
        config = sweep.folder.set_budget(trials, None, seeds)
        assert (config.seeds, config.seeds_at_start, config.study_id) == (seeds, 1, study_id)
        sweep.train(sweep.open(config))
        now = status(sweep.folder.root)
        assert (now.seeds, now.done, now.complete) == (seeds, trials, True)
        assert len(sweep.rows()) == trials * seeds


def test_what_was_stopped_gets_no_more_seeds(sweep: Sweep) -> None:
    search = {"lr": {"low": 1e-6, "high": 1e-1, "log": True}}
    config = tiny(search, {}, ("ewc",), trials=18, seeds=2, stop_trials=True)
    sweep.train(sweep.open(config))
    stopped = {row["trial"] for row in sweep.rows() if row["state"] == "stopped"}
    assert stopped
    seen: set[tuple[int, int]] = set()
    sweep.train(
        sweep.open(more(sweep, 3)), lambda pack_id, pack, driver: seen.update(run.key for run in pack.spec.runs)
    )
    assert {seed for _, seed in seen} == {2}
    assert not stopped & {trial for trial, _ in seen}
    now = status(sweep.folder.root)
    assert (now.complete, now.done, now.stopped) == (True, 18 - len(stopped), len(stopped))
    assert sweep.open(more(sweep, 3)).complete


def test_new_trials_that_are_equal_to_stopped_ones_end_too(sweep: Sweep) -> None:
    search = {"lr": {"choices": [1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9]}}
    config = tiny(search, {}, ("ewc",), trials=20, seeds=2, stop_trials=True)
    sweep.train(sweep.open(config))
    stopped = {row["config_hash"] for row in sweep.rows() if row["state"] == "stopped"}
    assert stopped
    driver = sweep.train(sweep.open(sweep.folder.set_budget(32, None, 3)))
    rows = sweep.rows()
    assert {row["config_hash"] for row in rows if row["trial"] >= 20} & stopped
    assert driver.asker.n_ended["done"] + driver.asker.n_ended["stopped"] == 32
    assert [(row["trial"], row["seed"]) for row in rows] == [(t, s) for t in range(32) for s in range(3)]
    untrained = [row for row in rows if row["state"] == "stopped" and row["seed"] == 2]
    assert all(row["tasks_done"] == 0 or row["trial"] >= 20 for row in untrained)


def test_a_lost_run_of_a_stopped_trial_is_trained_again(sweep: Sweep) -> None:
    search = {"lr": {"low": 1e-6, "high": 1e-1, "log": True}}
    config = tiny(search, {}, ("ewc",), trials=18, seeds=2, pack_runs=1, stop_trials=True)
    sweep.train(sweep.open(config, workers=3))
    ends: dict[int, set[str]] = {}
    for row in sweep.rows():
        ends.setdefault(row["trial"], set()).add(row["state"])
    assert [trial for trial, states in ends.items() if states == {"done", "stopped"}]
    for part in (sweep.folder.root / "runs").glob("*.parquet"):
        part.unlink()
    sweep.repair()
    driver = sweep.train(sweep.open(config, workers=3))
    assert driver.complete
    assert not read_written(sweep.folder.root, config.study_id, (), config.parts).torn
    assert status(sweep.folder.root).complete


def test_progress_counts_what_is_trained_again(sweep: Sweep) -> None:
    sweep.train(sweep.open(tiny(trials=4)))
    driver = sweep.open(more(sweep, 2))
    assert (driver.book.summary().done, driver.asker.n_ended["done"]) == (0, 4)
    sweep.train(driver)
    assert driver.book.summary().done == 4


def test_a_driver_that_dies_over_them_loses_nothing(sweep: Sweep) -> None:
    sweep.train(sweep.open(tiny(trials=4)))

    def die(pack_id: str, pack: Pack, driver: Driver) -> None:
        if pack.next_task == 3:
            raise Killed

    config = more(sweep, 3)
    with pytest.raises(Killed):
        sweep.train(sweep.open(config), die)
    sweep.train(sweep.open(config))
    assert status(sweep.folder.root).complete
    assert [(row["trial"], row["seed"]) for row in sweep.rows()] == [(t, s) for t in range(4) for s in range(3)]


def test_equal_trials_are_handed_them_on(sweep: Sweep) -> None:
    sweep.train(sweep.open(tiny({"replay_ratio": {"choices": [0.0, 0.5]}}, trials=6)))
    seen: set[tuple[int, int]] = set()
    sweep.train(
        sweep.open(more(sweep, 2)), lambda pack_id, pack, driver: seen.update(run.key for run in pack.spec.runs)
    )
    assert len(seen) == 2
    rows = sweep.rows()
    assert len(rows) == 12
    assert all(sweep.matrices()[row["same_as"], row["seed"]] for row in rows if row["same_as"] is not None)


def test_the_command_adds_them_and_says_what_it_cannot(run: Run, smoke: Path) -> None:
    few = ("run", str(smoke), "--workers", "0", "--trials", "2", "--out", "study")
    assert run(*few)[0] == 0
    code, _, complaint = run(*few, "--seeds", "2")
    assert code == 2
    assert complaint.endswith(
        "which differs in seeds (1, here 2). `cfsweep resume study --seeds 2` adds seeds to it.\n"
    )
    assert run("resume", "study", "--seeds", "2", "--workers", "0")[0] == 0
    assert status("study").complete
    code, told, _ = run("resume", "study", "--seeds", "2", "--workers", "0")
    assert code == 0
    assert "the study is complete: 2 trials ended. `cfsweep resume study --trials +N` adds N more, `--seeds N`" in told
    code, _, complaint = run("resume", "study", "--seeds", "1", "--workers", "0")
    assert (code, complaint) == (
        2,
        "cfsweep: --seeds 1: the study has 2 seeds already, none is taken away, and 10000 are the most. Give a number "
        "between.\n",
    )
    code, told, _ = run(*few)
    assert (code, "the study is complete" in told) == (0, True), "with the seeds that it began with it is this study"
    code, told, _ = run(*few, "--seeds", "2")
    assert (code, "the study is complete" in told) == (0, True), "and with those that it has"
    code, _, complaint = run(*few, "--seeds", "3")
    assert "which differs in seeds (2, here 3). `cfsweep resume study --seeds 3` adds seeds to it." in complaint
    code, _, complaint = run(*few, "--set", "seeds_at_start=1")
    assert "it is cfsweep's own note in a study's folder" in complaint
    assert run("resume", "study", "--seeds", "0")[0] == 2


def test_a_command_that_is_refused_changes_no_budget(run: Run, smoke: Path) -> None:
    few = ("run", str(smoke), "--workers", "0", "--trials", "2")
    assert run(*few, "--out", "study")[0] == 0
    before = Path("study/study.yaml").read_bytes()
    for table in ("runs", "accuracy"):
        (part,) = Path("study", table).glob("pack000001*")
        gone = part.rename("gone")
        for command in (("resume", "study", "--trials", "+2"), ("resume", "study", "--seeds", "2")):
            code, _, complaint = run(*command, "--workers", "0")
            assert (code, f"{part}: missing" in complaint) == (2, True)
        code, _, complaint = run(*few[:-1], "9", "--out", "study")
        assert (code, f"{part}: missing" in complaint) == (2, True)
        assert Path("study/study.yaml").read_bytes() == before
        gone.rename(part)
    for seeds in ("1000000000", "99999999999999999999"):
        code, _, complaint = run("resume", "study", "--seeds", seeds, "--workers", "0")
        assert (code, "10000 are the most" in complaint) == (2, True)
        assert run(*few, "--out", "third", "--seeds", seeds)[0] == 2
