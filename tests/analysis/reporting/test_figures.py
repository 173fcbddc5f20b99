"""What the figures show, before a browser draws it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import analysis
from analysis.aggregate import finished
from analysis.description import Setting, study
from analysis.reporting.contours import contours
from analysis.reporting.figures import front_figure, matrix_figure
from analysis.reporting.importance import importance
from analysis.reporting.picture import picture
from analysis.reporting.plane import padded
from analysis.reporting.progress_figures import curves_figure, progress_figure
from analysis.reporting.setting_figures import axis_of, parallel_figure
from cfsweep.errors import InputError
from cfsweep.metrics import average_accuracy, plasticity, stability
from tests.analysis.folder import Folder, matrix_for


def floats(*values: float | None) -> pd.Series:
    return pd.Series(list(values), dtype="Float64")


def test_contours_are_the_average_accuracy_when_the_last_task_is_average() -> None:
    cells = np.array(matrix_for(0.7, 0.9, n_tasks=5))
    a = ((5 - 1) * stability(cells) + plasticity(cells)) / 5
    assert a == pytest.approx(average_accuracy(cells))
    for level, start, end in contours(5, (0.6, 0.8, 0.85, 0.95)):
        for x, y in (start, end):
            assert 0.8 * x + 0.2 * y == pytest.approx(level)
            assert 0.6 - 1e-6 <= x <= 0.8 + 1e-6
            assert 0.85 - 1e-6 <= y <= 0.95 + 1e-6
    assert contours(1, (0, 1, 0, 1)) == []
    assert padded([0.0, 1.0]) == (-0.08, 1.08)


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


def test_the_front_figure_has_every_trial_once(sweep: Path) -> None:
    runs = analysis.load(sweep)
    table = analysis.trials(runs)
    figure = front_figure(analysis.front(table, runs=runs), study(sweep).searched, 5, chosen=46)
    marked = [trace for trace in figure.data if trace.meta == "trials"]
    assert sum(len(trace.x) for trace in marked) == len(finished(table)) == 48
    names = [trace.name for trace in figure.data]
    assert {"naive", "joint", "default", "chosen"} <= set(names)
    shown = next(trace for trace in figure.data if trace.name == "chosen").hovertext[0]
    assert "trial 46" in shown
    assert "ewc_lambda=6.552e+07" in shown


def test_three_objectives_colour_the_front_by_the_third(sweep: Path) -> None:
    table = analysis.trials(analysis.load(sweep))
    found = analysis.front(table, ("stability", "plasticity", "stored_bytes"))
    figure = front_figure(found, (), 5)
    member = [trace for trace in figure.data if trace.meta == "trials"][1]
    assert member.marker.colorbar.title.text == "stored_bytes"
    assert not any(trace.name == "front line" for trace in figure.data)


def test_parallel_lines_cover_every_trial_in_groups(sweep: Path) -> None:
    table = analysis.trials(analysis.load(sweep))
    figure = parallel_figure(table, study(sweep).searched, ["stability", "plasticity"])
    counts = {trace.name: sum(x == 0 for x in trace.x) for trace in figure.data}
    assert list(counts.values()) == [24, 12, 7, 5]
    assert figure.layout.xaxis.ticktext[-1] == "<b>average accuracy</b>"


def test_matrices_leave_missing_cells_blank() -> None:
    figure = matrix_figure([("a", np.array([[0.5, 0.5], [0.9, np.nan], [0.25, 1.0]]))], ["first"])
    assert list(figure.data[0].z[1]) == [0.9, None]
    assert list(figure.data[0].text[1]) == ["0.90", ""]
    assert figure.layout.xaxis.ticktext == ("first", "1")


def test_progress_and_curves(sweep: Path) -> None:
    table = analysis.trials(analysis.load(sweep))
    best = progress_figure(table, (), "average_accuracy").data[1].y
    assert len(best) == 48
    assert (np.diff(best) >= 0).all()
    curves = analysis.curves(sweep)
    assert curves_figure(curves, 46, ()) is None
    figure = curves_figure(curves, 3, ["a"])
    assert figure is not None
    assert [trace.name for trace in figure.data] == ["on a", "on 1", "on 2", "on 3", "on 4"]
    assert figure.data[4].x[0] == 4 * 100 + 20


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
    assert found.values["buffer_size"] is None, "it never varied"
    few = importance(table[table["trial"] < 19], study(tmp_path).searched)
    assert few.note == "Too few trials: 19 finished, 20 needed."
    assert set(few.values.values()) == {None}
    flat = importance(table.assign(val_average_accuracy=0.5), study(tmp_path).searched)
    assert flat.note.startswith("Nothing to explain")


@pytest.mark.parametrize(("suffix", "magic"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_still_pictures(sweep: Path, tmp_path: Path, suffix: str, magic: bytes) -> None:
    runs = analysis.load(sweep)
    found = analysis.front(analysis.trials(runs), runs=runs)
    path = picture(found, tmp_path / f"front.{suffix}", 5, "costs $5 & <b>")
    assert path.read_bytes().startswith(magic)


def test_pictures_that_cannot_be(known: Path, tmp_path: Path) -> None:
    empty = analysis.front(analysis.trials(analysis.load(Folder(tmp_path).write())))
    with pytest.raises(InputError, match="unknown picture format `gif`"):
        picture(empty, tmp_path / "front.gif", 3)
    with pytest.raises(InputError, match=r"nothing to draw\. No trial has finished yet"):
        picture(empty, tmp_path / "front.png", 3)
