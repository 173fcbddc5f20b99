"""The report's interactive figures of settings, importance, progress and training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from analysis.aggregate import column_of, finished
from analysis.description import Setting
from analysis.formatting import for_plotly, plain
from analysis.frames import numbers
from analysis.reporting import palette
from analysis.reporting.figures import hover, styled
from analysis.reporting.importance import Importance

Floats = NDArray[np.float64]
_GROUPS = ((0.10, "best tenth"), (0.25, "next, to a quarter"), (0.50, "next, to a half"), (1.0, "lower half"))


def axis_of(column: pd.Series, setting: Setting | None) -> tuple[Floats, list[float], list[str]]:
    """Where each value lies on an upright axis from 0 to 1, and the ticks: their places and texts.

    A log axis has its zeros at the foot, below a gap and marked 0. A choice has one place per value. Missing is NaN.

    >>> axis_of(pd.Series([0.0, 1.0, 100.0], dtype="Float64"), Setting("a", log=True))[0].round(2).tolist()
    [0.0, 0.15, 1.0]
    """
    if setting is not None and setting.kind == "choice":
        names = sorted(column.dropna().unique().tolist())
        places = np.linspace(0, 1, len(names)) if len(names) > 1 else np.array([0.5])
        at = dict(zip(names, places.tolist(), strict=True))
        return np.array([at.get(v, np.nan) if isinstance(v, str) else np.nan for v in column]), [*at.values()], names
    values = numbers(column)
    if setting is not None and setting.log:
        return _log_axis(values)
    known = values[~np.isnan(values)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    if low == high:
        return np.where(np.isnan(values), np.nan, 0.5), [0.5], [plain(low)]
    ticks = np.linspace(low, high, 5)
    return (
        (values - low) / (high - low),
        ((ticks - low) / (high - low)).tolist(),
        [plain(float(t), digits=3) for t in ticks],
    )


def _log_axis(values: Floats) -> tuple[Floats, list[float], list[str]]:
    positive = values[values > 0]
    if not len(positive):
        return np.where(np.isnan(values), np.nan, 0.0), [0.0], ["0"]
    foot = 0.15 if (values == 0).any() else 0.0
    low, high = np.log10(positive.min()), np.log10(positive.max())
    width = (high - low) or 1.0
    logs = np.log10(np.where(values > 0, values, 1.0))
    places = np.where(values > 0, foot + (1 - foot) * (logs - low) / width, 0.0)
    places = np.where(np.isnan(values), np.nan, places)
    decades = list(range(int(np.ceil(low - 1e-9)), int(np.floor(high + 1e-9)) + 1))
    decades = decades[:: max(1, len(decades) // 6)]
    ticks = [foot + (1 - foot) * (d - low) / width for d in decades]
    texts = [f"{10.0**d:g}" for d in decades]
    for end, level in ((foot, low), (1.0, high)):
        if all(abs(end - tick) > 0.06 for tick in ticks):
            ticks.append(end)
            texts.append(plain(float(10**level), digits=3))
    return places, [*([0.0] if foot else []), *ticks], [*(["0"] if foot else []), *texts]


def parallel_figure(trials: pd.DataFrame, settings: Sequence[Setting], objectives: Sequence[str]) -> go.Figure:
    """Parallel coordinates: one line per finished trial over its settings and results, grouped by average accuracy.

    Drawn as plain lines, not as plotly's own kind, which needs WebGL: this one opens, and prints, everywhere.
    """
    done = finished(trials)
    accuracy = numbers(done[column_of("average_accuracy", list(done.columns))])
    done = done.iloc[np.argsort(-accuracy, kind="stable")].reset_index(drop=True)
    results = dict.fromkeys([*objectives, "average_accuracy"])
    names = [s.name for s in settings] + [name.replace("_", " ") for name in results]
    columns = [s.column for s in settings] + [column_of(name, list(done.columns)) for name in results]
    axes = [axis_of(done[c], s) for c, s in zip(columns, [*settings, *([None] * len(results))], strict=True)]
    places = np.column_stack([axis[0] for axis in axes])
    figure = go.Figure()
    _ticks(figure, axes)
    start = 0
    groups = []
    for share, name in _GROUPS:
        end = max(int(np.ceil(share * len(done))), start)
        groups.append((range(start, end), name))
        start = end
    for place, (members, name) in reversed(list(enumerate(groups))):
        texts = [hover(done.iloc[i], objectives, settings) for i in members]
        _lines(figure, places[list(members)], texts, f"{name} ({len(members)})", palette.GROUPS[place], 4 - place)
    styled(figure, 440)
    ticks = {
        "tickvals": list(range(len(names))),
        "ticktext": [f"<b>{for_plotly(_short(n, 120 // len(names)))}</b>" for n in names],
    }
    figure.update_xaxes(side="top", showgrid=False, showline=False, range=[-0.35, len(names) - 0.65], **ticks)
    figure.update_yaxes(visible=False, range=[-0.05, 1.05])
    legend = {"orientation": "h", "y": -0.02, "yanchor": "top", "traceorder": "reversed"}
    figure.update_layout(legend=legend, margin={"l": 24, "r": 40, "t": 56, "b": 40}, hovermode="closest")
    return figure


def _short(name: str, limit: int = 22) -> str:
    return name if len(name) <= limit else f"{name[: limit - 1]}…"


def _ticks(figure: go.Figure, axes: Sequence[tuple[Floats, list[float], list[str]]]) -> None:
    for x, (_, places, texts) in enumerate(axes):
        figure.add_shape(type="line", x0=x, x1=x, y0=0, y1=1, line={"color": "#8a949e", "width": 1}, layer="below")
        for y, text in zip(places, texts, strict=True):
            figure.add_annotation(
                x=x, y=y, text=for_plotly(_short(text)), showarrow=False, xanchor="left", xshift=4,
                font={"size": 10, "color": "#4a5560"}, bgcolor="rgba(255,255,255,0.75)", borderpad=0,
            )  # fmt: skip


def _lines(figure: go.Figure, places: Floats, texts: Sequence[str], name: str, colour: str, weight: int) -> None:
    xs: list[float | None] = []
    ys: list[float | None] = []
    shown: list[str | None] = []
    for row, text in zip(places, texts, strict=True):
        xs += [*range(len(row)), None]
        ys += [*(None if np.isnan(y) else float(y) for y in row), None]
        shown += [text] * len(row) + [None]
    figure.add_scatter(
        x=xs, y=ys, mode="lines+markers", name=name, line={"color": colour, "width": 0.6 + 0.4 * weight},
        marker={"size": 3, "color": colour}, hovertext=shown, hoverinfo="text", opacity=0.85,
    )  # fmt: skip


def importance_figure(found: Importance) -> go.Figure:
    """Bars of the drop in held-out R² when a setting is shuffled, largest on top."""
    bars = sorted(((n, v) for n, v in found.values.items() if v is not None), key=lambda item: item[1][0])
    figure = go.Figure()
    figure.add_bar(
        y=[for_plotly(_short(name)) for name, _ in bars],
        x=[drop for _, (drop, _) in bars],
        error_x={"array": [sd for _, (_, sd) in bars], "color": "#66717c", "thickness": 1},
        orientation="h",
        marker={"color": palette.FRONT},
        hovertext=[f"{for_plotly(name)}: {drop:.3f} ± {sd:.3f}" for name, (drop, sd) in bars],
        hoverinfo="text",
    )
    styled(figure, 140 + 30 * len(bars))
    figure.update_xaxes(title="drop in held-out R² when shuffled (mean ± sd over folds)")
    figure.update_yaxes(automargin=True, showgrid=False)
    return figure


def progress_figure(trials: pd.DataFrame, settings: Sequence[Setting], objective: str) -> go.Figure:
    """The objective of every finished trial in the order of their numbers, and the best so far."""
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
    figure.update_xaxes(title="trial (0 is the default settings)")
    figure.update_yaxes(title=objective.replace("_", " "))
    figure.update_layout(legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"})
    return figure


def curves_figure(curves: pd.DataFrame, trial: int, tasks: Sequence[str]) -> go.Figure | None:
    """Validation accuracy of `trial` during training, mean over seeds, one line per task; None without curves."""
    rows = curves[curves["trial"] == trial]
    if rows.empty:
        return None
    lengths = rows.groupby("task")["step"].max()
    offset = lengths.cumsum() - lengths
    figure = go.Figure()
    for task in sorted(set(rows["eval_task"].tolist())):
        part = rows[rows["eval_task"] == task]
        mean = part.groupby(["task", "step"])["accuracy"].mean().reset_index()
        name = tasks[task] if task < len(tasks) else str(task)
        figure.add_scatter(
            x=numbers(mean["step"] + mean["task"].map(offset)), y=numbers(mean["accuracy"]), mode="lines",
            name=f"on {for_plotly(_short(name))}", line={"color": palette.LINES[task % len(palette.LINES)]},
        )  # fmt: skip
    for border in offset.tolist()[1:]:
        figure.add_vline(x=border, line={"color": "#8a949e", "width": 1, "dash": "dot"})
    styled(figure, 360)
    figure.update_xaxes(title="training steps (dotted: the next task begins)")
    figure.update_yaxes(title="validation accuracy")
    return figure
