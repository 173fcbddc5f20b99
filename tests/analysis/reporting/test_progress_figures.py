"""The best trial so far, and the accuracy of one trial during its training."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import analysis
from analysis.reporting.progress_figures import curves_figure, progress_figure


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
