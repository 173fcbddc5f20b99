"""The driver, from the first pack to the last row, without Ray: the packs are real, the scheduler is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from cfsweep.results.schema import MAJORITY_TRIAL
from cfsweep.results.status import status
from cfsweep.sweeping.driver import Driver
from cfsweep.sweeping.search.storage import GroupedFile
from cfsweep.sweeping.worker import TaskResult
from cfsweep.training.pack import Pack
from tests.sweeping.in_process import Sweep, tiny


def test_a_whole_sweep(sweep: Sweep) -> None:
    driver = sweep.train(sweep.open(tiny(references=True, seeds=2)))
    assert driver.complete
    runs = sweep.rows()
    numbers = [MAJORITY_TRIAL, *range(-2, 6)]
    assert [(r["trial"], r["seed"]) for r in runs] == [(t, s) for t in numbers for s in (0, 1)]
    assert {r["state"] for r in runs} == {"done"}
    assert [r["method"] for r in runs[::2]] == ["majority", "joint", "naive"] + ["ewc+replay"] * 6
    told = driver.asker.study.trials
    assert [t.state for t in told] == [TrialState.COMPLETE] * 6
    for trial in told:
        mine = [r["objective_mixed"] for r in runs if r["trial"] == trial.number]
        assert trial.value == pytest.approx(np.mean(mine))
    assert list(sweep.folder.checkpoints.iterdir()) == []
    now = status(sweep.folder.root)
    assert (now.complete, now.done, now.stopped, now.failed, now.references_left) == (True, 6, 0, 0, 0)


def ended_in(journal: Path) -> set[int]:
    """The trials whose end stands in the file."""
    storage = JournalStorage(JournalFileBackend(str(journal)))
    (study,) = storage.get_all_studies()
    return {t.number for t in storage.get_all_trials(study._study_id) if t.state.is_finished()}


@pytest.mark.parametrize(("seconds_per_step", "n_parts"), [(0.0, 1), (0.11, 3), (10.0, 5)])
def test_parquet_comes_before_the_journal(
    sweep: Sweep, seconds_per_step: float, n_parts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five packs, two workers: slow ones are written one by one, quick ones together."""
    clock, found = [0.0], list[int]()
    write = GroupedFile._write

    def watch(self: GroupedFile, lines: list[bytes]) -> None:
        write(self, lines)
        ended = ended_in(sweep.folder.journal)
        assert ended <= {row["trial"] for row in sweep.rows()}
        found.append(len(ended))

    def tick(pack_id: str, pack: Pack, driver: Driver) -> None:
        clock[0] += seconds_per_step

    monkeypatch.setattr(GroupedFile, "_write", watch)
    sweep.train(sweep.open(tiny(trials=9, pack_runs=2), now=lambda: clock[0]), tick)
    assert found[-1] == 9
    assert len(list((sweep.folder.root / "runs").iterdir())) == n_parts


def test_what_waits_counts_for_the_next_answer(sweep: Sweep) -> None:
    """The study knows of an end at once, though nothing is on disk yet."""
    driver = sweep.open(tiny(trials=6, pack_runs=1), now=lambda: 0.0)

    def look(pack_id: str, pack: Pack, driver: Driver) -> None:
        if pack.spec.runs[0].trial == 4:
            assert driver.asker.study.trials[0].state == TrialState.COMPLETE
            assert sweep.rows() == []

    sweep.train(driver, look)
    assert len(sweep.rows()) == 6


def test_packs_are_asked_for_while_the_workers_train_their_last_task(sweep: Sweep) -> None:
    driver = sweep.open(tiny(trials=12, pack_runs=2))
    ask = driver._ask
    asked_while_waiting: list[bool] = []
    ahead: list[tuple[int, int]] = []

    def watch() -> None:
        if driver.asker.n_asked < 12:
            asked_while_waiting.append(len(driver.packs.in_flight) < driver.workers)
        ask()
        assert len(driver.packs.waiting) <= driver.workers

    def look(pack_id: str, pack: Pack, driver: Driver) -> None:
        ahead.append((len(driver.packs.last_task), len(driver.packs.waiting)))

    driver._ask = watch  # type: ignore[method-assign]
    sweep.train(driver, look)
    assert asked_while_waiting[:2] == [True, True]
    assert not any(asked_while_waiting[2:])
    assert (2, 2) in ahead
    assert driver.complete


