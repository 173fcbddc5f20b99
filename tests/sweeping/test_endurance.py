"""Deaths are forgotten with progress, what has failed can be tried again. Without Ray: see `in_process`."""

from __future__ import annotations

from typing import Any

import pytest

from cfsweep.errors import InputError
from cfsweep.results.schema import WORKER_DIED
from cfsweep.sweeping.driver import Driver
from cfsweep.sweeping.scheduler import USUAL, Endurance, Workers, endurance_of
from cfsweep.sweeping.study import is_whole
from cfsweep.training.pack import Pack
from tests.sweeping.in_process import Fault, Killed, Sweep, WorkerDied, tiny
from tests.sweeping.test_faults import without_chance


def dies_in_each_task(times: int) -> Fault:
    """So many workers die before each task of each pack."""
    deaths: dict[tuple[str, int], int] = {}

    def fault(pack_id: str, pack: Pack, driver: Driver) -> None:
        place = (pack_id, pack.next_task)
        deaths[place] = deaths.get(place, 0) + 1
        if deaths[place] <= times:
            raise WorkerDied

    return fault


def test_a_death_is_forgotten_once_the_pack_has_come_further(sweep: Sweep) -> None:
    """Two deaths before each of five tasks are ten in all, and none of them the third without progress."""
    driver = sweep.train(sweep.open(tiny(trials=2, pack_runs=1), workers=1), dies_in_each_task(2))
    assert [row["state"] for row in sweep.rows()] == ["done", "done"]
    assert driver.book.n_deaths == 20


@pytest.mark.parametrize("references", [False, True])
def test_a_run_that_was_given_up_for_dead_workers_is_tried_by_the_next_session(
    sweep: Sweep, sweep_beside: Sweep, references: bool
) -> None:
    config = tiny(trials=2, pack_runs=1, references=references)

    def dies(pack_id: str, pack: Pack, driver: Driver) -> None:
        if pack.next_task == 2 and pack.spec.runs[0].trial in (-1, 1):
            raise WorkerDied

    sweep.train(sweep.open(config, workers=1), dies)
    failed = {row["trial"]: row for row in sweep.rows() if row["state"] == "failed"}
    assert sorted(failed) == ([-1, 1] if references else [1])
    assert {row["failure"] for row in failed.values()} == {f"{WORKER_DIED} 3 times without progress"}
    assert not is_whole(sweep.folder, config, USUAL)
    again = sweep.train(sweep.open(config, workers=1))
    sweep_beside.train(sweep_beside.open(config, workers=1))
    assert list(map(without_chance, sweep.rows())) == list(map(without_chance, sweep_beside.rows()))
    assert sweep.matrices() == sweep_beside.matrices()
    assert all(row["attempt"] > failed[row["trial"]]["attempt"] for row in sweep.rows() if row["trial"] in failed)
    summary = again.book.summary()
    assert (summary.done, summary.failed) == (2, 0)
    assert is_whole(sweep.folder, config, USUAL)


class Raises:
    """Code that raises the first `times` that it trains the third task of trial 1."""

    def __init__(self, times: int) -> None:
        self.times, self.n = times, 0

    def __call__(self, pack_id: str, pack: Pack, driver: Driver) -> None:
        if pack.next_task == 2 and 1 in {run.trial for run in pack.spec.runs} and self.n < self.times:
            self.n += 1
            raise RuntimeError(f"for the {self.n}. time")


def attempts(sweep: Sweep) -> list[dict[str, Any]]:
    """All rows of trial 1, those of earlier attempts too, by attempt."""
    import pyarrow.parquet as pq

    parts = sorted((sweep.folder.root / "runs").glob("*.parquet"))
    rows = [row for part in parts for row in pq.ParquetFile(part).read().to_pylist()]
    return sorted((row for row in rows if row["trial"] == 1), key=lambda row: int(row["attempt"]))


@pytest.mark.parametrize(("pack_runs", "splits"), [(1, 0), (3, 1)])
@pytest.mark.parametrize(("retries", "failures", "state"), [(0, 1, "failed"), (2, 2, "done"), (1, 2, "failed")])
def test_a_run_that_failed_is_trained_again_and_each_reason_is_kept(
    sweep: Sweep, sweep_beside: Sweep, pack_runs: int, splits: int, retries: int, failures: int, state: str
) -> None:
    config = tiny(trials=3, pack_runs=pack_runs)
    sweep.train(sweep.open(config, workers=1, endurance=Endurance(retries)), Raises(failures + splits))
    assert [(row["trial"], row["state"]) for row in sweep.rows()] == [(0, "done"), (1, state), (2, "done")]
    told = [row["failure"] for row in attempts(sweep)]
    reasons = [f"RuntimeError: for the {splits + n + 1}. time" for n in range(failures)]
    assert [text.partition(" (")[0] for text in told if text] == reasons
    assert len({row["attempt"] for row in attempts(sweep)}) == len(told)
    if state == "done":
        assert told[-1] is None
        sweep_beside.train(sweep_beside.open(config, workers=1))
        assert sweep.matrices() == sweep_beside.matrices()


