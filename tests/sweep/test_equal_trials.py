"""Trials that come to the same are trained once, and the others are handed the results."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import analysis
from cfsweep.results.status import status
from cfsweep.sweep.driver import Driver
from cfsweep.training.pack import Pack
from tests.sweep.in_process import Killed, Sweep, tiny

TWO = {"replay_ratio": {"choices": [0.0, 0.5]}}


def trained(sweep: Sweep, driver: Driver) -> list[tuple[int, int]]:
    """Trains, and returns the runs that were trained."""
    seen: set[tuple[int, int]] = set()
    sweep.train(driver, lambda pack_id, pack, driver: seen.update(run.key for run in pack.spec.runs))
    return sorted(seen)


def test_a_space_of_two_trains_two_and_hands_the_results_on(sweep: Sweep) -> None:
    seen = trained(sweep, sweep.open(tiny(TWO, trials=8, seeds=2)))
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


@pytest.mark.parametrize("table", ["runs", "accuracy", "test"])
def test_lost_rows_are_handed_on_again(sweep: Sweep, table: str) -> None:
    config = tiny(TWO, trials=6)
    sweep.train(sweep.open(config))
    rows, matrices = sweep.rows(), sweep.matrices()
    (part,) = (sweep.folder.root / table).glob("*-equal.parquet")
    part.unlink()
    seen = trained(sweep, sweep.open(config))
    assert seen == []
    assert sweep.matrices() == matrices
    again = sweep.rows()
    assert [{**row, "attempt": 0} for row in again] == [{**row, "attempt": 0} for row in rows]


def test_one_that_fails_fails_the_others_with_its_reason(sweep: Sweep) -> None:
    search = {"lr": {"choices": [0.01, 1e30]}}
    sweep.train(sweep.open(tiny(search, {"optimizer": "sgd"}, ("ewc",), trials=6)))
    rows = sweep.rows()
    failed = [row for row in rows if row["hp_lr"] == 1e30]
    assert {row["state"] for row in failed} == {"failed"}
    assert len({row["failure"] for row in failed}) == 1
    assert {row["state"] for row in rows if row["hp_lr"] == 0.01} == {"done"}


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
