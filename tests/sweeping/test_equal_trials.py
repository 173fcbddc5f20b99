"""Trials that come to the same are trained once, and the others are handed the results."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import analysis
from cfsweep.results.status import status
from cfsweep.sweeping.driver import Driver
from cfsweep.training.pack import Pack
from tests.sweeping.in_process import Killed, Sweep, tiny
from tests.sweeping.test_faults import LOST, purpose_of

TWO = {"replay_ratio": {"choices": [0.0, 0.5]}}


def trained(sweep: Sweep, driver: Driver) -> list[tuple[int, int]]:
    """Trains, and returns the runs that were trained."""
    seen: set[tuple[int, int]] = set()
    sweep.train(driver, lambda pack_id, pack, driver: seen.update(run.key for run in pack.spec.runs))
    return sorted(seen)


def test_a_space_of_two_trains_two_and_hands_the_results_on(sweep: Sweep) -> None:
    seen = trained(sweep, sweep.open(tiny(TWO, trials=8, seeds=2, purpose="confirm")))
    assert len({trial for trial, _ in seen}) == 2
    assert len(seen) == 4
    rows = sweep.rows()
    assert [(row["trial"], row["seed"]) for row in rows] == [(trial, seed) for trial in range(8) for seed in range(2)]
    firsts = {row["hp_replay_ratio"]: row for row in rows if row["same_as"] is None and row["seed"] == 0}
    for row in rows:
        first = firsts[row["hp_replay_ratio"]]["trial"]
        assert row["same_as"] == (None if row["trial"] == first else first)
        own = {name: value for name, value in row.items() if name not in ("trial", "same_as")}
        theirs = next(r for r in rows if (r["trial"], r["seed"]) == (first, row["seed"]))
        assert own == {name: theirs[name] for name in own}
        for table in ("accuracy", "test"):
            of = sweep.matrices(table)
            assert of[row["trial"], row["seed"]] == of[first, row["seed"]]
    now = status(sweep.folder.root)
    assert (now.done, now.equal, now.complete) == (8, 6, True)
    kept = analysis.buffers(sweep.folder.root)
    assert set(kept["trial"]) == {row["trial"] for row in rows if row["hp_replay_ratio"] == 0.5}


def test_the_asker_hears_of_all_of_them(sweep: Sweep) -> None:
    driver = sweep.train(sweep.open(tiny(TWO, trials=8)))
    assert driver.asker.n_ended == {"done": 8, "stopped": 0, "failed": 0}
    assert driver.complete
    assert driver.book.summary().front <= 2, "equal ones are one point"
    again = sweep.open(tiny(TWO, trials=8))
    assert again.complete
    assert again.asker.n_ended["done"] == 8


@pytest.mark.parametrize(
    ("search", "fixed", "ingredients", "n_trained"),
    [
        ({"replay_buffer": {"low": 10, "high": 500}}, {"replay_ratio": 0.0}, ("ewc", "replay"), 1),
        ({"replay_ratio": {"choices": [0.0, 0.5]}, "replay_buffer": {"choices": [0, 20]}}, {}, ("replay",), 2),
        ({"momentum": {"low": 0.1, "high": 0.9}}, {"optimizer": "adam"}, ("ewc",), 1),
        ({"momentum": {"low": 0.1, "high": 0.9}}, {"optimizer": "sgd"}, ("ewc",), 6),
        ({"ewc_gamma": {"low": 0.1, "high": 0.9}}, {}, ("ewc",), 1),
        ({}, {}, ("ewc",), 1),
    ],
)
def test_settings_that_cannot_act_make_no_difference(
    sweep: Sweep, search: dict[str, Any], fixed: dict[str, Any], ingredients: tuple[str, ...], n_trained: int
) -> None:
    seen = trained(sweep, sweep.open(tiny(search, fixed, ingredients, trials=6)))
    assert len(seen) == n_trained
    for row in sweep.rows():
        missing = json.loads(row["missing"] or "{}")
        for name in search:
            assert (row[f"hp_{name}"] is None) == (f"hp_{name}" in missing)
    assert n_trained == len({row["config_hash"] for row in sweep.rows()})


def test_what_is_handed_on_is_what_training_gives(sweep: Sweep, sweep_beside: Sweep) -> None:
    """Two trials that differ in a setting that cannot act: trained in studies of their own they are one."""
    for one, buffer in ((sweep, 20), (sweep_beside, 400)):
        one.train(one.open(tiny({}, {"replay_ratio": 0.0, "replay_buffer": buffer}, trials=1)))
    assert sweep.matrices() == sweep_beside.matrices()
    assert sweep.rows()[0]["config_hash"] == sweep_beside.rows()[0]["config_hash"]


def test_a_driver_that_dies_while_some_wait_loses_nothing(sweep: Sweep) -> None:
    config = tiny(TWO, trials=8, seeds=2)

    def die(pack_id: str, pack: Pack, driver: Driver) -> None:
        if pack.next_task == 2 and driver.equal.waiting:
            raise Killed

    with pytest.raises(Killed):
        sweep.train(sweep.open(config), die)
    assert not sweep.rows()
    seen = trained(sweep, sweep.open(config))
    assert len(seen) == 4
    assert status(sweep.folder.root).complete
    assert len(sweep.rows()) == 16


@pytest.mark.parametrize("tables", LOST, ids="+".join)
@pytest.mark.parametrize("pattern", ["*-equal.parquet", "*-a1-*.parquet", "*.parquet"])
def test_lost_rows_come_again_and_each_configuration_has_one_that_is_trained(
    sweep: Sweep, tables: tuple[str, ...], pattern: str
) -> None:
    config = tiny(TWO, trials=6, seeds=2, purpose=purpose_of(tables))
    sweep.train(sweep.open(config))
    rows, matrices = sweep.rows(), (sweep.matrices(), sweep.matrices("test"))
    for table in tables:
        parts = list((sweep.folder.root / table).glob(pattern))
        assert parts
        for part in parts:
            part.unlink()
    sweep.repair()
    seen = trained(sweep, sweep.open(config))
    assert bool(seen) == (pattern != "*-equal.parquet")
    assert (sweep.matrices(), sweep.matrices("test")) == matrices
    again = sweep.rows()
    apart = dict.fromkeys(("attempt", "train_s", "started_at", "peak_bytes"))
    assert [{**row, **apart} for row in again] == [{**row, **apart} for row in rows]
    assert trained(sweep, sweep.open(config)) == [], "and then nothing is lost any more"


def test_a_configuration_whose_trial_is_lost_is_not_that_of_its_own_copy(sweep: Sweep) -> None:
    config = tiny(TWO, trials=6)
    sweep.train(sweep.open(config))
    for table in ("runs", "accuracy"):
        for part in (sweep.folder.root / table).glob("*-a1-*.parquet"):
            part.unlink()
    sweep.repair()
    sweep.train(sweep.open(config))
    same_as = {row["trial"]: row["same_as"] for row in sweep.rows()}
    assert all(first is None or same_as[first] is None for first in same_as.values())
    assert same_as[0] is None


def test_a_failure_is_not_handed_on(sweep: Sweep) -> None:
    """It may be that of the machine: the next equal trial is trained."""
    failed: list[tuple[int, int]] = []

    def once(pack_id: str, pack: Pack, driver: Driver) -> None:
        if len(pack.spec.runs) == 1 and not failed:
            failed.append(pack.spec.runs[0].key)
            raise OSError("a passing trouble")

    sweep.train(sweep.open(tiny({}, trials=6, pack_runs=1)), once)
    rows = sweep.rows()
    assert [row["state"] for row in rows] == ["failed", *["done"] * 5]
    assert [row["same_as"] for row in rows] == [None, None, 1, 1, 1, 1]
    seen = trained(sweep, sweep.open(tiny({}, trials=9, pack_runs=1)))
    assert seen == []
    assert status(sweep.folder.root).equal == 7


def test_nor_is_that_of_an_earlier_session(sweep: Sweep) -> None:
    def fails(pack_id: str, pack: Pack, driver: Driver) -> None:
        raise OSError("a passing trouble")

    sweep.train(sweep.open(tiny({}, trials=1, pack_runs=1)), fails)
    assert trained(sweep, sweep.open(tiny({}, trials=3, pack_runs=1))) == [(1, 0)]
    assert [(row["state"], row["same_as"]) for row in sweep.rows()] == [("failed", None), ("done", None), ("done", 1)]


def test_what_always_fails_does_so_one_by_one(sweep: Sweep) -> None:
    sweep.train(sweep.open(tiny({}, {"optimizer": "sgd", "lr": 1e30}, ("ewc",), trials=4)))
    now = status(sweep.folder.root)
    assert (now.failed, now.equal, now.complete) == (4, 0, True)


def test_it_looks_up_while_all_that_come_are_equal(sweep: Sweep) -> None:
    """Asking does not run through the budget at once: a time that is spent, or Ctrl-C, is heeded."""
    driver = sweep.open(tiny({}, trials=3000))
    job = driver.next_pack()
    assert job is not None
    assert driver.next_pack() is None
    assert driver.asker.n_asked <= 8, "as many wait as are trained"


def test_the_budget_is_spent_though_hardly_anything_is_trained(sweep: Sweep) -> None:
    assert len(trained(sweep, sweep.open(tiny({}, trials=600)))) == 1
    assert status(sweep.folder.root).complete


def test_one_that_is_stopped_stops_the_others_and_judges_once(sweep: Sweep) -> None:
    search = {"lr": {"choices": [0.01, 1e-6, 1e-5, 3e-3, 3e-2, 1e-4, 2e-2, 5e-3, 2e-3, 4e-3, 1e-7, 1e-8]}}
    config = tiny(search, {}, ("ewc",), trials=40, stop_trials=True)
    driver = sweep.train(sweep.open(config))
    by_hash: dict[str, set[str]] = {}
    for row in sweep.rows():
        by_hash.setdefault(row["config_hash"], set()).add(row["state"])
    assert all(len(states) == 1 for states in by_hash.values())
    assert {"stopped"} in by_hash.values()
    assert driver.asker.n_ended["stopped"] == status(sweep.folder.root).stopped


def test_a_resumed_sweep_judges_by_those_that_were_trained(sweep: Sweep) -> None:
    search = {"lr": {"choices": [0.01, 1e-3]}}
    config = tiny(search, {}, ("ewc",), objective="pareto", trials=8, stop_trials=True)
    before = sweep.train(sweep.open(config)).stopper
    after = sweep.open(config).stopper
    assert before is not None
    assert after is not None
    kept = [{rung: here.values for rung, here in stopper.rungs.items()} for stopper in (before, after)]  # type: ignore[attr-defined]
    assert kept[0].keys() == kept[1].keys()
    for rung in kept[0]:
        assert kept[0][rung].keys() | {0} == kept[1][rung].keys() | {0}
        for number in kept[0][rung].keys() & kept[1][rung].keys():
            np.testing.assert_allclose(kept[0][rung][number], kept[1][rung][number])
