"""What happens to a sweep whose driver, worker or code comes to grief. Again without Ray: see `in_process`."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from cfsweep.config import StudyConfig
from cfsweep.errors import InputError
from cfsweep.results import writer
from cfsweep.results.ledger import LEDGER
from cfsweep.results.schema import MAJORITY_TRIAL
from cfsweep.sweeping.driver import Driver
from cfsweep.training.pack import Pack
from cfsweep.training.streams import Stream
from tests.sweeping.in_process import Fault, Killed, Sweep, WorkerDied, tiny
from tests.sweeping.test_driver import ended_in


def killed_at(step: int) -> Fault:
    """Ends the driver before the `step`-th task of the sweep, counted from 1."""
    steps = [0]

    def fault(pack_id: str, pack: Pack, driver: Driver) -> None:
        steps[0] += 1
        if steps[0] == step:
            raise Killed

    return fault


def without_chance(row: dict[str, Any]) -> dict[str, Any]:
    """A row of `runs` without what differs from one training to the next: times, memory, attempts."""
    return {k: v for k, v in row.items() if k not in ("train_s", "started_at", "peak_bytes", "attempt")}


@pytest.fixture(scope="module")
def whole(stream: Stream, tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """A sweep from its begin to its end."""
    whole = Sweep(tmp_path_factory.mktemp("whole") / "study", stream)
    whole.train(whole.open(tiny(trials=6, references=True, seeds=1), workers=4))
    return whole


@pytest.mark.parametrize("step", [1, 2, 5, 6, 9, 13])
def test_a_killed_driver_goes_on_with_the_same_results(sweep: Sweep, whole: Sweep, step: int) -> None:
    config, _ = whole.folder.read()
    first = sweep.open(config, workers=4)
    with pytest.raises(Killed):
        sweep.train(first, killed_at(step))
    saved = {path.stem for path in sweep.folder.checkpoints.glob("pack*.pt")}
    begun: dict[str, int] = {}

    def note(pack_id: str, pack: Pack, driver: Driver) -> None:
        begun.setdefault(pack_id, pack.next_task)

    second = sweep.train(sweep.open(config, workers=4), note)
    assert {pack_id for pack_id, task in begun.items() if task > 0} == saved
    assert second.complete
    assert [row["trial"] for row in sweep.rows()] == [MAJORITY_TRIAL, *range(-2, 6)]
    # What the first driver had asked for; for the rest a resumed sampler draws other numbers.
    common = {trial.number for trial in first.book}
    assert {-2, -1, 0} <= common
    assert [without_chance(r) for r in sweep.rows() if r["trial"] in common] == [
        without_chance(r) for r in whole.rows() if r["trial"] in common
    ]
    mine, theirs = ({k: v for k, v in of.matrices().items() if k[0] in common} for of in (sweep, whole))
    assert mine == theirs
    assert sweep.rows("test") == []
    assert list(sweep.folder.checkpoints.iterdir()) == []


def test_killed_between_parquet_and_optuna(sweep: Sweep) -> None:
    first = sweep.open(tiny(trials=4, pack_runs=2))

    def dies(*args: object, **options: object) -> None:
        raise Killed

    first.asker.release = dies  # type: ignore[method-assign]
    with pytest.raises(Killed):
        sweep.train(first)
    written = {row["trial"] for row in sweep.rows()}
    assert written
    assert not ended_in(sweep.folder.journal)
    trained: set[int] = set()
    second = sweep.open(tiny(trials=4, pack_runs=2))
    assert {t.number for t in second.asker.study.trials if t.state == TrialState.COMPLETE} == written
    sweep.train(second, lambda pack_id, pack, driver: trained.update(run.trial for run in pack.spec.runs))
    assert not trained & written
    assert [row["trial"] for row in sweep.rows()] == [0, 1, 2, 3]
    assert len(sweep.rows("accuracy")) == 4 * 6 * 5
    values = {row["trial"]: row["objective_mixed"] for row in sweep.rows()}
    assert {t.number: t.value for t in second.asker.study.trials} == pytest.approx(values)


@pytest.mark.parametrize("table", ["accuracy", "test", "runs"])
def test_killed_between_two_tables(sweep: Sweep, table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write = writer.write_part

    def dies(root: Any, name: str, *args: Any) -> Any:
        if name == table:
            raise Killed
        return write(root, name, *args)

    config = tiny(trials=2, purpose="confirm")
    first = sweep.open(config)
    with monkeypatch.context() as patched:
        patched.setattr(writer, "write_part", dies)
        with pytest.raises(Killed):
            sweep.train(first)
    assert sweep.rows() == []
    sweep.train(sweep.open(config))
    assert [row["trial"] for row in sweep.rows()] == [0, 1]
    assert len(sweep.rows("accuracy")) == len(sweep.rows("test")) == 2 * 6 * 5


def test_a_run_that_was_dropped_by_a_killed_driver_ends(sweep: Sweep) -> None:
    """The stop was not written, but the pack's checkpoint knows of it: nobody will train the run again."""
    config = tiny(trials=2, pack_runs=2, stop_trials=True)

    def drops_then_dies(pack_id: str, pack: Pack, driver: Driver) -> None:
        if pack.next_task == 2:
            pack.drop({(1, 0)})
        if pack.next_task == 4:
            raise Killed

    with pytest.raises(Killed):
        sweep.train(sweep.open(config, workers=1), drops_then_dies)
    assert sweep.rows() == []
    second = sweep.train(sweep.open(config, workers=1))
    assert second.complete
    assert [(r["trial"], r["state"], r["tasks_done"]) for r in sweep.rows()] == [(0, "done", 5), (1, "stopped", 2)]