def test_a_run_whose_loss_is_not_finite_leaves_its_pack_to_be_tried_again(sweep: Sweep) -> None:
    """It fails as surely again; its neighbours are trained once."""
    search: dict[str, Any] = {"lr": {"choices": [0.01, 1e30]}}
    config = tiny(search, {"ewc_lambda": 0.0, "replay_ratio": 0.0, "optimizer": "sgd"}, trials=4, pack_runs=4)
    driver = sweep.train(sweep.open(config, workers=1, endurance=Endurance(2)))
    assert driver.complete
    states = {row["hp_lr"]: row["state"] for row in sweep.rows()}
    assert states == {0.01: "done", 1e30: "failed"}
    failed = next(row["trial"] for row in sweep.rows() if row["state"] == "failed")
    assert sum(1 for row in sweep.rows() if row["trial"] == failed) == 1
    assert list(sweep.folder.checkpoints.iterdir()) == []


@pytest.mark.parametrize("step", range(6, 14))
def test_a_driver_that_is_killed_while_a_run_is_tried_again_repeats_nothing(sweep: Sweep, step: int) -> None:
    """Wherever that is: each run has one row that counts, and no attempt two."""
    config, steps, raises = tiny(trials=3, pack_runs=3), [0], Raises(3)

    def fault(pack_id: str, pack: Pack, driver: Driver) -> None:
        steps[0] += 1
        if steps[0] == step:
            raise Killed
        raises(pack_id, pack, driver)

    with pytest.raises(Killed):
        sweep.train(sweep.open(config, workers=2, endurance=Endurance(2)), fault)
    driver = sweep.train(sweep.open(config, workers=2, endurance=Endurance(2)), raises)
    assert driver.complete
    assert [(row["trial"], row["state"]) for row in sweep.rows()] == [(0, "done"), (1, "done"), (2, "done")]
    numbers = [row["attempt"] for row in attempts(sweep)]
    assert len(numbers) == len(set(numbers))
    assert {len(cells) for cells in sweep.matrices().values()} == {30}
    assert list(sweep.folder.checkpoints.iterdir()) == []


def test_a_later_session_tries_what_failed_if_it_is_told_to(sweep: Sweep) -> None:
    config = tiny(trials=2, pack_runs=1)
    sweep.train(sweep.open(config, workers=1), Raises(1))
    assert is_whole(sweep.folder, config, USUAL)
    assert sweep.train(sweep.open(config, workers=1)).complete
    assert sweep.rows()[1]["state"] == "failed"
    assert not is_whole(sweep.folder, config, Endurance(retries=1))
    sweep.train(sweep.open(config, workers=1, endurance=Endurance(retries=1)))
    assert [row["state"] for row in sweep.rows()] == ["done", "done"]


def test_what_an_attempt_has_left_that_came_further_is_no_part_of_the_next(sweep: Sweep) -> None:
    config, begun = tiny(trials=2, pack_runs=1), [0]

    def raises_later_then_sooner(pack_id: str, pack: Pack, driver: Driver) -> None:
        if pack.spec.runs[0].trial == 1 and pack.next_task == 2 - 2 * begun[0]:
            begun[0] = 1
            raise RuntimeError("no")

    sweep.train(sweep.open(config, workers=1, endurance=Endurance(1)), raises_later_then_sooner)
    assert [row["tasks_done"] for row in attempts(sweep)] == [2, 0]
    assert is_whole(sweep.folder, config, USUAL), "it is not taken for torn"


def test_a_driver_listens_for_workers_that_hang(sweep: Sweep) -> None:
    clock, asked = [0.0], list[float]()
    driver = sweep.open(tiny(trials=1), now=lambda: clock[0], endurance=Endurance(hang_after_s=60.0))
    driver.end_silent = lambda after_s: asked.append(after_s) or 1
    for clock[0] in (1.0, 6.5, 7.0, 13.0):
        driver.tick()
    assert (asked, driver.book.summary().hung) == ([60.0, 60.0], 2)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            (Workers(0), 0, 600.0, 5.0),
            r"^--hang-after 5: with `--workers 0` this process trains, and can kill",
        ),
        ((Workers(1), -1, 600.0, None), r"^--retries -1: `0 <= retries` must hold\. Give another number\.$"),
        ((Workers(1), 0, -0.5, None), r"^--patience -0\.5: `0 <= patience` must hold"),
        ((Workers(1), 0, float("nan"), None), r"^--patience nan: `0 <= patience` must hold"),
        ((Workers(1), 0, 600.0, 0.5), r"^--hang-after 0\.5: `1 <= hang-after` must hold"),
    ],
)
def test_what_cannot_be_borne_is_refused(given: tuple[Workers, int, float, float | None], said: str) -> None:
    with pytest.raises(InputError, match=said):
        endurance_of(*given)