def test_the_first_trial_is_the_default(sweep: Sweep) -> None:
    driver = sweep.train(sweep.open(tiny(trials=2)))
    first = next(row for row in sweep.rows() if row["trial"] == 0)
    assert first["hp_ewc_lambda"] == driver.hypers["ewc_lambda"].default
    assert first["hp_replay_ratio"] == driver.hypers["replay_ratio"].default


def test_a_report_that_comes_twice_changes_nothing(sweep: Sweep) -> None:
    driver = sweep.open(tiny(trials=3, stop_trials=True))
    take = driver.take_report

    def twice(pack_id: str, report: object) -> None:
        take(pack_id, report)  # type: ignore[arg-type]
        before = {p: p.read_bytes() for p in sweep.folder.root.glob("*/*.parquet")}
        trials = driver.asker.study.trials
        take(pack_id, report)  # type: ignore[arg-type]
        assert {p: p.read_bytes() for p in sweep.folder.root.glob("*/*.parquet")} == before
        assert driver.asker.study.trials == trials

    driver.take_report = twice  # type: ignore[method-assign, assignment]
    sweep.train(driver)
    assert len(sweep.rows()) == 3
    driver.take_report("pack999999", None)  # type: ignore[arg-type]  # a pack that nobody knows


def test_what_came_of_a_task_is_a_report_or_an_error(sweep: Sweep) -> None:
    driver, told = sweep.open(tiny()), list[tuple[Any, ...]]()
    driver.take_report = lambda *args: told.append(args)  # type: ignore[method-assign]
    driver.on_pack_failure = lambda *args, **more: told.append((*args, more))  # type: ignore[method-assign]
    report: Any = object()
    driver.take_result(TaskResult("p", done=False, report=report))
    driver.take_result(TaskResult("q", done=True, error="MemoryError: ", out_of_memory=True))
    assert told == [("p", report), ("q", "MemoryError: ", {"died": False, "out_of_memory": True})]


def test_code_that_was_edited_ends_it_and_its_packs_stay_on_their_way(sweep: Sweep) -> None:
    driver = sweep.open(tiny(seeds=2))
    job = driver.next_pack()
    assert job is not None
    driver.take_result(TaskResult(job.pack_id, done=True, altered=("mine.py",)))
    assert "mine.py changed while the sweep ran" in str(driver.refused)
    assert driver.finished
    assert driver.next_pack() is None
    assert list(driver.packs.in_flight) == [job.pack_id]
    assert sweep.rows() == []


def test_static_settings_split_packs(sweep: Sweep) -> None:
    search = {"epochs": {"choices": [1, 2]}, "lr": {"low": 1e-3, "high": 1e-2, "log": True}}
    seen: set[tuple[int, ...]] = set()

    def look(pack_id: str, pack: Pack, driver: Driver) -> None:
        epochs = {int(run.values["epochs"]) for run in pack.spec.runs}
        assert len(epochs) == 1
        seen.add(tuple(epochs))

    sweep.train(sweep.open(tiny(search, trials=8)), look)
    assert seen == {(1,), (2,)}
    for row in sweep.rows():
        assert row["steps"] == row["hp_epochs"] * 14  # batches of 128 in five tasks of 255 to 261


def test_more_seeds_than_a_pack_has_runs(sweep: Sweep) -> None:
    sizes: set[int] = set()
    driver = sweep.open(tiny(trials=2, seeds=5, pack_runs=2, references=True))
    sweep.train(driver, lambda pack_id, pack, driver: sizes.add(len(pack.spec.runs)))
    assert len(sweep.rows()) == 5 * 5
    assert sizes == {1, 2}
    assert all(t.state == TrialState.COMPLETE for t in driver.asker.study.trials)


@pytest.mark.parametrize("third", [None, "stored_bytes", "n_parameters", "train_s"])
def test_several_objectives(sweep: Sweep, third: str | None) -> None:
    driver = sweep.train(sweep.open(tiny(objective="pareto", third=third, trials=4)))
    names = ["stability", "plasticity", *([third] if third else [])]
    for trial in driver.asker.study.trials:
        row = next(r for r in sweep.rows() if r["trial"] == trial.number)
        assert trial.values == pytest.approx([row[f"objective_{name}"] for name in names])
    assert [d.name for d in driver.asker.study.directions] == ["MAXIMIZE", "MAXIMIZE", "MINIMIZE"][: len(names)]
    assert driver.book.summary().best is None
    assert driver.book.summary().front >= 1