def test_an_interrupted_sweep_issues_no_pack_and_picks_up_those_on_their_way(sweep: Sweep) -> None:
    config = tiny(trials=8, pack_runs=2)

    def interrupt(pack_id: str, pack: Pack, driver: Driver) -> None:
        sweep.interrupt.set()

    first = sweep.train(sweep.open(config), interrupt)
    assert sweep.rows() == []
    for pack_id in list(first.packs.in_flight):
        first.on_pack_failure(pack_id, "the worker died", died=True)  # Tune ends its workers
    assert first.finished
    assert not first.complete, "two packs are on their way"
    assert first.next_pack() is None
    assert len(list(sweep.folder.checkpoints.glob("*.json"))) == 2
    sweep.interrupt.clear()
    sweep.train(sweep.open(config))
    assert [row["trial"] for row in sweep.rows()] == list(range(8))


def test_runs_that_were_not_on_their_way_are_not_forgotten(sweep: Sweep) -> None:
    # Five seeds in packs of two: one driver dies while the first pack of a trial is on its way, the others queued.
    config = tiny(trials=1, seeds=5, pack_runs=2)
    with pytest.raises(Killed):
        sweep.train(sweep.open(config, workers=1), killed_at(3))
    assert len(list(sweep.folder.checkpoints.glob("*.json"))) == 1
    assert sweep.train(sweep.open(config, workers=1)).complete
    assert [row["seed"] for row in sweep.rows()] == [0, 1, 2, 3, 4]


def test_a_longer_budget_adds_rows_and_replaces_none(sweep: Sweep) -> None:
    sweep.train(sweep.open(tiny(trials=3, references=True)))
    before = sweep.rows()
    sweep.train(sweep.open(tiny(trials=6, references=True)))
    after = sweep.rows()
    assert [row["trial"] for row in after] == [MAJORITY_TRIAL, *range(-2, 6)]
    assert [row for row in after if row["trial"] < 3] == before
    assert len(sweep.rows("accuracy")) == 9 * 6 * 5


def test_what_is_picked_up_is_counted(sweep: Sweep) -> None:
    begun = sweep.train(sweep.open(tiny(trials=2, pack_runs=1), workers=1)).book.summary()
    assert (begun.runs_before, begun.runs_going_on, begun.tasks_at_most) == (0, 0, 2 * 5)
    with pytest.raises(Killed):
        sweep.train(sweep.open(tiny(trials=4, pack_runs=1), workers=1), killed_at(2))
    again = sweep.open(tiny(trials=4, pack_runs=1), workers=1).book.summary()
    assert (again.runs_before, again.runs_going_on, again.tasks_at_most) == (2, 1, 2 * 5)


def test_a_lost_worker_costs_an_attempt(sweep: Sweep) -> None:
    died: list[int] = []

    def dies_once(pack_id: str, pack: Pack, driver: Driver) -> None:
        if pack.next_task == 3 and not died:
            died.append(driver.packs.in_flight[pack_id].attempt)
            raise WorkerDied

    driver = sweep.train(sweep.open(tiny(trials=2, pack_runs=2), workers=1), dies_once)
    assert died == [1]
    summary = driver.book.summary()
    assert (summary.deaths, summary.tasks, summary.tasks_at_most) == (1, 10, 10)
    assert [(row["trial"], row["attempt"], row["state"]) for row in sweep.rows()] == [(0, 2, "done"), (1, 2, "done")]


