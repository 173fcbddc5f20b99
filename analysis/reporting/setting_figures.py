"""The report's interactive figures of the settings: beside the results of their trials, and by importance."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from typing import NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from analysis.aggregate import column_of, finished
from analysis.description import Setting
from analysis.formatting import for_plotly, plain, shortened
from analysis.frames import numbers
from analysis.reporting import palette
from analysis.reporting.figure_style import hover, styled
from analysis.reporting.importance import Importance

Floats = NDArray[np.float64]
_FOOT = 0.15  # of an axis: where its values begin if something stands apart below them
_LONGEST, _LONGEST_BAR = 22, 40  # letters of a value beside an axis, and of a name beside a bar
_WIDTH = 960  # of the parallel axes on a wide page, in pixels
# The trials by average score, best first: each group's end as a share of all, and its name.
_GROUPS = ((0.10, "best tenth"), (0.25, "next, to a quarter"), (0.50, "next, to a half"), (1.0, "lower half"))


class Axis(NamedTuple):
    """An upright axis from 0 to 1: where each value lies on it, NaN where it is missing, and the ticks."""

    places: Floats
    ticks: list[float]
    tick_texts: list[str]


def axis_of(column: pd.Series, setting: Setting | None) -> Axis:
    """The axis for the values of `column`, which are of `setting`, or results where that is None.

    A log axis has its zeros at the foot, below a gap and marked 0. A choice has one place per value. Where a setting is
    null, for it could not act, its place is at the foot, marked –, and all values stand above a gap.

    >>> axis_of(pd.Series([0.0, 1.0, 100.0], dtype="Float64"), Setting("a", log=True)).places.round(2).tolist()
    [0.0, 0.15, 1.0]
    >>> axis_of(pd.Series([2.0, None, 4.0], dtype="Float64"), Setting("a")).places.round(2).tolist()
    [0.15, 0.0, 1.0]
    """
    if setting is None:
        return _linear_axis(numbers(column))
    axis = _axis_of_values(column, setting)
    if not column.isna().any():
        return axis
    places = np.where(np.isnan(axis.places), 0.0, _FOOT + (1 - _FOOT) * axis.places)
    ticks = [_FOOT + (1 - _FOOT) * tick for tick in axis.ticks]
    return Axis(places, [0.0, *ticks], [plain(None), *axis.tick_texts])


def _axis_of_values(column: pd.Series, setting: Setting) -> Axis:
    if setting.kind == "choice":
        return _choice_axis(column)
    return _log_axis(numbers(column)) if setting.log else _linear_axis(numbers(column), setting.kind == "int")


def _choice_axis(column: pd.Series) -> Axis:
    names = sorted(column.dropna().unique().tolist())
    ticks = [0.5] if len(names) == 1 else np.linspace(0, 1, len(names)).tolist()
    at = dict(zip(names, ticks, strict=True))
    places = [at.get(cell, np.nan) if isinstance(cell, str) else np.nan for cell in column]
    return Axis(np.array(places), ticks, names)


def _linear_axis(values: Floats, whole: bool = False) -> Axis:
    known = values[~np.isnan(values)]
    if not len(known):
        return Axis(values, [], [])
    low, high = float(known.min()), float(known.max())
    if low == high:
        return Axis(np.where(np.isnan(values), np.nan, 0.5), [0.5], [plain(low)])
    ticks = np.linspace(low, high, 5)
    ticks = np.unique(np.round(ticks)) if whole else ticks
    tick_texts = [plain(float(tick), digits=3) for tick in ticks]
    return Axis((values - low) / (high - low), ((ticks - low) / (high - low)).tolist(), tick_texts)


def _log_axis(values: Floats) -> Axis:
    positive = values[values > 0]
    if not len(positive):
        zeros = (values == 0).any()
        return Axis(np.where(np.isnan(values), np.nan, 0.0), [0.0] if zeros else [], ["0"] if zeros else [])
    foot = _FOOT if (values == 0).any() else 0.0
    low, high = np.log10(positive.min()), np.log10(positive.max())
    width = (high - low) or 1.0
    logs = np.log10(np.where(values > 0, values, 1.0))
    places = np.where(values > 0, foot + (1 - foot) * (logs - low) / width, 0.0)
    places = np.where(np.isnan(values), np.nan, places)
    # Ticks at powers of ten, and at either end where no power of ten lies near.
    decades = list(range(int(np.ceil(low - 1e-9)), int(np.floor(high + 1e-9)) + 1))
    decades = decades[:: max(1, len(decades) // 6)]
    ticks = [foot + (1 - foot) * (d - low) / width for d in decades]
    tick_texts = [f"{10.0**d:g}" for d in decades]
    for end, level in ((foot, low), (1.0, high)):
        if all(abs(end - tick) > 0.06 for tick in ticks):
            ticks.append(end)
            tick_texts.append(plain(float(10**level), digits=3))
    return Axis(places, [0.0, *ticks], ["0", *tick_texts]) if foot else Axis(places, ticks, tick_texts)


def parallel_figure(trials: pd.DataFrame, settings: Sequence[Setting], objectives: Sequence[str]) -> go.Figure:
    """Parallel coordinates: one line per finished trial over its settings and results, grouped by average score.

    Drawn as plain lines: plotly's own parallel coordinates need WebGL, which not every browser or printer has.
    """
    done = finished(trials)
    accuracy = numbers(done[column_of("average_score", list(done.columns))])
    done = done.iloc[np.argsort(-accuracy, kind="stable")].reset_index(drop=True)
    results = dict.fromkeys([*objectives, "average_score"])
    names = [s.name for s in settings] + [name.replace("_", " ") for name in results]
    axes = [axis_of(done[setting.column], setting) for setting in settings]
    axes += [axis_of(done[column_of(name, list(done.columns))], None) for name in results]
    places = np.column_stack([axis.places for axis in axes])
    figure = go.Figure()
    room = _WIDTH / len(axes)
    _ticks(figure, axes, min(_LONGEST, int(room / 7)))
    for rank, (members, name) in reversed(list(enumerate(_groups(len(done))))):
        hovers = [hover(done.iloc[i], objectives, settings) for i in members]
        _lines(figure, places[list(members)], hovers, f"{name} ({len(members)})", palette.GROUPS[rank], 4 - rank)
    styled(figure, 440)
    size = 13 if room > 100 else 11
    heads = [head_lines(name, int(room / (0.62 * size))) for name in names]
    texts = [f"<b>{'<br>'.join(map(for_plotly, lines))}</b>" for lines in heads]
    ticks = {"tickvals": list(range(len(names))), "ticktext": texts, "tickangle": 0, "tickfont_size": size}
    figure.update_xaxes(side="top", showgrid=False, showline=False, range=[-0.35, len(names) - 0.65], **ticks)
    figure.update_yaxes(visible=False, range=[-0.05, 1.05])
    legend = {"orientation": "h", "y": -0.02, "yanchor": "top", "traceorder": "reversed"}
    top = 16 * (max(map(len, heads)) - 1)
    figure.update_layout(legend=legend, margin={"l": 24, "r": 40, "t": 56 + top, "b": 40}, hovermode="closest")
    figure.update_layout(height=440 + top)
    return figure


def head_lines(name: str, letters: int) -> list[str]:
    """`name` in at most six lines of so many letters, broken after underscores where it can be.

    >>> head_lines("replay_buffer", 8), head_lines("replay_buffer", 20)
    (['replay_', 'buffer'], ['replay_buffer'])
    """
    lines = wrap(name.replace("_", "_ "), max(letters, 4), max_lines=6, placeholder="…")
    return [line.replace("_ ", "_") for line in lines]


def _groups(n_trials: int) -> list[tuple[range, str]]:
    """The places of each group among `n_trials`, best first, and its name; a group may be empty."""
    ends = [int(np.ceil(share * n_trials)) for share, _ in _GROUPS]
    return [(range(start, end), name) for start, end, (_, name) in zip([0, *ends[:-1]], ends, _GROUPS, strict=True)]


def _ticks(figure: go.Figure, axes: Sequence[Axis], letters: int) -> None:
    # Set all at once: plotly copies those that are there already with every one that is added.
    figure.layout.shapes = [
        {"type": "line", "x0": x, "x1": x, "y0": 0, "y1": 1, "line": {"color": "#8a949e", "width": 1}, "layer": "below"}
        for x in range(len(axes))
    ]
    figure.layout.annotations = [
        {
            "x": x, "y": y, "text": for_plotly(shortened(text, letters)), "showarrow": False, "xanchor": "left",
            "xshift": 4, "font": {"size": 10, "color": "#4a5560"}, "bgcolor": "rgba(255,255,255,0.75)", "borderpad": 0,
        }
        for x, axis in enumerate(axes)
        for y, text in zip(axis.ticks, axis.tick_texts, strict=True)
    ]  # fmt: skip


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
    """Bars of the drop in held-out R² when a setting is shuffled, largest on top, and its range over the folds."""
    bars = sorted(((n, v) for n, v in found.values.items() if v is not None), key=lambda item: item[1][0])
    ends = {
        "array": [high - drop for _, (drop, _, high) in bars],
        "arrayminus": [drop - low for _, (drop, low, _) in bars],
    }
    figure = go.Figure()
    figure.add_bar(
        y=list(range(len(bars))),
        x=[drop for _, (drop, _, _) in bars],
        error_x={**ends, "symmetric": False, "color": "#66717c", "thickness": 1},
        orientation="h",
        marker={"color": palette.FRONT},
        hovertext=[f"{for_plotly(n)}: {drop:.3f}, folds {low:.3f} to {high:.3f}" for n, (drop, low, high) in bars],
        hoverinfo="text",
    )
    styled(figure, 140 + 30 * len(bars))
    figure.update_xaxes(title_text="drop in held-out R² when shuffled (mean; lowest to highest fold)")
    texts = [for_plotly(shortened(name, _LONGEST_BAR)) for name, _ in bars]  # which may be alike
    figure.update_yaxes(showgrid=False, tickvals=list(range(len(bars))), ticktext=texts)
    return figure
