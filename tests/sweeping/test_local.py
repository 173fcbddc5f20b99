"""A sweep in this process. (It gives what a sweep on Ray gives: `ray_backend/test_sweeps`.)"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

import pytest
import torch
import yaml

import analysis
from cfsweep.errors import InputError
from cfsweep.results.reader import read_table
from cfsweep.results.status import status
from cfsweep.sweeping.driver import Driver
from cfsweep.sweeping.folder import Folder
from cfsweep.sweeping.interrupt import SAID
from cfsweep.sweeping.local import LocalScheduler, local_scheduler
from cfsweep.sweeping.pack_size import ON_CPU
from cfsweep.sweeping.repairing import repair
from cfsweep.sweeping.scheduler import Capacity, SweepPlan, Workers
from cfsweep.sweeping.space import check_space
from cfsweep.training.pack import Pack
from cfsweep.training.streams import Stream
from tests.conftest import Run
from tests.sweeping.command import Processes, descendants, finish, listening, new_checkpoints, until
from tests.sweeping.in_process import Sweep, tiny

SPACE = """
network: {name: mlp, args: {hidden: [8]}}
fixed: {epochs: 1, batch_size: 128, lr: 0.01}
"""
FEW = ("--workers", "0", "--set", "references=false", "--out", "study")


# ------------------------------------------------------------------------------------------------ the scheduler


def test_one_thread_while_it_trains_as_on_a_worker() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with local_scheduler(Workers(0), torch.get_num_threads) as (_, at_work):
            assert at_work == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_what_it_can_train_at_a_time(stream: Stream, tmp_path: Path) -> None:
    def capacity(pack_runs: int | str, at_once: int = 1) -> Capacity:
        config = tiny(pack_runs=pack_runs)
        plan = SweepPlan(config, check_space(config.space, "test"), stream, tmp_path)
        return LocalScheduler(threading.Event(), gpus=0, at_once=at_once).capacity(plan)

    assert capacity("auto") == Capacity(1, ON_CPU)
    assert capacity(5, at_once=3) == Capacity(3, 5)


def test_the_driver_reaches_its_broker(sweep: Sweep) -> None:
    """Else what is stopped would be trained on, and checkpoints of what is over would stay."""
    config = tiny(trials=1)
    driver = sweep.open(config, workers=1)
    scheduler = LocalScheduler(threading.Event(), gpus=0)
    plan = SweepPlan(config, driver.hypers, sweep.stream, sweep.folder.checkpoints)
    scheduler.run(plan, driver, lambda: None)
    assert (driver.drop, driver.close) == (scheduler.broker.drop, scheduler.broker.close)
    assert not scheduler.broker.specs, "what is over has been closed"


@pytest.mark.parametrize("at_once", [1, 3])
def test_packs_take_turns(sweep: Sweep, at_once: int) -> None:
    turns: list[str] = []
    driver = sweep.open(tiny(trials=3, pack_runs=1), workers=at_once)
    sweep.train(driver, lambda pack_id, pack, driver: turns.append(pack_id[-1]))
    assert "".join(turns) == ("000001111122222" if at_once == 1 else "012" * 5)
    assert driver.complete


def test_a_time_that_runs_out_between_two_questions_ends_it(sweep: Sweep) -> None:
    """The driver has not finished when it is asked, and has no pack a moment later."""
    moments = iter([0.0, 0.0, 0.0])  # when it begins, and whether it has finished
    driver = sweep.open(tiny(trials=3, time_budget_s=1.0), now=lambda: next(moments, 9.0))
    sweep.train(driver)
    assert sweep.rows() == []
    assert not driver.complete


def test_interrupted_it_ends_the_task_and_goes_on_from_there(sweep: Sweep) -> None:
    config, seen = tiny(trials=2, pack_runs=2), list[int]()

    def interrupt(pack_id: str, pack: Pack, driver: Driver) -> None:
        seen.append(pack.next_task)
        if pack.next_task == 2:
            sweep.interrupt.set()

    driver = sweep.train(sweep.open(config, workers=1), interrupt)
    assert (seen, driver.interrupted, driver.complete) == ([0, 1, 2], True, False)
    assert sweep.rows() == []
    sweep.interrupt.clear()
    assert sweep.train(sweep.open(config, workers=1), interrupt).complete
    assert seen == [0, 1, 2, 3, 4]


def test_interrupted_in_its_last_task_it_is_complete(sweep: Sweep) -> None:
    """What was trained to its end is written, and there is nothing to go on with."""

    def interrupt(pack_id: str, pack: Pack, driver: Driver) -> None:
        if pack.next_task == 4:
            sweep.interrupt.set()

    driver = sweep.train(sweep.open(tiny(trials=2, pack_runs=2), workers=1), interrupt)
    assert (driver.interrupted, driver.complete) == (True, True)
    assert len(sweep.rows()) == 2
    assert list(sweep.folder.checkpoints.iterdir()) == []


def test_what_fails_while_it_is_interrupted_stays_on_its_way(sweep: Sweep) -> None:
    def fails(pack_id: str, pack: Pack, driver: Driver) -> None:
        if pack.next_task == 2:
            sweep.interrupt.set()
            driver.interrupted = True
            raise RuntimeError("torn down")

    first = sweep.train(sweep.open(tiny(trials=2, pack_runs=2), workers=1), fails)
    assert (first.interrupted, first.complete, sweep.rows()) == (True, False, [])
    sweep.interrupt.clear()
    second = sweep.train(sweep.open(tiny(trials=2, pack_runs=2), workers=1))
    assert second.complete
    assert [row["state"] for row in sweep.rows()] == ["done", "done"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="it has a GPU to give")
def test_a_gpu_that_is_not_there_is_refused() -> None:
    said = r"^--gpus-per-worker 0.5: this process has no GPU that torch can see\. Leave it out\.$"
    with pytest.raises(InputError, match=said), local_scheduler(Workers(0, gpus_each=0.5), lambda: None):
        pass


def test_ctrl_c_while_it_loads_is_heeded_at_once() -> None:
    """Not noted for later: nothing looks at it before the data is there."""

    def load() -> None:
        signal.raise_signal(signal.SIGINT)
        pytest.fail("it went on loading")

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's job in the background has none
    try:
        with pytest.raises(KeyboardInterrupt), local_scheduler(Workers(0), load):
            pass
    finally:
        signal.signal(signal.SIGINT, before)


# ------------------------------------------------------------------------------------------------ by the command


def test_a_breakpoint_works(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The code of an ingredient runs in the process and thread of whoever has called the command."""
    places: set[tuple[int, int]] = set()
    monkeypatch.setattr(sys, "breakpointhook", lambda: places.add((os.getpid(), threading.get_ident())))
    (tmp_path / "space.yaml").write_text(SPACE + 'ingredients: ["tests.sweeping.ingredients:Halting"]')
    code, out, complaints = run("run", "space.yaml", *FEW, "--trials", "1")
    assert (code, complaints) == (0, "")
    assert places == {(os.getpid(), threading.get_ident())}
    assert "1/1 trials: 1 done, 0 stopped, 0 failed" in out
    assert "look at it: cfsweep report study" in out


