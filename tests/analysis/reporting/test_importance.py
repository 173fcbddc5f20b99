"""The importance of settings on results that depend on one of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import analysis
from analysis.description import study
from analysis.reporting.importance import importance
from tests.analysis.folder import Folder, idle, matrix_for


def test_importance_finds_what_matters_and_stays_null_where_it_cannot_say(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    draw = np.random.default_rng(0)
    for trial in range(60):
        settings = {"ewc_lambda": float(10 ** draw.uniform(-1, 8)), "replay_ratio": float(draw.uniform(0, 0.9))}
        folder.run(trial, 0, matrix_for(0.5 + 0.5 * settings["replay_ratio"], 0.9), settings=settings)
    table = analysis.trials(analysis.load(folder.write()))
    found = importance(table, study(tmp_path).searched)
    assert found.r2 is not None
    assert found.r2 > 0.9
    ratio, strength = found.values["replay_ratio"], found.values["ewc_lambda"]
    assert ratio is not None
    assert strength is not None
    assert ratio[0] > 1
    assert abs(strength[0]) < 0.05
    assert ratio[1] <= ratio[0] <= ratio[2]
    assert found.note.endswith("told a wrong value of that setting, it predicts worse than the mean.")
    assert found.values["buffer_size"] is None, "it never varied"
    few = importance(table[table["trial"] < 19], study(tmp_path).searched)
    assert few.note == "Too few trials: 19 finished, 20 needed."
    assert set(few.values.values()) == {None}
    flat = importance(table.assign(val_average_accuracy=0.5), study(tmp_path).searched)
    assert flat.note.startswith("Nothing to explain")


@pytest.mark.usefixtures("small_forest")
def test_a_setting_that_could_not_act_has_a_value_of_its_own(tmp_path: Path) -> None:
    table = analysis.trials(analysis.load(idle(tmp_path).write()))
    found = importance(table, study(tmp_path).searched)
    assert found.note.endswith("A setting that could not act (–) counts as a value of its own, below all others.")
    assert found.values["momentum"] is None, "it could never act"
    size, strength = (next(s for s in study(tmp_path).searched if s.name == n) for n in ("buffer_size", "ewc_lambda"))
    one_value = table.assign(hp_buffer_size=table["hp_buffer_size"].where(table["hp_buffer_size"].isna(), 5))
    assert importance(one_value, [size]).note.startswith("Nothing to explain")
    # All there is to know is whether a trial is one of those whose buffer could not act.
    apart = table.assign(val_average_accuracy=table["hp_buffer_size"].isna().map({True: 0.9, False: 0.5}))
    told = importance(apart, [strength, size])
    drop = told.values["buffer_size"]
    assert drop is not None
    assert drop[0] > 0.9
    assert told.r2 is not None
    assert told.r2 > 0.8
