"""The report's interactive figures of the front and of the accuracy matrices.

Whatever a user named passes through `for_plotly`, and reaches a hover box as text, never as a template.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from analysis.aggregate import column_of, row_of, value
from analysis.description import Setting
from analysis.formatting import for_plotly, mean_sd, plain, settings_text, trial_name
from analysis.frames import numbers
from analysis.fronts import Front
from analysis.reporting import palette
from analysis.reporting.contours import contours, padded
from cfsweep.results.schema import DEFAULT_TRIAL, JOINT_TRIAL, NAIVE_TRIAL

X, Y = "val_stability", "val_plasticity"
_AXIS = {"gridcolor": palette.GRID, "zeroline": False, "linecolor": "#c5ccd3", "showline": True}


def styled(figure: go.Figure, height: int = 420) -> go.Figure:
    """`figure` in the report's clothes."""
    figure.update_layout(
        height=height,
        template="none",
        paper_bgcolor="white",
        plot_bgcolor="white",
        margin={"l": 64, "r": 24, "t": 36, "b": 56},
        font={"family": "system-ui, -apple-system, 'Segoe UI', sans-serif", "size": 13, "color": palette.TEXT},
        hoverlabel={"bgcolor": "white", "bordercolor": "#c5ccd3", "font": {"color": palette.TEXT}, "align": "left"},
        legend={"bgcolor": "rgba(255,255,255,0.85)"},
    )
    figure.update_xaxes(**_AXIS)
    figure.update_yaxes(**_AXIS)
    return figure


def hover(row: pd.Series, objectives: Sequence[str], settings: Sequence[Setting]) -> str:
    """What a point says: its trial, its numbers as mean ± sd, its settings."""
    lines = [f"<b>{_heading(int(row['trial']))}</b>"]
    for name in dict.fromkeys([*objectives, "average_accuracy"]):
        column = column_of(name, list(row.index))
        lines.append(f"{name}: {mean_sd(value(row, column), value(row, f'{column}_sd'))}")
    if value(row, "p_on_front") is not None:
        lines.append(f"P(on front): {plain(round(float(row['p_on_front']), 2))}")
    shown = "\n".join(settings_text(row, [s], "\n") for s in settings) if int(row["trial"]) >= 0 else ""
    return "<br>".join([*lines, *([for_plotly(shown).replace("\n", "<br>")] if shown else [])])


def _heading(trial: int) -> str:
    return f"trial {trial_name(trial)}" if trial >= 0 else f"reference {trial_name(trial)}"


def front_figure(found: Front, settings: Sequence[Setting], n_tasks: int, chosen: int | None = None) -> go.Figure:
    """Stability against plasticity: every ranked trial, the front, references, default, lines of equal accuracy."""
    figure = go.Figure()
    boxes = [t for t in (found.table, found.references) if len(t)]
    x_range, y_range = (padded([v for t in boxes for v in numbers(t[axis]) if v == v]) for axis in (X, Y))
    _contours(figure, n_tasks, (*x_range, *y_range))
    rest = found.table[~found.table["on_front"].astype(bool)]
    _trials(figure, rest, "other trials", {"size": 7, "color": palette.OTHERS, "opacity": 0.8}, found, settings)
    members = found.members
    style = {"size": 10, "color": palette.FRONT, "line": {"color": "white", "width": 1}}
    if len(found.objectives) == 2:
        x, y = numbers(members[X]), numbers(members[Y])
        line = {"color": palette.FRONT, "width": 2, "shape": "vh"}
        figure.add_scatter(x=x, y=y, mode="lines", line=line, hoverinfo="skip", showlegend=False, name="front line")
    else:
        third = numbers(members[column_of(found.objectives[2], list(members.columns))])
        bar = {"title": {"text": found.objectives[2], "side": "right"}, "thickness": 12}
        style |= {"color": third, "colorscale": "Viridis", "colorbar": bar, "showscale": True}
    _trials(figure, members, "front", style, found, settings)
    _marks(figure, found, settings, chosen)
    styled(figure, 520)
    figure.update_layout(legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0}, margin={"t": 64})
    figure.update_xaxes(title="stability (accuracy on the old tasks at the end)", range=x_range)
    figure.update_yaxes(title="plasticity (accuracy on each task just learned)", range=y_range)
    return figure


def _contours(figure: go.Figure, n_tasks: int, box: tuple[float, float, float, float]) -> None:
    xs: list[float | None] = []
    ys: list[float | None] = []
    for level, start, end in contours(n_tasks, box):
        xs += [start[0], end[0], None]
        ys += [start[1], end[1], None]
        text = {"text": f"c = {level:g}", "showarrow": False, "font": {"size": 10, "color": "#66717c"}}
        figure.add_annotation(x=start[0], y=start[1], xanchor="left", yanchor="top", xshift=2, **text)
    line = {"color": palette.CONTOUR, "width": 1, "dash": "dash"}
    figure.add_scatter(
        x=xs, y=ys, mode="lines", line=line, hoverinfo="skip", name="equal average accuracy c (see below)"
    )


