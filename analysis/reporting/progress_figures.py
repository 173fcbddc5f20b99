"""The report's interactive figures of a sweep over its trials, and of one trial during its training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from analysis.aggregate import column_of, finished
from analysis.description import Setting
from analysis.formatting import for_plotly, shortened
from analysis.frames import numbers
from analysis.reporting import palette
from analysis.reporting.figure_style import hover, styled
from analysis.reporting.plane import padded
from cfsweep.metrics.catalogue import SHARE, Bounds


def progress_figure(
    trials: pd.DataFrame, settings: Sequence[Setting], objective: str, bounds: Bounds = SHARE
) -> go.Figure:
    """The objective of every finished trial in the order of their numbers, and the best so far; it lies within
    `bounds`."""
    done = finished(trials)
    column = column_of(objective, list(done.columns))
    done = done[done[column].notna()]
    values = numbers(done[column])
    figure = go.Figure()
    figure.add_scatter(
        x=done["trial"].tolist(), y=values, mode="markers", name="trial", marker={"color": palette.OTHERS, "size": 7},
        hovertext=[hover(row, [objective], settings) for _, row in done.iterrows()], hoverinfo="text",
    )  # fmt: skip
    figure.add_scatter(
        x=done["trial"].tolist(), y=np.maximum.accumulate(values), mode="lines", name="best so far", hoverinfo="skip",
        line={"color": palette.FRONT, "width": 2, "shape": "hv"},
    )  # fmt: skip
    styled(figure, 340)
    figure.update_traces(cliponaxis=False, selector={"mode": "markers"})
    first, last = (int(done["trial"].min()), int(done["trial"].max())) if len(done) else (0, 0)
    whole = {"dtick": 1} if last - first < 12 else {}  # ticks of a longer axis are whole numbers anyway
    margin = 0.5 + 0.01 * (last - first)
    figure.update_xaxes(title_text="trial (0 is the default settings)", range=[first - margin, last + margin], **whole)
    figure.update_yaxes(title_text=objective.replace("_", " "), range=padded(values, bounds) if len(done) else [0, 1])
    figure.update_layout(legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"})
    return figure


def curves_figure(
    curves: pd.DataFrame, trial: int, tasks: Sequence[str], score: str = "accuracy", bounds: Bounds = SHARE
) -> go.Figure | None:
    """Validation `score`, which lies within `bounds`, of `trial` during training, mean over seeds, one line per task;
    None without curves."""
    rows = curves[curves["trial"] == trial]
    if rows.empty:
        return None
    lengths = rows.groupby("task")["step"].max()
    offset = lengths.cumsum() - lengths
    figure = go.Figure()
    for task in sorted(set(rows["eval_task"].tolist())):
        part = rows[rows["eval_task"] == task]
        mean = part.groupby(["task", "step"])[score].mean().reset_index()
        name = tasks[task] if task < len(tasks) else str(task)
        figure.add_scatter(
            x=numbers(mean["step"] + mean["task"].map(offset)), y=numbers(mean[score]), mode="lines",
            name=f"on {for_plotly(shortened(name, 22))}", line={"color": palette.LINES[task % len(palette.LINES)]},
        )  # fmt: skip
    for border in offset.tolist()[1:]:
        figure.add_vline(x=border, line={"color": "#8a949e", "width": 1, "dash": "dot"})
    styled(figure, 360)
    figure.update_xaxes(title_text="training steps (dotted: the next task begins)")
    figure.update_xaxes(rangemode="nonnegative")
    figure.update_yaxes(title_text=f"validation {score}", range=padded(numbers(rows[score].dropna()), bounds))
    return figure
