"""The axes of the settings, and the lines of the trials over them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import analysis
from analysis.description import Setting, study
from analysis.reporting.importance import Importance
from analysis.reporting.setting_figures import axis_of, importance_figure, parallel_figure


def floats(*values: float | None) -> pd.Series:
    return pd.Series(list(values), dtype="Float64")


def test_zeros_of_a_log_axis_stand_below_a_gap() -> None:
    places, ticks, texts = axis_of(floats(0.0, 1.0, 1000.0), Setting("a", log=True))
    assert places == pytest.approx([0.0, 0.15, 1.0])
    assert dict(zip(texts, ticks, strict=True)) == pytest.approx(
        {"0": 0.0, "1": 0.15, "10": 0.4333333, "100": 0.7166667, "1000": 1.0}
    )


def test_other_axes() -> None:
    assert axis_of(floats(2.0, 4.0), None)[0].tolist() == [0.0, 1.0]
    assert axis_of(floats(2.0, 2.0), Setting("a"))[0].tolist() == [0.5, 0.5]
    assert axis_of(floats(0.0, 0.0), Setting("a", log=True))[0].tolist() == [0.0, 0.0]
    places, _, texts = axis_of(pd.Series(["sgd", "adam"], dtype="string"), Setting("o", kind="choice"))
    assert (places.tolist(), texts) == ([1.0, 0.0], ["adam", "sgd"])


def test_ticks_of_whole_numbers_are_whole() -> None:
    whole = pd.Series([1, 4], dtype="Int64")
    assert axis_of(whole, Setting("n", kind="int")).tick_texts == ["1", "2", "3", "4"]
    assert axis_of(whole, Setting("n")).tick_texts == ["1", "1.75", "2.5", "3.25", "4"]


def test_a_setting_that_could_not_act_stands_apart() -> None:
    places, ticks, texts = axis_of(floats(0.0, None, 1.0, 1000.0), Setting("a", log=True))
    assert places == pytest.approx([0.15, 0.0, 0.2775, 1.0])
    assert dict(zip(texts, ticks, strict=True))["–"] == 0.0
    assert dict(zip(texts, ticks, strict=True))["0"] == 0.15
    places, ticks, texts = axis_of(pd.Series(["sgd", "adam", None], dtype="string"), Setting("o", kind="choice"))
    assert (places.tolist(), ticks, texts) == ([1.0, 0.15, 0.0], [0.0, 0.15, 1.0], ["–", "adam", "sgd"])
    assert axis_of(floats(3.0, None), Setting("a")).places == pytest.approx([0.575, 0.0])
    for setting in (Setting("o", kind="choice"), Setting("a", log=True), Setting("a"), Setting("n", kind="int")):
        kind = "string" if setting.kind == "choice" else "Float64"
        assert axis_of(pd.Series([None], dtype=kind), setting)[1:] == ([0.0], ["–"])
        assert axis_of(pd.Series([None], dtype=kind), setting).places.tolist() == [0.0]


def test_parallel_lines_cover_every_trial_in_groups(sweep: Path) -> None:
    table = analysis.trials(analysis.load(sweep))
    figure = parallel_figure(table, study(sweep).searched, ["stability", "plasticity"])
    counts = {trace.name: sum(x == 0 for x in trace.x) for trace in figure.data}
    assert list(counts.values()) == [24, 12, 7, 5]
    assert figure.layout.xaxis.ticktext[-1] == "<b>average score</b>"


def test_a_result_without_values_has_no_places() -> None:
    assert np.isnan(axis_of(floats(None), None).places).all()
    assert axis_of(floats(None), None).ticks == []


def test_the_bars_of_importance_reach_from_the_lowest_fold_to_the_highest() -> None:
    values = {"a": (0.5, -0.25, 1.5), "b": (0.75, 0.5, 1.0), "c": None}
    (bar,) = importance_figure(Importance("mixed", values, 0.5, 30, "")).data
    assert list(bar.x) == [0.5, 0.75]
    assert list(bar.error_x.array) == [1.0, 0.25]
    assert list(bar.error_x.arrayminus) == [0.75, 0.25]


def test_settings_with_alike_names_have_a_bar_each() -> None:
    names = [f"{'long_' * 10}{i}" for i in range(3)]
    figure = importance_figure(Importance("mixed", dict.fromkeys(names, (0.5, 0.5, 0.5)), 0.5, 30, ""))
    assert list(figure.data[0].y) == [0, 1, 2]
    assert len(set(figure.layout.yaxis.ticktext)) == 1
