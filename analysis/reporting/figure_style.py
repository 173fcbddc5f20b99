"""What the report's interactive figures share: their look, and the box that appears over a trial.

Whatever a user named passes through `for_plotly`, and reaches a hover box as text, never as a template.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from analysis.aggregate import column_of, value
from analysis.description import Setting
from analysis.formatting import for_plotly, mean_sd_of, plain, settings_text, trial_name
from analysis.reporting import palette

FONT = 13
_AXIS = {
    "gridcolor": palette.GRID, "zeroline": False, "linecolor": "#c5ccd3", "showline": True,
    "automargin": True, "title_standoff": 10,
}  # fmt: skip


def styled(figure: go.Figure, height: int = 420) -> go.Figure:
    """`figure`, changed in place: `height` in pixels, and the colours, margins, font and axes of every figure."""
    figure.update_layout(
        height=height,
        template="none",
        paper_bgcolor="white",
        plot_bgcolor="white",
        margin={"l": 64, "r": 24, "t": 36, "b": 56},
        font={"family": "system-ui, -apple-system, 'Segoe UI', sans-serif", "size": FONT, "color": palette.TEXT},
        hoverlabel={"bgcolor": "white", "bordercolor": "#c5ccd3", "font": {"color": palette.TEXT}, "align": "left"},
        legend={"bgcolor": "rgba(255,255,255,0.85)"},
    )
    figure.update_xaxes(**_AXIS)
    figure.update_yaxes(**_AXIS)
    return figure


def hover(row: pd.Series, objectives: Sequence[str], settings: Sequence[Setting]) -> str:
    """The text of the hover box of a trial: its name, its numbers as mean ± sd, its settings."""
    names = dict.fromkeys([*objectives, "average_score"])
    lines = [f"<b>{_heading(int(row['trial']))}</b>"]
    lines += [f"{name}: {mean_sd_of(row, column_of(name, list(row.index)))}" for name in names]
    if value(row, "front_share") is not None:
        lines.append(f"Front share: {plain(round(float(row['front_share']), 2))}")
    shown = "\n".join(settings_text(row, [s], "\n") for s in settings) if int(row["trial"]) >= 0 else ""
    return "<br>".join([*lines, *([for_plotly(shown).replace("\n", "<br>")] if shown else [])])


def _heading(trial: int) -> str:
    return f"trial {trial_name(trial)}" if trial >= 0 else f"reference {trial_name(trial)}"
