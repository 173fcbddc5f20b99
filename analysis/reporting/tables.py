"""The front, or all trials, as a table in Markdown, LaTeX or CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd

from analysis.aggregate import column_of, row_of, value
from analysis.description import Setting
from analysis.formatting import for_csv, for_latex, mean_sd, mean_sd_of, plain, trial_name
from analysis.frames import numbers
from analysis.fronts import Front
from cfsweep.errors import unknown
from cfsweep.results.schema import DEFAULT_TRIAL
from cfsweep.texts import for_markdown

Which = Literal["front", "all"]
FORMATS = ("markdown", "latex", "csv")
METRICS_SHOWN = ("average_score", "stability", "plasticity")


def table(found: Front, settings: Sequence[Setting], format: str = "markdown", which: Which = "front") -> str:
    """The front (or all ranked trials) as text, highest average score first; then the default and the references.

    Accuracies are in [0, 1], mean ± sample standard deviation over seeds; `corrected` is the average score in which
    the best are not flattered. CSV keeps mean and deviation in columns of their own, unrounded.

    Raises:
        InputError: `format` is unknown.
    """
    if format not in FORMATS:
        raise unknown("table", "format", format, FORMATS)
    rows = listed(found, which)
    if format == "csv":
        return _csv(rows, _metrics(found), settings)
    head, cells = table_cells(found, rows, settings)
    return _markdown(head, cells) if format == "markdown" else _latex(head, cells)


def table_cells(found: Front, rows: pd.DataFrame, settings: Sequence[Setting]) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the table as plain text, not escaped."""
    metrics = _metrics(found)
    uncertain = ["corrected", "front share"] if found.corrected_hypervolume else []
    head = ["trial", *(m.replace("_", " ") for m in metrics), *uncertain]
    cells = [_cells(row, metrics, settings, found) for _, row in rows.iterrows()]
    return [*head, *(s.name for s in settings)], cells


def _metrics(found: Front) -> list[str]:
    return [*METRICS_SHOWN, *(o for o in found.objectives if o not in METRICS_SHOWN)]


def listed(found: Front, which: Which = "front") -> pd.DataFrame:
    """The rows that a table shows, in its order."""
    own = found.table if which == "all" else found.members
    order = np.argsort(-numbers(own[column_of("average_score", list(own.columns))]), kind="stable")
    own = own.iloc[order]
    default = row_of(found.table, DEFAULT_TRIAL)
    extra = [] if default is None or DEFAULT_TRIAL in own["trial"].tolist() else [default.to_frame().T]
    parts = [part for part in (own, *extra, found.references) if len(part)]
    return pd.concat([p.astype(object) for p in parts], ignore_index=True) if parts else own


def _cells(row: pd.Series, metrics: Sequence[str], settings: Sequence[Setting], found: Front) -> list[str]:
    cells = [trial_name(int(row["trial"]))]
    cells += [mean_sd_of(row, column_of(metric, list(row.index))) for metric in metrics]
    if found.corrected_hypervolume:
        cells += [mean_sd(value(row, "corrected_average_score")), plain(_rounded(value(row, "front_share")))]
    return cells + [plain(row.get(s.column)) for s in settings]


def _rounded(share: float | None) -> float | None:
    return None if share is None else round(share, 2)


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return _lines([head, *rows], for_markdown, " | ", "| ", " |", after_head="|" + " --- |" * len(head))


def _latex(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    body = _lines([head, *rows], for_latex, " & ", "", r" \\", after_head=r"\midrule")
    return f"\\begin{{tabular}}{{{'l' * len(head)}}}\n\\toprule\n{body}\\bottomrule\n\\end{{tabular}}\n"


def _lines(
    rows: Sequence[Sequence[str]], escape: Callable[[Any], str], between: str, left: str, right: str, after_head: str
) -> str:
    lines = [left + between.join(escape(cell) for cell in row) + right for row in rows]
    lines.insert(1, after_head)
    return "\n".join(lines) + "\n"


def _csv(rows: pd.DataFrame, metrics: Sequence[str], settings: Sequence[Setting]) -> str:
    text = io.StringIO()
    write = csv.writer(text, lineterminator="\n")
    spread = [name for metric in metrics for name in (metric, f"{metric}_sd")]
    names = [for_csv(s.name) for s in settings]
    places = ["on_front", "rank", "front_share", "corrected_average_score", "n_seeds"]
    write.writerow(["trial", "name", *places, *spread, *names])
    for _, row in rows.iterrows():
        columns = [column_of(metric, list(row.index)) for metric in metrics]
        values = [value(row, name) for column in columns for name in (column, f"{column}_sd")]
        own = [row.get(key) for key in places]
        name = trial_name(int(row["trial"]))
        write.writerow([row["trial"], name, *map(_csv_cell, [*own, *values, *(row.get(s.column) for s in settings)])])
    return text.getvalue()


def _csv_cell(cell: Any) -> Any:
    if cell is None or pd.isna(cell):
        return ""
    return for_csv(cell) if isinstance(cell, str) else cell