def test_a_failing_ingredient_is_shown_whole_and_its_run_alone_fails(run: Run, tmp_path: Path) -> None:
    own = 'ingredients: ["tests.sweeping.ingredients:Fragile"]\nsearch: {fragile: {choices: [whole, tired]}}'
    (tmp_path / "space.yaml").write_text(SPACE + own)
    code, out, complaints = run("run", "space.yaml", *FEW, "--trials", "6")
    assert code == 3
    assert complaints.startswith("Traceback (most recent call last):\n")
    assert 'raise RuntimeError("it is broken")\nRuntimeError: it is broken\n' in complaints
    rows = read_table("study", "runs").to_pylist()
    assert complaints.count("Traceback") == 1, "the same error is not shown again"
    failures = {(row["hp_fragile"], row["state"], (row["failure"] or "").partition(", line")[0]) for row in rows}
    said = "RuntimeError: it is broken (sweeping/ingredients.py"
    assert failures == {("whole", "done", ""), ("tired", "failed", said)}
    assert f"trial {next(r['trial'] for r in rows if r['failure'])}, seed 0 failed: RuntimeError: it is broken" in out


def test_trials_that_fail_are_told_and_the_others_are_there(run: Run, smoke: Path) -> None:
    sets = ("--set", "optimizer=sgd", "--set", "search.lr={choices: [0.01, 1e30]}")
    code, printed, complaints = run("run", smoke, *sets, "--workers", "0", "--trials", "12", "--out", "study")
    assert (code, complaints) == (3, "")
    now = status("study")
    assert now.complete
    assert now.failed
    assert now.done
    assert f"12/12 trials: {now.done} done, {now.stopped} stopped, {now.failed} failed" in printed
    assert "failed: the loss was not finite at task 0" in printed
    code, printed, _ = run("status", "study")
    assert code == 0
    assert printed.count(", seed 0: the loss was not finite at task ") == now.failed + 2
    assert "  naive (-3), seed 0: the loss was not finite at task " in printed, "with the same learning rate"


