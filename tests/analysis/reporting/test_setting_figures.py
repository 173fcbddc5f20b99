"""The axes of the settings, and the lines of the trials over them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import analysis
from analysis.description import Setting, study
from analysis.reporting.setting_figures import axis_of, parallel_figure


def floats(*values: float | None) -> pd.Series:
    return pd.Series(list(values), dtype="Float64")


def test_zeros_of_a_log_axis_stand_below_a_gap() -> None:
    places, ticks, texts = axis_of(floats(0.0, 1.0, 1000.0, None), Setting("a", log=True))
    assert places[:3] == pytest.approx([0.0, 0.15, 1.0])
    assert np.isnan(places[3])
    assert dict(zip(texts, ticks, strict=True)) == pytest.approx(
        {"0": 0.0, "1": 0.15, "10": 0.4333333, "100": 0.7166667, "1000": 1.0}
    )


def test_other_axes() -> None:
    assert axis_of(floats(2.0, 4.0), None)[0].tolist() == [0.0, 1.0]
    assert axis_of(floats(2.0, 2.0), Setting("a"))[0].tolist() == [0.5, 0.5]
    assert axis_of(floats(0.0, 0.0), Setting("a", log=True))[0].tolist() == [0.0, 0.0]
    places, _, texts = axis_of(pd.Series(["sgd", "adam", None], dtype="string"), Setting("o", kind="choice"))
    assert (places[:2].tolist(), texts) == ([1.0, 0.0], ["adam", "sgd"])
    assert np.isnan(places[2])


def test_parallel_lines_cover_every_trial_in_groups(sweep: Path) -> None:
    table = analysis.trials(analysis.load(sweep))
    figure = parallel_figure(table, study(sweep).searched, ["stability", "plasticity"])
    counts = {trace.name: sum(x == 0 for x in trace.x) for trace in figure.data}
    assert list(counts.values()) == [24, 12, 7, 5]
    assert figure.layout.xaxis.ticktext[-1] == "<b>average accuracy</b>"


def test_an_axis_without_values_has_no_places() -> None:
    assert axis_of(pd.Series([None], dtype="string"), Setting("o", kind="choice")).ticks == []
    assert np.isnan(axis_of(pd.Series([None], dtype="string"), Setting("o", kind="choice")).places).all()
    assert np.isnan(axis_of(floats(None), Setting("a", log=True)).places).all()
    assert np.isnan(axis_of(floats(None), None).places).all()
