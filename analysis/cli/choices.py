"""`select` and `compare`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import pandas as pd
import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from analysis.aggregate import row_of, trials
from analysis.among import among
from analysis.choice import select
from analysis.cli.shown import Dir, console, head_of
from analysis.comparison import comparison
from analysis.confirmation import columns, confirmation, confirmed_in, is_tested, known_on_test, luck
from analysis.constant_answer import beaten_by_majority, tasks_behind
from analysis.description import Root, Setting, shown_settings, study
from analysis.formatting import (
    mean_sd_of,
    on_correction,
    settings_text,
    trial_name,
)
from analysis.frames import load
from analysis.headroom import note_on_gain
from analysis.known_tasks import known_on_validation
from analysis.recipe import next_command, space_file, space_text
from analysis.reporting import differences
from analysis.seeds import being_added, notes_on_seeds
from cfsweep.results.addresses import in_command
from cfsweep.terminal import say
from cfsweep.texts import score_text


def select_command(
    root: Dir,
    rule: Annotated[str, typer.Option(help="average_score, mixed, stability_at_least or knee.")] = "average_score",
    at_least: Annotated[float | None, typer.Option(help="The stability that stability_at_least asks for.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Choose anew; the record keeps the old choice.")] = False,
) -> None:
    """Choose a trial on validation data, and put it on record."""
    record = select(root, rule, at_least, replace)
    about, runs = study(root), load(root)
    chosen, all_trials = int(record["trial"]), trials(runs)
    settings = shown_settings(about, all_trials)
    say(f"trial {trial_name(chosen)}, by {record['rule']} on validation, selected {record['selected_at']}")
    say(_settings_of(all_trials, chosen, settings))
    for note in notes_on_seeds(runs):
        say(note)
    if beaten := beaten_by_majority(all_trials, chosen):
        say(f"Trial {trial_name(chosen)} {beaten}.")
    elif said := tasks_behind(root, chosen, being_added(runs)):
        say(said)
    if known := known_on_validation(root, chosen):
        say(known)
    if said := note_on_gain(runs, chosen):
        say(said)
    others, row = among(runs, "average_score"), row_of(all_trials, chosen)
    shown, corrected = mean_sd_of(row, "val_average_score"), others.corrected(chosen)
    shown += "" if corrected is None else f", corrected {score_text(corrected, 3)}"
    say(f"average score ({about.score}) on validation data {shown}")
    say(on_correction(others.n_seeds, len(others.trials)))
    if is_tested(root):
        show_confirmation(root)
    if confirmed_in(root) is None:
        say(f"Test it, with fresh seeds: cfsweep confirm {in_command(root)}")
    if row is not None:
        say(f"To train it alone with more seeds, save this as {space_file(root, chosen)}:", "")
        say(*space_text(about, row).split("\n"), "and run", "", next_command(about, root, chosen, selected=True))


def show_confirmation(root: Root) -> None:
    """Prints what fresh seeds and test data say of the trials that were confirmed."""
    found = confirmation(root)
    cells = columns(found)
    heads = [head.replace(", ", ",\n") for head in cells]
    shown = Table(box=SIMPLE_HEAD, title="average score at the end", title_justify="left")
    for head in heads:
        shown.add_column(head_of(head))
    for row in zip(*cells.values(), strict=True):
        shown.add_row(*row)
    console().print(shown)
    for said in filter(None, (luck(found), known_on_test(root))):
        say(said)


def compare_command(
    root: Dir,
    other: Annotated[str | None, typer.Argument(metavar="[DIR2]", help="A second results folder.")] = None,
    first: Annotated[
        int | None, typer.Option(help="A trial, named beforehand. Default: the chosen one; in one folder, 0.")
    ] = None,
    second: Annotated[int | None, typer.Option(help="A trial, named beforehand. Default: the chosen one.")] = None,
) -> None:
    """Compare two folders, or two trials of one, over the seeds that both have."""
    found = comparison(root, other, first, second)
    # Narrow gaps: seven columns are to fit into the 100 characters of a log.
    shown = Table(*differences.heads(found), box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for row in differences.cells(found):
        shown.add_row(*row)
    console().print(shown)
    for line in differences.lines(found):
        say(line)


def _settings_of(all_trials: pd.DataFrame, trial: int, settings: Sequence[Setting]) -> str:
    row = row_of(all_trials, trial)
    return "" if row is None else settings_text(row, settings)