def test_an_ingredient_of_ones_own_goes_through_like_a_built_in_one(run: Run, tmp_path: Path) -> None:
    """Searched, packed, stopped, reported."""
    own = """
ingredients: ["examples.own_remedy:EWCPlusPlus"]
search:
  lr: {low: 1.0e-5, high: 3.0e-2, log: true}
  ewcpp_lambda: {low: 1.0, high: 1.0e+6, log: true, zero: true}
"""
    (tmp_path / "space.yaml").write_text(SPACE.replace(", lr: 0.01", "") + own)
    study = ("--trials", "24", "--pack", "3", "--out", "study")
    code, _, complaints = run("run", "space.yaml", "--workers", "0", *study)
    assert (code, complaints) == (0, "")
    rows = {row["trial"]: row for row in read_table("study", "runs").to_pylist()}
    assert {row["method"] for trial, row in rows.items() if trial >= 0} == {"ewc++"}
    assert (rows[-1]["method"], rows[-2]["method"]) == ("naive", "joint")
    strengths = [row["hp_ewcpp_lambda"] for trial, row in rows.items() if trial >= 0]
    assert len(set(strengths)) > 15
    assert all(strength == 0 or 1 <= strength <= 1e6 for strength in strengths)
    alphas = {(row["hp_ewcpp_lambda"] > 0, row["hp_ewcpp_alpha"]) for trial, row in rows.items() if trial >= 0}
    assert alphas - {(False, None)} == {(True, 0.9)}, "where the penalty is off it cannot act"
    assert rows[0]["hp_ewcpp_lambda"] == 1000.0, "the default is the first trial"
    assert {row["state"] for row in rows.values()} == {"done", "stopped"}
    penalty = "0.5 * lambda * sum F (theta - theta*)^2, latest weights"
    assert {row["penalty_convention"] for trial, row in rows.items() if trial >= 0} == {penalty}
    frozen = yaml.safe_load(Path("study/study.yaml").read_text())
    assert frozen["conventions"] == {"ewc++": {"penalty": penalty, "fisher": "moving average over the steps"}}
    assert frozen["hypers"]["ewcpp_lambda"]["searched"]
    page = analysis.report("study").read_text()
    assert "ewc++" in page
    assert "ewcpp_lambda" in page


