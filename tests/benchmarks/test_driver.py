"""The benchmark of the driver sweeps for real, but for the training; its times are not judged here."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import driver, sampler
from benchmarks.driver import Case, Cost, measure
from benchmarks.made_up import N_TASKS, MadeUpPack, accuracies
from cfsweep.hypers import Value
from cfsweep.sweeping.parsing import make_config
from cfsweep.sweeping.space import check_space
from cfsweep.training.spec import PackSpec, RunSpec

SPACE = make_config(driver.SPACE, {}, []).space
VALUES: dict[str, Value] = {name: hyper.default for name, hyper in check_space(SPACE, "mixed").items()}


class Here:
    """What stands for a pool of processes: this one."""

    def __init__(self, *args: Any, **options: Any) -> None: ...

    def __enter__(self) -> Here:
        return self

    def __exit__(self, *error: object) -> None: ...

    def map(self, act: Callable[[Case], Cost], cases: Iterable[Case]) -> list[Cost]:
        return [act(case) for case in cases]


def test_quick_prints_and_writes_a_plausible_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "performance.md"
    page.write_text("<!-- begin driver -->\nold\n<!-- end driver -->\n")
    monkeypatch.setattr(driver, "PERFORMANCE", page)
    monkeypatch.setattr(driver, "ProcessPoolExecutor", Here)
    monkeypatch.setattr(driver, "TRIALS_PER_WORKER", 10)
    driver.main(["--quick", "--write", "--objective", "pareto"])
    assert "Cost per trial, over that of the smallest sweep: pareto " in capsys.readouterr().out
    rows = re.findall(r"^\| (mixed|pareto)(.*?) \| (40|80) \| (4|8) \| (.*) \|$", page.read_text(), re.MULTILINE)
    assert [(objective, ahead, trials) for objective, ahead, trials, *_ in rows] == [
        ("pareto", "", "40"),
        ("pareto", "", "80"),
        ("pareto", ", not ahead", "80"),
    ]
    for *_, cells in rows:
        stopped, per_trial, *parts = cells.split(" | ")
        assert 0 <= float(stopped.rstrip("%")) < 80
        assert float(per_trial) > sum(float(part) for part in parts[: len(driver.PARTS)]) > 0


def test_a_sweep_is_measured_and_taken_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "TRIALS_PER_WORKER", 10)
    cost = measure(Case("mixed", 40))
    assert cost.total_s > cost.last_tenth_s > 0
    assert set(cost.parts_s) == set(driver.PARTS)
    assert cost.journal_bytes > 40 * 500
    assert cost.n_files >= 3
    assert min(cost.waits_s) > 0


def test_made_up_runs_report_as_a_pack_does() -> None:
    """And their accuracies depend on the values and the trial alone."""
    weak, strong, other = (
        RunSpec(trial, 0, {**VALUES, "ewc_lambda": value}) for trial, value in ((0, 0.1), (0, 1e4), (1, 0.1))
    )
    last = [np.asarray(accuracies(SPACE, run))[-1] for run in (weak, strong)]
    assert last[1][:-1].mean() > last[0][:-1].mean()  # keeps more
    assert last[1][-1] < last[0][-1]  # learns less
    assert accuracies(SPACE, weak) != accuracies(SPACE, other)
    pack = MadeUpPack(SPACE, PackSpec(SPACE.network, "task-il", SPACE.ingredients, (weak, other)))
    first = pack.train_next_task()
    pack.drop({(1, 0)})
    reports = [pack.train_next_task() for _ in range(N_TASKS - 1)]
    assert [report.done for report in reports] == [False] * (N_TASKS - 2) + [True]
    assert [record.tasks_done for record in reports[-1].records] == [N_TASKS, 1]
    assert reports[-1].records[0].validation == accuracies(SPACE, weak)
    assert reports[-1].records[0].validation[:2] == first.records[0].validation


def test_the_samplers_are_compared(capsys: pytest.CaptureFixture[str]) -> None:
    sampler.main(["--quick"])
    printed = capsys.readouterr().out
    assert [printed.count(name) for name in ("rugged", "trade_off", "bounded", "random")] == [3, 3, 2, 2]
