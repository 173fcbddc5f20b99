"""The replay of rules of stopping: its arithmetic against values by hand, its median rule against Optuna's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import optuna
import pytest

from benchmarks import stopping
from benchmarks.replay import ACCURACY, MedianRule, RankRule, Recording, mixed_replayed, replay, replayed
from cfsweep.config import ObjectiveConfig
from cfsweep.sweeping.stopping import RankStopper, intermediate


def flat(*accuracies: float, n_tasks: int = 4) -> np.ndarray:
    """Trials that have the same accuracy everywhere."""
    return np.array([np.full((n_tasks, n_tasks), accuracy) for accuracy in accuracies])


def recording(matrices: np.ndarray, at_once: int = 1) -> Recording:
    return Recording(matrices, (100,) * matrices.shape[1], at_once)


def worse_than_any(value: tuple[float, ...], errors: tuple[float, ...], others: np.ndarray) -> bool:
    return bool((others > np.array(value)).all(axis=1).any())


PLAIN = RankRule("beaten", worse_than_any, startup=1)


def test_who_comes_after_a_better_one_is_stopped_at_the_first_rung() -> None:
    trials = recording(flat(0.6, 0.8, 0.7))
    assert replay(trials, [0, 1, 2], PLAIN.judge(trials)).tolist() == [4, 4, 2]
    assert replay(trials, [1, 0, 2], PLAIN.judge(trials)).tolist() == [2, 4, 2]
    late = RankRule("late", worse_than_any, first_rung=2, startup=1)
    assert replay(trials, [1, 0, 2], late.judge(trials)).tolist() == [3, 4, 3]
    cautious = RankRule("cautious", worse_than_any, startup=2)
    assert replay(trials, [1, 0, 2], cautious.judge(trials)).tolist() == [4, 4, 2]


def test_trials_at_once_come_to_a_rung_together() -> None:
    """Each sees on a rung who came there before it, stopped or not, and nobody who comes after."""
    together = recording(flat(0.6, 0.8, 0.7), at_once=3)
    assert replay(together, [0, 1, 2], PLAIN.judge(together)).tolist() == [4, 4, 2]
    assert replay(together, [2, 0, 1], PLAIN.judge(together)).tolist() == [2, 4, 4]


def test_what_a_rule_saves_and_loses() -> None:
    """Two trials, flat at 0.6 and 0.8: half of the orders stop the worse one, after two of four tasks."""
    found = replayed([recording(flat(0.6, 0.8))], PLAIN, n_orders=100)
    assert found.stopped == pytest.approx(0.25, abs=0.08)
    assert found.saved == pytest.approx(found.stopped / 2)
    assert found.volume_lost == found.front_lost == 0
    # A rule that stops all but the first to come loses the leader in half of the orders: 1 - 0.01 / 0.09 each time.
    cruel = replayed([recording(flat(0.6, 0.8))], RankRule("", lambda v, e, o: True, startup=1), n_orders=100)
    assert cruel.stopped == 0.5
    assert cruel.front_lost == pytest.approx(0.5, abs=0.16)
    assert cruel.volume_lost == pytest.approx(cruel.front_lost * 8 / 9)
    none = replayed([recording(flat(0.6, 0.8))], stopping.RULES[0], n_orders=3)
    assert (none.stopped, none.saved, none.volume_lost, none.front_lost) == (0, 0, 0, 0)
    assert none.equal == (1.0, 1.0, 1.0)


def test_the_shipped_rule_is_replayed_as_a_sweep_applies_it() -> None:
    rng = np.random.default_rng(0)
    trials = recording(np.round(rng.random((40, 1, 1)) * rng.random((40, 5, 5)), 2), at_once=6)
    order = rng.permutation(40).tolist()
    done, stopper = np.full(40, 5), RankStopper(trials.n_examples, ACCURACY)
    for begin in range(0, 40, 6):
        for rung in (1, 2, 3):
            for number in order[begin : begin + 6]:
                so_far = trials.matrices[number, : rung + 1]
                if done[number] == 5 and stopper.loses(number, rung, so_far):
                    done[number] = rung + 1
    assert replay(trials, order, stopping.SHIPPED.judge(trials)).tolist() == done.tolist()
    assert set(done.tolist()) > {2, 5}


@pytest.mark.parametrize(("keeps", "seed"), [(50.0, 0), (50.0, 1), (75.0, 2)])
def test_the_median_rule_is_replayed_as_optuna_applies_it(keeps: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    trials = recording(np.round(rng.random((40, 1, 1)) * rng.random((40, 5, 5)), 1), at_once=6)
    order, rule = rng.permutation(40).tolist(), MedianRule("", keeps)
    pruner = optuna.pruners.PercentilePruner(keeps, n_startup_trials=rule.startup)
    study = optuna.create_study(direction="maximize", pruner=pruner)
    done = np.full(40, 5)
    for begin in range(0, 40, 6):
        asked = {number: study.ask() for number in order[begin : begin + 6]}
        for rung in (1, 2, 3):
            for number, trial in asked.items():
                if done[number] < 5:
                    continue
                trial.report(intermediate(trials.matrices[number, : rung + 1], ObjectiveConfig())[0], rung)
                if trial.should_prune():
                    done[number] = rung + 1
                    study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        for number, trial in asked.items():
            if done[number] == 5:
                study.tell(trial, intermediate(trials.matrices[number], ObjectiveConfig())[0])
    assert replay(trials, order, rule.judge(trials)).tolist() == done.tolist()
    assert (done < 5).sum() > 3


def test_the_best_by_mixed_is_kept_or_its_loss_is_told() -> None:
    trials = recording(flat(*(0.5 + i / 100 for i in range(20))))
    stopped, saved, best, lost = mixed_replayed([trials], MedianRule(""), n_orders=50)
    assert 0 < float(stopped.split()[0]) < 50
    assert 0 < float(saved.split()[0]) < 25
    assert (best, lost) == ("100 %", "0.0000")
    # The best is poor after the second task: when enough have finished before it, it is stopped.
    trials.matrices[-1] = [[0.4] * 4, [0.4] * 4, [1.0] * 4, [1.0] * 4]
    _, _, best, lost = mixed_replayed([trials], MedianRule(""), n_orders=50)
    assert 20 < float(best.split()[0]) < 70


def test_quick_sweeps_and_writes_its_section(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    performance = tmp_path / "performance.md"
    performance.write_text("before\n<!-- begin stopping -->\nold\n<!-- end stopping -->\nafter\n")
    monkeypatch.setattr(stopping, "PERFORMANCE", performance)
    assert stopping.main(["--quick", "--write", "--workers", "0"]) == 0
    written = performance.read_text()
    assert "old" not in written
    for rule in (*stopping.RULES, *stopping.MIXED_RULES):
        assert f"| {rule.name} | " in written
    assert "| none | 0 % | 0.0 % | 0.00 % | 0.0 % | 1.00 | 1.00 | 1.00 |" in written
    assert "### split-digits, task-il" in written
    (sweeps,) = (line.split("|") for line in written.splitlines() if line.startswith("| 0 |"))
    assert 0 < float(sweeps[2]) < 0.25


def test_bad_input_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    other = tmp_path / "split-digits-task-il-0-off"
    other.mkdir()
    (other / "notes.txt").write_text("something else")
    assert stopping.main(["--out", str(tmp_path), "--workers", "0"]) == 2
    complaints = capsys.readouterr().err
    assert complaints.startswith(f"benchmarks.stopping: --out {other}: it exists and is no study of cfsweep.")
    assert complaints.count("\n") == 1