def test_a_folder_that_lost_parts_is_mended_by_resume_and_never_speaks_of_a_time_budget(run: Run, smoke: Path) -> None:
    study = ("--trials", "2", "--workers", "0", "--out", "study")
    assert run("run", smoke, *study)[0] == 0
    whole = sorted(map(str, read_table("study", "accuracy").drop_columns("attempt").to_pylist()))
    for table in ("runs", "accuracy"):
        part = max(Path("study", table).glob("*.parquet"))
        part.write_bytes(part.read_bytes()[:100])
        code, _, complaints = run("resume", "study", "--workers", "0")
        assert code == 2
        assert f"{part.name}: cut to 100 bytes" in complaints
        assert complaints.endswith("then trains again what is lost.\n")
        repair(Path("study"))
        code, printed, complaints = run("resume", "study", "--workers", "0")
        assert (code, complaints) == (0, "")
        assert "time budget" not in printed
        assert "2/2 trials" in printed
        assert status("study").complete
    assert sorted(map(str, read_table("study", "accuracy").drop_columns("attempt").to_pylist())) == whole
    code, printed, _ = run("resume", "study", "--workers", "0")
    assert "the study is complete: 2 trials ended" in printed


def test_a_study_that_runs_says_so(run: Run, smoke: Path) -> None:
    run("run", smoke, "--trials", "1", "--workers", "0", "--out", "study")
    with Folder(Path("study")).locked():
        assert status("study").running
        assert ": running\n" in run("status", "study")[1]
    assert not status("study").running
    assert ": complete\n" in run("status", "study")[1]


def test_a_time_budget_that_is_spent_is_named(run: Run, smoke: Path) -> None:
    code, printed, _ = run("run", smoke, "--workers", "0", "--set", "time_budget_s=0.001", "--out", "study")
    assert code == 0
    assert "the time budget is spent: 0 of 48 trials ended. `cfsweep resume study` goes on." in printed


def test_a_target_of_ones_own_goes_through_like_the_built_in_one(run: Run, smoke: Path) -> None:
    few = ("--workers", "0", "--trials", "3", "--set", "references=false")
    own = ("--set", "stream.target=tests.sweeping.targets:OwnLabels")
    for out, more in (("built-in", ()), ("own", own)):
        code, _, complaints = run("run", smoke, *few, *more, "--out", out)
        assert (code, complaints) == (0, "")
    found = [read_table(out, "accuracy").drop_columns("study_id").to_pylist() for out in ("built-in", "own")]
    assert sorted(map(str, found[0])) == sorted(map(str, found[1]))
    assert {status(out).study_id for out in ("built-in", "own")} | {""} != {status("own").study_id, ""}


LOADED = """
import sys
from cfsweep import cli
try:
    cli.main()
finally:
    print("loaded:", *sorted({name.partition(".")[0] for name in sys.modules} & {"ray", "optuna", "torch"}))
"""


def test_ctrl_c_ends_it_and_resume_completes_it_all_without_ray(
    processes: Processes, run: Run, smoke: Path, tmp_path: Path
) -> None:
    out = tmp_path / "study"
    slow = ("--set", "epochs=40", "--set", "pack_runs=2", "--trials", "2")
    process = processes.start("run", smoke, *slow, "--workers", "0", "--out", out, program=("-c", LOADED))
    until(new_checkpoints(out), process)
    assert listening({process.pid: "driver", **descendants(process.pid)}) == []
    process.send_signal(signal.SIGINT)
    code, printed, complaints = finish(process, 30)
    assert (code, complaints) == (130, SAID.decode())
    assert f"interrupted. `cfsweep resume {out}` goes on.\nloaded: optuna torch\n" in printed
    assert not status(out).complete
    assert list(out.glob("checkpoints/pack*.pt"))
    code, printed, complaints = run("resume", out, "--workers", "0")
    assert (code, complaints) == (0, "")
    now = status(out)
    assert (now.complete, now.done) == (True, 2)
    assert list(Folder(out).checkpoints.iterdir()) == []
    code, printed, _ = run("resume", out, "--workers", "0")
    assert code == 0
    assert "the study is complete: 2 trials ended" in printed
