"""`report`, `front` and `table`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer
from rich.measure import Measurement

from analysis.aggregate import column_of, trials, value
from analysis.cli.shown import Dir, console, table_of
from analysis.constant_answer import notes_on_imbalance
from analysis.description import Setting, Study, shown_settings, study
from analysis.formatting import (
    mean_sd,
    mean_sd_of,
    on_spread,
    plain,
    settings_text,
    trial_name,
    unsigned,
)
from analysis.frames import load
from analysis.fronts import Front, front, write_front
from analysis.known_tasks import known_on_validation
from analysis.reporting.page import report
from analysis.reporting.tables import listed, table
from cfsweep.errors import InputError
from cfsweep.results.addresses import is_address
from cfsweep.terminal import say
from cfsweep.visible import visible

Objectives = Annotated[
    str, typer.Option(help="Two or three, comma-separated. Default: stability,plasticity and the sweep's third.")
]


def report_command(
    root: Dir, out: Annotated[Path | None, typer.Option(help="Default: DIR/report.html.")] = None
) -> None:
    """Write report.html: one file, works offline."""
    say(str(report(root, out)))


def front_command(
    root: Dir,
    image: Annotated[Path | None, typer.Option(help="Also draw it: .png, .svg or .pdf.")] = None,
    objectives: Objectives = "",
) -> None:
    """Print the front and write front.parquet (in a local folder)."""
    from analysis.reporting.picture import picture  # matplotlib takes half a second to import

    about, found, settings = _front(root, objectives)
    _print_front(found, settings)
    if about.score != "accuracy":
        say(f"The score is {about.score}, the higher the better.")
    for note in (*on_spread(found.n_seeds, about.splits), *notes_on_imbalance(about)):
        say(note)
    if known := known_on_validation(root):
        say(known)
    if not is_address(root):
        write_front(found, Path(root) / "front.parquet")
    if image is not None:
        say(str(picture(found, image, len(about.tasks), about.where)))


def table_command(
    root: Dir,
    format: Annotated[str, typer.Option(help="markdown, latex or csv.")] = "markdown",
    all: Annotated[bool, typer.Option("--all", help="Every ranked trial, not the front alone.")] = False,
    objectives: Objectives = "",
) -> None:
    """Print the front as a table, best first."""
    about, found, settings = _front(root, objectives)
    for text in (*found.notes, *on_spread(found.n_seeds, about.splits), *notes_on_imbalance(about)):
        say(text, error=True)
    text = table(found, settings, format, "all" if all else "front")
    say(*text.removesuffix("\n").split("\n"))


def _front(root: str, objectives: str) -> tuple[Study, Front, tuple[Setting, ...]]:
    about, runs = study(root), load(root)
    all_trials = trials(runs)
    wanted = tuple(name.strip() for name in objectives.split(",") if name.strip()) or about.front_objectives
    if len(wanted) not in (2, 3) or len(set(wanted)) != len(wanted):
        raise InputError(f"front: two or three different objectives must be given, but got {', '.join(wanted)}.")
    return about, front(all_trials, wanted, runs, about.score_bounds), shown_settings(about, all_trials)


def _print_front(found: Front, settings: Sequence[Setting]) -> None:
    if len(found.table):
        _print_trials(found, settings)
        volume = found.corrected_hypervolume
        text = f"{len(found.members)} of {len(found.table)} trials on the front. Hypervolume {plain(found.hypervolume)}"
        point = ", ".join(f"{o}={p:g}" for o, p in zip(found.objectives, found.reference_point, strict=True))
        lines = [f"{text},", f"without what noise adds {unsigned(volume)}"] if volume else [text]
        say(*lines[:-1], f"{lines[-1]};", f"reference point {point};", f"normalisation: {found.normalisation}.")
    for note in found.notes:
        say(note)


def _print_trials(found: Front, settings: Sequence[Setting]) -> None:
    """One table where the settings fit beside the results, else two, joined by the trial's number."""
    terminal, rows, members = console(), listed(found), len(found.members)
    metrics = list(dict.fromkeys([*found.objectives, "average_score"]))
    heads = [name.replace("average_score", "avg. score").replace("_", " ") for name in metrics]
    heads = ["trial", *heads, *(["corrected", "front share"] if found.corrected_hypervolume else [])]
    results = [_result_cells(row, metrics, found) for _, row in rows.iterrows()]
    names = [visible(setting.name).replace("_", "_\n") for setting in settings]
    values = [
        [plain(r.get(s.column), "" if int(r["trial"]) < 0 else "–", digits=3) for s in settings]
        for _, r in rows.iterrows()
    ]
    joined = table_of([*heads, *names], [[*r, *v] for r, v in zip(results, values, strict=True)], members)
    # Measured at a width without a limit: at the console's own, rich would measure the table after shrinking it.
    if Measurement.get(terminal, terminal.options.update(max_width=10_000), joined).maximum <= terminal.width:
        terminal.print(joined)
        return
    terminal.print(table_of(heads, results, members))
    texts = [
        [trial_name(int(r["trial"])), settings_text(r, settings)] for _, r in rows.iterrows() if int(r["trial"]) >= 0
    ]
    apart = table_of(["trial"], [], 0)
    apart.add_column("settings", overflow="fold")
    for cells in texts:
        apart.add_row(*cells)
    terminal.print(apart)


def _result_cells(row: pd.Series, metrics: Sequence[str], found: Front) -> list[str]:
    cells = [trial_name(int(row["trial"]))]
    cells += [mean_sd_of(row, column_of(name, list(row.index))) for name in metrics]
    if found.corrected_hypervolume is None:
        return cells
    true, share = value(row, "corrected_average_score"), value(row, "front_share")
    return [*cells, mean_sd(true), "–" if share is None else f"{share:.2f}"]
