"""The report's interactive figures of the front and of the accuracy matrices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from analysis.aggregate import column_of
from analysis.description import Setting
from analysis.formatting import for_plotly, plain, shortened
from analysis.frames import numbers
from analysis.fronts import Front
from analysis.reporting import palette
from analysis.reporting.contours import Segment, contours
from analysis.reporting.figure_style import FONT, hover, styled
from analysis.reporting.labels import Canvas, Labels, joined
from analysis.reporting.plane import Mark, X, Y, box_of, marks, points_of
from cfsweep.metrics.catalogue import SHARE, Bounds

_SYMBOLS = {
    "naive": ("x", palette.NAIVE, 13),
    "joint": ("diamond", palette.JOINT, 13),
    "majority": ("cross", palette.MAJORITY, 13),
    "default": ("square", palette.DEFAULT, 12),
    "chosen": ("circle-open", palette.CHOSEN, 18),
}
_REACH = {name: size / 1.6 + 1 for name, (_, _, size) in _SYMBOLS.items()}  # from there plotly writes beside a mark
_SIZES = ((890, 390), (480, 340))  # of the plot on a wide page and on a narrow one
_ROOM = (26, 64)


def front_figure(found: Front, settings: Sequence[Setting], n_tasks: int, chosen: int | None = None) -> go.Figure:
    """Stability against plasticity: every ranked trial, the front, references, default, lines of equal accuracy."""
    figure = go.Figure()
    box, marked = box_of(found), marks(found, chosen)
    is_flat = len(found.objectives) == 2
    room = (_ROOM[0], _ROOM[1] if is_flat else 0)  # a third objective has its colours at the right
    labels = Labels(Canvas(box, _SIZES, room, FONT, 10), points_of(found), marked, _REACH)
    lines = contours(n_tasks, box)
    _contours(figure, lines)
    rest = found.table[~found.table["on_front"].astype(bool)]
    _trials(figure, rest, "other trials", {"size": 7, "color": palette.OTHERS, "opacity": 0.8}, found, settings)
    members = found.members
    style = {"size": 10, "color": palette.FRONT, "line": {"color": "white", "width": 1}}
    if is_flat:
        x, y = numbers(members[X]), numbers(members[Y])
        line = {"color": palette.FRONT, "width": 2, "shape": "vh"}
        figure.add_scatter(x=x, y=y, mode="lines", line=line, hoverinfo="skip", showlegend=False, name="front line")
    else:
        third = numbers(members[column_of(found.objectives[2], list(members.columns))])
        bar = {"title": {"text": found.objectives[2], "side": "right"}, "thickness": 12}
        style |= {"color": third, "colorscale": "Viridis", "colorbar": bar, "showscale": True}
    _trials(figure, members, "front", style, found, settings)
    _marks(figure, found, settings, marked, labels)
    _line_labels(figure, lines, labels)
    styled(figure, 530)
    legend = {"orientation": "h", "y": 1.08, "yanchor": "bottom", "x": 0}
    figure.update_layout(legend=legend, margin={"t": 84, "r": 24 + room[1]})
    figure.update_xaxes(title_text="stability (score on the old tasks at the end)", range=box[:2])
    figure.update_yaxes(title_text="plasticity (score on each task just learned)", range=box[2:])
    # A mark on the border is not to cover the number beside it.
    for update in (figure.update_xaxes, figure.update_yaxes):
        update(ticks="outside", ticklen=10, tickcolor=palette.GRID)
    return figure


def _contours(figure: go.Figure, lines: Sequence[Segment]) -> None:
    xs: list[float | None] = []
    ys: list[float | None] = []
    for _, start, end in lines:
        xs += [start[0], end[0], None]
        ys += [start[1], end[1], None]
    line = {"color": palette.CONTOUR, "width": 1, "dash": "dash"}
    figure.add_scatter(x=xs, y=ys, mode="lines", line=line, hoverinfo="skip", name="average score c")


def _line_labels(figure: go.Figure, lines: Sequence[Segment], labels: Labels) -> None:
    for level, start, end in lines:
        at = labels.of_line(text := f"c = {level:g}", start, end)
        if at is not None:
            figure.add_annotation(
                x=at[0], y=at[1], text=text, showarrow=False, xanchor="left", yanchor="bottom", xshift=2, borderpad=0,
                font={"size": 10, "color": "#66717c"},
            )  # fmt: skip


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
        cliponaxis=False,  # a mark on the border is drawn whole
        hovertext=[hover(row, found.objectives, settings) for _, row in rows.iterrows()],
        hoverinfo="text",
        meta="trials",
    )


def _marks(
    figure: go.Figure, found: Front, settings: Sequence[Setting], marked: Sequence[Mark], labels: Labels
) -> None:
    for mark, label in zip(marked, joined(marked), strict=True):
        symbol, colour, size = _SYMBOLS[mark.name]
        is_ring = mark.name == "chosen"
        line = {"color": colour if is_ring else "white", "width": 2 if is_ring else 1}
        figure.add_scatter(
            x=[mark.x],
            y=[mark.y],
            mode="markers+text" if label else "markers",
            name=mark.name,
            text=[label],
            textposition=labels.of_mark(mark, label) if label else None,
            marker={"symbol": symbol, "size": size, "color": colour, "line": line},
            cliponaxis=False,
            hovertext=[hover(mark.row, found.objectives, settings)],
            hoverinfo="text",
        )


def matrix_figure(
    matrices: Sequence[tuple[str, NDArray[np.float64]]],
    tasks: Sequence[str],
    score: str = "accuracy",
    bounds: Bounds = SHARE,
    first_row: str = "untrained",
) -> go.Figure:
    """Matrices (T+1, T) of a `score` side by side on one colour scale, the numbers written in the cells. The scale goes
    from one of its `bounds` to the other, or, where it has none, from the least score there to the largest. The
    first row is called `first_row`, the others after the tasks."""
    shown = np.concatenate([matrix.ravel() for _, matrix in matrices])
    known = shown[~np.isnan(shown)]
    ends = bounds if np.isfinite(bounds).all() or not len(known) else (float(known.min()), float(known.max()))
    figure = go.Figure()
    gap = 0.04
    width = (1 - gap * (len(matrices) - 1)) / len(matrices)
    for place, (title, matrix) in enumerate(matrices):
        columns = [for_plotly(name) for name in _task_names(tasks, matrix.shape[1])]
        rows = [first_row, *(f"after {name}" for name in columns)]
        left = place * (width + gap)
        _heatmap(figure, matrix, columns, rows, place, score, ends)
        _matrix_axes(figure, columns, rows, place, (left, left + width))
        figure.add_annotation(
            text=for_plotly(title), x=left, xref="paper", xanchor="left", y=1.0, yref="paper",
            yanchor="bottom", showarrow=False, yshift=6, font={"size": 14},
        )  # fmt: skip
    styled(figure, 150 + 44 * (matrices[0][1].shape[1] + 1))
    figure.update_xaxes(showgrid=False, showline=False)
    figure.update_yaxes(showgrid=False, showline=False)
    return figure


def _heatmap(
    figure: go.Figure,
    matrix: NDArray[np.float64],
    columns: Sequence[str],
    rows: Sequence[str],
    place: int,
    score: str,
    ends: Bounds,
) -> None:
    n_tasks = len(columns)
    text = [
        ["" if np.isnan(a) else f"{a:.2f}" if abs(a) < 10 else plain(float(a), digits=3) for a in row] for row in matrix
    ]
    figure.add_heatmap(
        z=[[None if np.isnan(a) else float(a) for a in row] for row in matrix],
        x=list(range(n_tasks)),
        y=list(range(n_tasks + 1)),
        text=text,
        texttemplate="%{text}" if n_tasks <= 12 else None,
        hovertext=[[f"{name}, on {c}: {a or 'missing'}" for c, a in zip(columns, row, strict=True)]
                   for name, row in zip(rows, text, strict=True)],
        hoverinfo="text",
        zmin=ends[0], zmax=ends[1], colorscale="Cividis", showscale=place == 0, xgap=2, ygap=2,
        colorbar={"title": {"text": score, "side": "right"}, "thickness": 12},
        xaxis=f"x{_suffix(place)}", yaxis=f"y{_suffix(place)}",
    )  # fmt: skip


def _matrix_axes(
    figure: go.Figure, columns: Sequence[str], rows: Sequence[str], place: int, domain: tuple[float, float]
) -> None:
    suffix, n_tasks = _suffix(place), len(columns)
    figure.layout[f"xaxis{suffix}"] = {
        "domain": list(domain), "anchor": f"y{suffix}",
        "title": {"text": "evaluated on task", "standoff": 12}, "automargin": True,
        "tickvals": list(range(n_tasks)), "ticktext": columns,
    }  # fmt: skip
    figure.layout[f"yaxis{suffix}"] = {
        "anchor": f"x{suffix}", "autorange": "reversed", "automargin": True,
        "showticklabels": place == 0, "tickvals": list(range(n_tasks + 1)),
        "ticktext": rows,
    }  # fmt: skip


def _suffix(place: int) -> str:
    """What plotly appends to the names of the axes of the plot at `place`: nothing, 2, 3, ..."""
    return "" if place == 0 else str(place + 1)


def _task_names(tasks: Sequence[str], n_tasks: int) -> list[str]:
    """Names short enough for an axis, with their numbers where they would be alike; a number where there is none."""
    named = [tasks[i] if i < len(tasks) else str(i) for i in range(n_tasks)]
    short = [shortened(name, 18) for name in named]
    return short if len(set(short)) == n_tasks else [shortened(f"{i}: {name}", 18) for i, name in enumerate(named)]