def test_a_pack_under_which_workers_keep_dying_is_tried_run_by_run(sweep: Sweep) -> None:
    sizes: list[int] = []

    def dies_of_trial_1(pack_id: str, pack: Pack, driver: Driver) -> None:
        if pack.next_task == 0:
            sizes.append(len(pack.spec.runs))
        if pack.next_task == 1 and 1 in {run.trial for run in pack.spec.runs}:
            raise WorkerDied

    driver = sweep.train(sweep.open(tiny(trials=3, pack_runs=3), workers=1), dies_of_trial_1)
    assert sizes == [3, 1, 1, 1]  # the others went on from a checkpoint
    assert [row["state"] for row in sweep.rows()] == ["done", "failed", "done"]
    assert sweep.rows()[1]["failure"] == "the worker died 3 times without progress"
    assert [t.state.name for t in driver.asker.study.trials] == ["COMPLETE", "FAIL", "COMPLETE"]
    assert list(sweep.folder.checkpoints.iterdir()) == []


def test_a_pack_that_raises_is_split_and_the_bad_run_alone_fails(sweep: Sweep) -> None:
    def raises_for_trial_1(pack_id: str, pack: Pack, driver: Driver) -> None:
        if pack.next_task == 2 and 1 in {run.trial for run in pack.spec.runs}:
            raise RuntimeError("out of memory")

    sweep.train(sweep.open(tiny(trials=3, pack_runs=3, seeds=1), workers=1), raises_for_trial_1)
    runs = sweep.rows()
    assert [(row["trial"], row["state"]) for row in runs] == [(0, "done"), (1, "failed"), (2, "done")]
    assert [row["failure"] is None for row in runs] == [True, False, True]
    assert runs[1]["failure"].startswith("RuntimeError: out of memory (sweeping/test_faults.py, line ")
    assert runs[1]["tasks_done"] == 2
    assert {row["attempt"] for row in runs} == {2}, "later than what the pack may have left behind"


def test_a_reference_that_raises_fails_and_the_sweep_goes_on(sweep: Sweep) -> None:
    def raises_for_joint(pack_id: str, pack: Pack, driver: Driver) -> None:
        if pack.spec.joint:
            raise RuntimeError("no")

    driver = sweep.train(sweep.open(tiny(trials=2, references=True)), raises_for_joint)
    assert driver.complete
    states = {row["trial"]: row["state"] for row in sweep.rows()}
    assert states == {MAJORITY_TRIAL: "done", -2: "failed", -1: "done", 0: "done", 1: "done"}


def test_a_split_pack_survives_the_driver(sweep: Sweep) -> None:
    def raises_then_kills(pack_id: str, pack: Pack, driver: Driver) -> None:
        if len(pack.spec.runs) > 1:
            raise RuntimeError("split me")
        if pack.next_task == 2:
            raise Killed

    config = tiny(trials=3, pack_runs=3)
    with pytest.raises(Killed):
        sweep.train(sweep.open(config, workers=1), raises_then_kills)
    sweep.train(sweep.open(config, workers=1))
    assert [(row["trial"], row["state"]) for row in sweep.rows()] == [(0, "done"), (1, "done"), (2, "done")]


def test_many_sessions_do_not_use_up_the_workers_lives(sweep: Sweep) -> None:
    config = tiny(trials=1, pack_runs=1)
    for _ in range(4):
        with pytest.raises(Killed):
            sweep.train(sweep.open(config, workers=1), killed_at(2))
    died: list[str] = []

    def dies_once(pack_id: str, pack: Pack, driver: Driver) -> None:
        if not died:
            died.append(pack_id)
            raise WorkerDied

    sweep.train(sweep.open(config, workers=1), dies_once)
    assert [(row["state"], row["attempt"]) for row in sweep.rows()] == [("done", 6)]


# ------------------------------------------------------------------------------------------------ rows that were lost


LOST = [("runs",), ("accuracy",), ("test",), ("runs", "accuracy"), ("runs", "accuracy", "test")]


def purpose_of(tables: tuple[str, ...]) -> str:
    """Of a study that writes these tables."""
    return "confirm" if "test" in tables else "sweep"


def results(sweep: Sweep) -> tuple[list[dict[str, Any]], dict[Any, Any], dict[Any, Any]]:
    """All that was found out, in a fixed order."""
    return [without_chance(row) for row in sweep.rows()], sweep.matrices(), sweep.matrices("test")


def of_losses(purpose: str) -> StudyConfig:
    """The study that rows are lost of."""
    return tiny(trials=4, references=True, seeds=2, pack_runs=2, purpose=purpose)


@dataclass(frozen=True)
class Trained:
    """A study that is whole: its folder, what it found out, what the sampler was told, and how many packs it took."""

    root: Path
    results: tuple[list[dict[str, Any]], dict[Any, Any], dict[Any, Any]]
    told: list[Any]
    n_packs: int


@pytest.fixture(scope="module")
def trained(stream: Stream, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Trained]:
    """For each purpose the study before anything is lost: read only."""

    @cache
    def of(purpose: str) -> Trained:
        sweep = Sweep(tmp_path_factory.mktemp(purpose) / "study", stream)
        driver = sweep.train(sweep.open(of_losses(purpose), workers=1))
        told = [(t.state, t.values) for t in driver.asker.study.trials]
        return Trained(sweep.folder.root, results(sweep), told, driver.packs.n_ids)

    return of


