"""The best trial so far, and the accuracy of one trial during its training."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import analysis
from analysis.reporting.progress_figures import curves_figure, progress_figure
from tests.analysis.folder import Folder, matrix_for


def test_nothing_impossible_is_on_the_axes(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    for trial in range(3):
        folder.run(trial, 0, matrix_for(1.0 - 0.1 * trial, 1.0))
    folder.curve(0, 0, steps=6)
    table = analysis.trials(analysis.load(folder.write()))
    figure = progress_figure(table, (), "average_score")
    assert tuple(figure.layout.xaxis.range) == (-0.52, 2.52)
    assert figure.layout.xaxis.dtick == 1
    curves = curves_figure(analysis.curves(tmp_path), 0, ())
    assert curves is not None
    for axis in (figure.layout.yaxis, curves.layout.yaxis):
        assert axis.range[0] >= 0
        assert axis.range[1] <= 1
    assert curves.layout.xaxis.rangemode == "nonnegative"


def test_progress_and_curves(sweep: Path) -> None:
    table = analysis.trials(analysis.load(sweep))
    best = progress_figure(table, (), "average_score").data[1].y
    assert len(best) == 48
    assert (np.diff(best) >= 0).all()
    curves = analysis.curves(sweep)
    assert curves_figure(curves, 46, ()) is None
    figure = curves_figure(curves, 3, ["a"])
    assert figure is not None
    assert [trace.name for trace in figure.data] == ["on a", "on 1", "on 2", "on 3", "on 4"]
    assert figure.data[4].x[0] == 4 * 100 + 20
