"""The running median decides as Optuna's pruner does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.pruners import MedianPruner
from optuna.trial import TrialState

from cfsweep.sweeping.search.pruner import RunningMedian
from cfsweep.sweeping.search.storage import Journal


@pytest.mark.parametrize("digits", [1, 12])  # one digit: many ties
@pytest.mark.parametrize("seed", range(3))
def test_it_decides_as_optuna_does(tmp_path: Path, seed: int, digits: int) -> None:
    rng, storage = np.random.default_rng(seed), Journal(tmp_path / "j")
    storage.file.grouping = True
    pruner, slow = RunningMedian(n_startup_trials=5), MedianPruner(n_startup_trials=5)
    study = optuna.create_study(storage=storage, direction="maximize", pruner=pruner)
    decisions = []
    for _ in range(60):
        trial, level, state = study.ask(), rng.uniform(), TrialState.COMPLETE
        for step in range(1, 5):
            trial.report(round(level + rng.normal(0, 0.1), digits), step)
            decisions.append(trial.should_prune())
            assert decisions[-1] == slow.prune(study, storage.get_trial(trial._trial_id))
            if decisions[-1] and rng.uniform() < 0.5:
                state = TrialState.PRUNED
                break
        if rng.uniform() < 0.1:
            study.tell(trial, state=TrialState.FAIL)
        else:
            study.tell(trial, level if state == TrialState.COMPLETE else None, state=state)
    assert 10 < sum(decisions) < len(decisions) - 10