@pytest.mark.parametrize("tables", LOST, ids="+".join)
@pytest.mark.parametrize("lost", [slice(0, 1), slice(1, 3), slice(None)], ids=["first", "some", "all"])
def test_runs_whose_rows_are_gone_are_trained_again(
    sweep: Sweep, trained: Callable[[str], Trained], tables: tuple[str, ...], lost: slice
) -> None:
    """Also of references, and of trials whose ends the sampler knows; it is not told again."""
    first, config = trained(purpose_of(tables)), of_losses(purpose_of(tables))
    shutil.copytree(first.root, sweep.folder.root)
    for table in tables:
        for part in sorted((sweep.folder.root / table).glob("*.parquet"))[lost]:
            part.unlink()
    with pytest.raises(InputError, match=r"missing\. `cfsweep repair .*` sets right what is damaged"):
        sweep.open(config, workers=1)
    assert sweep.repair()
    assert results(sweep) != first.results
    again = sweep.train(sweep.open(config, workers=1))
    assert again.complete
    assert results(sweep) == first.results
    assert [(t.state, t.values) for t in again.asker.study.trials] == first.told
    assert again.asker.n_asked == 4
    nothing_left = lost == slice(None)
    assert again.packs.n_ids > (0 if nothing_left else first.n_packs)
    assert sweep.train(sweep.open(config, workers=1)).packs.n_ids == again.packs.n_ids, "nothing is left to train"
    assert list(sweep.folder.checkpoints.iterdir()) == []


def test_a_run_that_failed_before_its_first_score_is_not_taken_for_lost(sweep: Sweep) -> None:
    def raises(pack_id: str, pack: Pack, driver: Driver) -> None:
        raise RuntimeError("no")

    config = tiny(trials=1, pack_runs=1)
    first = sweep.train(sweep.open(config, workers=1), raises)
    assert [row["state"] for row in sweep.rows()] == ["failed"]
    assert sweep.train(sweep.open(config, workers=1)).packs.n_ids == first.packs.n_ids


def test_a_trial_that_was_stopped_stays_so_though_it_is_trained_again(sweep: Sweep) -> None:
    search = {"lr": {"low": 1e-5, "high": 3e-2, "log": True}}
    config = tiny(search, ingredients=(), trials=18, stop_trials=True, pack_runs=2)
    first = sweep.train(sweep.open(config))
    states = {row["trial"]: row["state"] for row in sweep.rows()}
    assert {"done", "stopped"} == set(states.values())
    told = [(t.state, t.values) for t in first.asker.study.trials]
    for table in ("runs", "accuracy"):
        for part in (sweep.folder.root / table).glob("*.parquet"):
            part.unlink()
    sweep.repair()
    again = sweep.train(sweep.open(config))
    assert {row["trial"]: row["state"] for row in sweep.rows()} == states
    assert [(t.state, t.values) for t in again.asker.study.trials] == told


def test_what_was_written_but_not_told_and_then_torn_has_one_row_in_the_end(sweep: Sweep) -> None:
    """A driver is killed between Parquet and the journal, and a part is lost beside."""
    config = tiny(trials=3, seeds=2, pack_runs=1)
    first = sweep.open(config, workers=1)

    def dies(*args: object, **options: object) -> None:
        raise Killed

    first.asker.release = dies  # type: ignore[method-assign]
    with pytest.raises(Killed):
        sweep.train(first)
    (part, *_) = sorted((sweep.folder.root / "accuracy").glob("*.parquet"))
    part.unlink()
    sweep.repair()
    second = sweep.train(sweep.open(config, workers=1))
    assert second.complete
    keys = [(row["trial"], row["seed"]) for row in sweep.rows()]
    assert keys == sorted({(trial, seed) for trial in range(3) for seed in range(2)})
    assert {len(cells) for cells in sweep.matrices().values()} == {30}


def test_runs_of_another_study_are_not_taken_for_its_own(sweep: Sweep, sweep_beside: Sweep) -> None:
    for one, seeds in ((sweep, 1), (sweep_beside, 2)):
        one.train(one.open(tiny(trials=2, seeds=seeds)))
    for part in (sweep_beside.folder.root / "runs").glob("*.parquet"):
        part.rename(sweep.folder.root / "runs" / f"other-{part.name}")
    before = sweep.rows()
    assert sweep.open(tiny(trials=2)).complete
    assert sweep.rows() == before
    (sweep.folder.root / LEDGER).unlink()
    assert any(line.startswith("commits.jsonl: missing; made anew with ") for line in sweep.repair())
    assert sweep.rows() == before
    assert sorted(sweep.folder.root.glob("runs/other-*")), "nobody's, and left alone"
