"""The small stream, its packs, and what is asked of the package as a whole."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import cfsweep.testing
from cfsweep.config import SCENARIOS
from cfsweep.testing import finish, make_pack, small_stream
from cfsweep.testing.packs import assert_same, off_values, refusal, scenario_for, trained_once, variants, varied_runs
from cfsweep.training.ingredients import registry


def test_it_needs_no_pytest() -> None:
    folder = Path(cfsweep.testing.__file__).parent
    imports = [line for path in folder.glob("*.py") for line in path.read_text().splitlines() if "import" in line]
    assert not [line for line in imports if re.search(r"\b(pytest|tests)\b", line)]


def test_the_small_stream_is_the_same_each_time_and_can_be_learned() -> None:
    one, two = small_stream(), small_stream()
    assert one.digest == two.digest != small_stream(seed=1).digest
    assert [len(task.train) for task in one.tasks] == [22, 22, 22]
    parts = [part for task in one.tasks for part in task.parts.values()]
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(len(one.x)))
    test = finish(make_pack(one)).records[0].test
    assert all(test[task + 1][task] >= 6 / 8 for task in range(3))


def test_what_is_trained_once_is_what_is_trained_anew() -> None:
    once = trained_once(("ewc",), "class-il", optimizer="sgd")
    assert trained_once(("ewc",), "class-il", optimizer="sgd") is once
    assert_same(once, finish(make_pack(small_stream(), ("ewc",), scenario="class-il", optimizer="sgd")))


def test_packs_that_differ_are_told_apart() -> None:
    with pytest.raises(AssertionError, match="of a run differs: "):
        assert_same(finish(make_pack(small_stream(), epochs=4)), trained_once((), "task-il"))


def test_the_scenario_is_the_first_that_all_know() -> None:
    assert scenario_for() == scenario_for("packnet", "ewc") == "task-il"
    assert scenario_for("er-ace") == scenario_for("er-ace", "ewc") == "class-il"
    assert scenario_for("er-ace", "packnet") == scenario_for("no-such-thing") == SCENARIOS[0]
    assert refusal(("ewc",), "class-il") is None
    assert "works in task-il" in str(refusal(("packnet",), "class-il"))


def test_variants_and_varied_runs_cover_the_hyperparameters() -> None:
    assert variants(registry["ewc"]) == [
        {},
        {"ewc_mode": "online"},
        {"ewc_fisher": "predicted"},
        {"ewc_fisher": "empirical"},
    ]
    assert off_values(registry["replay"]) == [{"replay_ratio": 0.0}, {"replay_buffer": 0}]
    runs = varied_runs(("ewc",), 8, epochs=1)
    assert [run.seed for run in runs] == [0, 1] * 4
    assert {run.values["ewc_lambda"] for run in runs} == {100.0, 0.0, 50.0}
    assert {run.values["lr"] for run in runs} == {0.01, 0.02}
    assert {run.values["epochs"] for run in runs} == {1}