def _trials(
    figure: go.Figure,
    rows: pd.DataFrame,
    name: str,
    style: dict[str, object],
    found: Front,
    settings: Sequence[Setting],
) -> None:
    figure.add_scatter(
        x=numbers(rows[X]),
        y=numbers(rows[Y]),
        mode="markers",
        name=f"{name} ({len(rows)})",
        marker=style,
        hovertext=[hover(row, found.objectives, settings) for _, row in rows.iterrows()],
        hoverinfo="text",
        meta="trials",
    )


def _marks(figure: go.Figure, found: Front, settings: Sequence[Setting], chosen: int | None) -> None:
    marks = [
        (found.references, NAIVE_TRIAL, "naive", "x", palette.NAIVE, 13),
        (found.references, JOINT_TRIAL, "joint", "diamond", palette.JOINT, 13),
        (found.table, DEFAULT_TRIAL, "default", "square", palette.DEFAULT, 12),
        (found.table, chosen, "chosen", "circle-open", palette.CHOSEN, 18),
    ]
    for table, trial, name, symbol, colour, size in marks:
        row = row_of(table, trial) if trial is not None and len(table) else None
        x, y = value(row, X), value(row, Y)
        if row is None or x is None or y is None:
            continue
        line = {"color": colour if name == "chosen" else "white", "width": 2 if name == "chosen" else 1}
        marker = {"symbol": symbol, "size": size, "color": colour, "line": line}
        figure.add_scatter(
            x=[x],
            y=[y],
            mode="markers+text",
            name=name,
            text=[name],
            textposition="bottom center" if name in ("chosen", "default") else "top right",
            marker=marker,
            hovertext=[hover(row, found.objectives, settings)],
            hoverinfo="text",
        )


def matrix_figure(matrices: Sequence[tuple[str, NDArray[np.float64]]], tasks: Sequence[str]) -> go.Figure:
    """Accuracy matrices (T+1, T) side by side on one colour scale from 0 to 1, the numbers written in the cells."""
    figure = go.Figure()
    gap = 0.04
    width = (1 - gap * (len(matrices) - 1)) / len(matrices)
    for place, (title, matrix) in enumerate(matrices):
        n_tasks = matrix.shape[1]
        suffix = "" if place == 0 else str(place + 1)
        columns = [for_plotly(name) for name in _task_names(tasks, n_tasks)]
        text = [["" if np.isnan(a) else f"{a:.2f}" for a in row] for row in matrix]
        figure.add_heatmap(
            z=[[None if np.isnan(a) else float(a) for a in row] for row in matrix],
            x=list(range(n_tasks)),
            y=list(range(n_tasks + 1)),
            text=text,
            texttemplate="%{text}" if n_tasks <= 12 else None,
            hovertext=[[f"{_after(t, columns)}, on {c}: {a or 'missing'}" for c, a in zip(columns, row, strict=True)]
                       for t, row in enumerate(text)],
            hoverinfo="text",
            zmin=0, zmax=1, colorscale="Cividis", showscale=place == 0, xgap=2, ygap=2,
            colorbar={"title": {"text": "accuracy", "side": "right"}, "thickness": 12},
            xaxis=f"x{suffix}", yaxis=f"y{suffix}",
        )  # fmt: skip
        left = place * (width + gap)
        figure.layout[f"xaxis{suffix}"] = {
            "domain": [left, left + width], "anchor": f"y{suffix}",
            "title": {"text": "evaluated on task", "standoff": 12}, "automargin": True,
            "tickvals": list(range(n_tasks)), "ticktext": columns,
        }  # fmt: skip
        figure.layout[f"yaxis{suffix}"] = {
            "anchor": f"x{suffix}", "autorange": "reversed", "automargin": True,
            "showticklabels": place == 0, "tickvals": list(range(n_tasks + 1)),
            "ticktext": [_after(t, columns) for t in range(n_tasks + 1)],
        }  # fmt: skip
        figure.add_annotation(
            text=for_plotly(title), x=left, xref="paper", xanchor="left", y=1.0, yref="paper",
            yanchor="bottom", showarrow=False, yshift=6, font={"size": 14},
        )  # fmt: skip
    styled(figure, 150 + 44 * (matrices[0][1].shape[1] + 1))
    figure.update_xaxes(showgrid=False, showline=False)
    figure.update_yaxes(showgrid=False, showline=False)
    return figure


def _task_names(tasks: Sequence[str], n_tasks: int) -> list[str]:
    """Names short enough for an axis; a number where the study gives none."""
    named = [tasks[i] if i < len(tasks) else str(i) for i in range(n_tasks)]
    return [name if len(name) <= 18 else f"{name[:17]}…" for name in named]


def _after(row: int, columns: Sequence[str]) -> str:
    return "untrained" if row == 0 else f"after {columns[row - 1]}"