@pytest.mark.parametrize("objective", ["mixed", "pareto"])
def test_losers_are_stopped_and_the_default_never(sweep: Sweep, objective: str) -> None:
    # A learning rate that ranges from nothing to good makes losers; the default, 0.001, loses too.
    search = {"lr": {"low": 1e-5, "high": 3e-2, "log": True}}
    config = tiny(search, ingredients=(), objective=objective, trials=30, stop_trials=True, pack_runs=2)
    driver = sweep.train(sweep.open(config))
    runs = sweep.rows()
    stopped = [row for row in runs if row["state"] == "stopped"]
    assert stopped
    assert 0 not in {row["trial"] for row in stopped}
    for row in stopped:
        assert 2 <= row["tasks_done"] < 5
        assert row[f"objective_{driver.config.objective.names[0]}"] is None
        assert "the run stopped" in row["missing"]
        assert len(sweep.matrices()[row["trial"], 0]) == 5 * (row["tasks_done"] + 1)
        assert driver.asker.study.trials[row["trial"]].state == TrialState.PRUNED
    assert status(sweep.folder.root).stopped == len(stopped) == driver.book.summary().stopped
    assert status(sweep.folder.root).complete


def test_a_stopped_trial_whose_other_seed_is_queued_still_is_never_trained_on(sweep: Sweep) -> None:
    """Its pack is handed out without the run that has ended."""
    config = tiny({"lr": {"low": 1e-5, "high": 3e-2, "log": True}}, ingredients=(), trials=2, seeds=2, pack_runs=1)
    driver = sweep.open(config, workers=1)
    first = driver.next_pack()
    assert first is not None
    dropped: list[tuple[str, set[tuple[int, int]]]] = []
    driver.drop = lambda pack_id, keys: dropped.append((pack_id, set(keys)))
    (run,) = first.spec.runs
    driver._drop({run.key, (run.trial, 1 - run.seed)})
    assert dropped == [(first.pack_id, {run.key})], "what is queued has no pack yet that could be asked"


def test_a_run_that_fails_leaves_the_rest_alone(sweep: Sweep) -> None:
    search = {"lr": {"choices": [0.01, 1e30]}}
    driver = sweep.train(sweep.open(tiny(search, {"optimizer": "sgd"}, ingredients=(), trials=6, seeds=2)))
    runs = sweep.rows()
    assert len(runs) == 12
    for row in runs:
        assert row["state"] == ("failed" if row["hp_lr"] == 1e30 else "done")
        if row["state"] == "failed":
            assert "not finite at task 0" in row["failure"]
            assert "lr=1e+30" in row["failure"]
            assert row["objective_mixed"] is None
    states = {t.params["lr"]: t.state for t in driver.asker.study.trials}
    assert states == {0.01: TrialState.COMPLETE, 1e30: TrialState.FAIL}
    now = status(sweep.folder.root)
    assert now.complete
    assert now.failed
    assert len(now.failures) == 2 * now.failed


def test_a_time_budget_ends_the_sweep_and_the_next_session_goes_on(sweep: Sweep) -> None:
    clock = [0.0]

    def tick(pack_id: str, pack: Pack, driver: Driver) -> None:
        clock[0] += 1.0

    config = tiny(trials=40, time_budget_s=15.0)
    first = sweep.train(sweep.open(config, now=lambda: clock[0]), tick)
    assert first.finished
    assert not first.complete
    done = len(sweep.rows())
    assert 0 < done < 40
    # What was on its way was finished; what was asked ahead is for the next session.
    states = [t.state for t in first.asker.study.trials]
    assert states.count(TrialState.COMPLETE) == done
    assert states.count(TrialState.RUNNING) == sum(len(job.spec.runs) for job in first.packs.waiting)
    second = sweep.train(sweep.open(config, now=lambda: clock[0]), tick)
    assert not second.complete
    assert len(sweep.rows()) > done


def test_the_tasks_that_are_trained_are_counted(sweep: Sweep) -> None:
    """So that there is something to tell while no trial ends."""
    seen: list[int] = []
    driver = sweep.open(tiny(trials=2, seeds=2, pack_runs=2, references=True), workers=1)
    sweep.train(driver, lambda pack_id, pack, driver: seen.append(driver.book.summary().tasks))
    assert driver.book.summary().tasks == (2 + 2) * 2 * 5
    assert seen == list(range(0, 40, 2)), "two runs in each pack, a task after the other"
    again = sweep.open(tiny(trials=3, seeds=2, pack_runs=2, references=True), workers=1)
    assert again.book.summary().tasks == 0, "it is this session's"
