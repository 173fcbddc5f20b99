"""The benchmark of the driver sweeps for real, but for the training; its times are not judged here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import driver, sampler
from benchmarks.driver import HEADINGS, Case, Cost, cases, measure, ratios, row
from benchmarks.made_up import N_TASKS, MadeUpPack, right_answers
from cfsweep.hypers import Value
from cfsweep.sweep.space import check_space, load_space
from cfsweep.training.spec import PackSpec, RunSpec

SPACE = load_space(driver.SPACE)
VALUES: dict[str, Value] = {name: hyper.default for name, hyper in check_space(SPACE, "mixed").items()}


def spec(n: int) -> PackSpec:
    return PackSpec(SPACE.network, "task-il", SPACE.ingredients, tuple(RunSpec(t, 0, VALUES) for t in range(n)))


def test_a_sweep_is_measured_and_taken_up_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "TRIALS_PER_WORKER", 10)
    cost = measure(Case("mixed", 40))
    assert cost.case.workers == 4
    assert cost.total_s > sum(cost.parts_s[part] for part in ("ask", "Parquet")) > 0
    assert cost.total_s > cost.last_tenth_s > 0
    assert cost.journal_bytes > 40 * 500
    assert cost.n_files >= 3
    assert min(cost.waits_s) > 0
    assert len(row(cost)) == len(HEADINGS)
    assert set(cost.parts_s) == set(driver.PARTS)


def test_the_ratio_is_that_of_the_largest_to_the_smallest() -> None:
    costs = [Cost(Case("mixed", 100), total_s=1.0), Cost(Case("mixed", 1000), total_s=15.0)]
    assert ratios(costs) == "Cost per trial, over that of the smallest sweep: mixed 1.50 at 1,000 trials."


def test_which_sweeps_are_measured() -> None:
    assert [(c.objective, c.trials, c.ahead) for c in cases(None, None, quick=False)] == [
        ("mixed", 1_000, True),
        ("mixed", 10_000, True),
        ("mixed", 100_000, True),
        ("pareto", 1_000, True),
        ("pareto", 10_000, True),
        ("mixed", 10_000, False),
    ]
    assert [c.trials for c in cases("pareto", 100_000, quick=False) if c.ahead] == [100_000]


def test_made_up_runs_report_as_a_pack_does() -> None:
    pack = MadeUpPack(SPACE, spec(3))
    first = pack.step()
    assert [record.tasks_done for record in first.records] == [1, 1, 1]
    pack.drop({(1, 0)})
    reports = [pack.step() for _ in range(N_TASKS - 1)]
    assert [report.done for report in reports] == [False] * (N_TASKS - 2) + [True]
    assert [record.tasks_done for record in reports[-1].records] == [N_TASKS, 1, N_TASKS]
    assert reports[-1].records[0].validation[:2] == first.records[0].validation
    pack.drop({(0, 0), (2, 0)})
    assert pack.step().done


def test_made_up_accuracies_depend_on_the_values_and_the_trial_alone() -> None:
    weak, strong = (RunSpec(1, 0, {**VALUES, "ewc_lambda": value}) for value in (0.1, 1e4))
    assert right_answers(SPACE, weak) == right_answers(SPACE, weak)
    last = [np.asarray(right_answers(SPACE, run))[-1] for run in (weak, strong)]
    assert last[1][:-1].mean() > last[0][:-1].mean()  # keeps more
    assert last[1][-1] < last[0][-1]  # learns less
    assert right_answers(SPACE, RunSpec(2, 0, weak.values)) != right_answers(SPACE, weak)


def test_the_samplers_are_compared_on_functions_with_a_known_best(capsys: pytest.CaptureFixture[str]) -> None:
    sampler.main(["--quick"])
    printed = capsys.readouterr().out
    assert [printed.count(name) for name in ("rugged", "trade_off", "bounded", "random")] == [3, 3, 2, 2]
    assert sampler.rugged(np.array([0.62, 0.31, 0.8, 0.15])) == [0.0]
    assert sampler.quality([[-0.5], [-0.1]]) == -0.1
    assert sampler.quality([[0.4, 0.5], [0.3, 0.9]]) == pytest.approx(0.02)
