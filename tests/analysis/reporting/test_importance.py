"""The importance of settings on results that depend on one of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import analysis
from analysis.description import Setting, study
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
    flat = importance(table.assign(val_average_score=0.5), study(tmp_path).searched)
    assert flat.note.startswith("Nothing to explain")


@pytest.mark.usefixtures("small_forest")
def test_a_setting_that_never_varies_where_it_acts_has_no_importance(tmp_path: Path) -> None:
    table = analysis.trials(analysis.load(idle(tmp_path).write()))
    found = importance(table, study(tmp_path).searched)
    assert found.note.endswith(
        "Where a setting could not act (–), a random one of its values stands in, which tells nothing."
    )
    assert found.values["momentum"] is None, "it could never act"
    size = next(s for s in study(tmp_path).searched if s.name == "buffer_size")
    one_value = table.assign(hp_buffer_size=table["hp_buffer_size"].where(table["hp_buffer_size"].isna(), 5))
    assert importance(one_value, [size]).note.startswith("Nothing to explain")


@pytest.mark.parametrize("seed", range(3))
def test_only_what_switches_an_ingredient_off_gets_the_credit_for_it(seed: int) -> None:
    """Nothing matters but whether the ratio is 0; then the buffer, its factor and its mode could not act."""
    draw, n = np.random.default_rng(seed), 80
    off = draw.random(n) < 0.25
    columns = {
        "ratio": pd.array(np.where(off, 0.0, draw.uniform(0.1, 0.5, n)), dtype="Float64"),
        "buffer": pd.array(draw.integers(10, 500, n), dtype="Int64"),
        "factor": pd.array(draw.uniform(0, 1, n), dtype="Float64"),
        "mode": pd.array(draw.choice(["balanced", "reservoir"], n), dtype="string"),
    }
    for name in ("buffer", "factor", "mode"):
        columns[name][off] = pd.NA
    accuracy = np.where(off, 0.4, 0.8) + draw.normal(0, 0.01, n)
    table = pd.DataFrame({"trial": range(n), "state": "done", "val_average_score": accuracy})
    settings = [Setting(name, "choice" if name == "mode" else "float") for name in columns]
    found = importance(table.assign(**{f"hp_{name}": of for name, of in columns.items()}), settings)
    drops = {name: drop[0] for name, drop in found.values.items() if drop is not None}
    assert drops.pop("ratio") > 1
    assert drops == {name: pytest.approx(0, abs=0.01) for name in ("buffer", "factor", "mode")}
    assert found.r2 is not None
    assert found.r2 > 0.9
