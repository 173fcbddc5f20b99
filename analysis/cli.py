"""`python -m analysis`: thin over the functions of the same names.

Exit codes: 0 done, 1 the answer is no, 2 bad input (one line on stderr).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import pandas as pd
import pyarrow.fs as pafs
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from analysis import bundle_gate
from analysis.aggregate import column_of, row_of, trials, value
from analysis.among import among
from analysis.choice import select
from analysis.comparison import comparison, gate
from analysis.confirmation import columns, confirmation, confirmed_in, is_tested, luck
from analysis.constant_answer import beaten_by_majority, notes_on_imbalance
from analysis.description import Root, Setting, Study, shown_settings, study
from analysis.files import local_folder
from analysis.formatting import (
    mean_sd,
    mean_sd_of,
    on_correction,
    on_spread,
    one_line,
    plain,
    settings_text,
    trial_name,
    unsigned,
)
from analysis.frames import load
from analysis.fronts import Front, front, write_front
from analysis.recipe import next_command, space_file, space_text
from analysis.reporting import differences
from analysis.reporting.page import report
from analysis.reporting.tables import listed, table
from analysis.seeds import notes_on_seeds
from cfsweep.errors import NO_FAULT_OF_OURS, CfsweepError, InputError, few, not_written
from cfsweep.metrics.answers import PairedAnswers
from cfsweep.results.reader import filesystem

app = typer.Typer(
    help="Looks at a results folder, local or remote, finished or not.",
    add_completion=False,
    pretty_exceptions_enable=False,
)
Dir = Annotated[str, typer.Argument(metavar="DIR", help="A results folder, or a URI such as s3://bucket/folder.")]
MINIMUM = "From 0 to 1, for the corrected mean, without an interval."
Objectives = Annotated[
    str, typer.Option(help="Two or three, comma-separated. Default: stability,plasticity and the sweep's third.")
]


@app.command("report")
def report_command(
    root: Dir, out: Annotated[Path | None, typer.Option(help="Default: DIR/report.html.")] = None
) -> None:
    """Write report.html: one file, works offline."""
    typer.echo(report(root, out))


@app.command("front")
def front_command(
    root: Dir,
    image: Annotated[Path | None, typer.Option(help="Also draw it: .png, .svg or .pdf.")] = None,
    objectives: Objectives = "",
) -> None:
    """Print the front and write front.parquet (in a local folder)."""
    from analysis.reporting.picture import picture  # matplotlib takes half a second to import

    about, found, settings = _front(root, objectives)
    _print_front(found, settings)
    for note in (*on_spread(found.n_seeds, about.splits), *notes_on_imbalance(about)):
        typer.echo(note)
    fs, _ = filesystem(root)
    if isinstance(fs, pafs.LocalFileSystem):
        write_front(found, local_folder(root) / "front.parquet")
    if image is not None:
        typer.echo(picture(found, image, len(about.tasks), about.where))


@app.command("table")
def table_command(
    root: Dir,
    format: Annotated[str, typer.Option(help="markdown, latex or csv.")] = "markdown",
    all: Annotated[bool, typer.Option("--all", help="Every ranked trial, not the front alone.")] = False,
    objectives: Objectives = "",
) -> None:
    """Print the front as a table, best first."""
    about, found, settings = _front(root, objectives)
    for text in (*found.notes, *on_spread(found.n_seeds, about.splits), *notes_on_imbalance(about)):
        typer.echo(text, err=True)
    typer.echo(table(found, settings, format, "all" if all else "front"), nl=False)


@app.command("gate")
def gate_command(
    context: typer.Context,
    root: Annotated[str | None, typer.Argument(metavar="DIR", help="A results folder, or a URI.")] = None,
    min_average_accuracy: Annotated[float | None, typer.Option(help=MINIMUM)] = None,
    min_stability: Annotated[float | None, typer.Option(help=MINIMUM)] = None,
    min_plasticity: Annotated[float | None, typer.Option(help=MINIMUM)] = None,
    beats: Annotated[
        str | None, typer.Option(help="default or naive; asks for the whole interval, and takes three seeds.")
    ] = None,
    margin: Annotated[
        float, typer.Option(help="How far above the opponent the interval must lie, with --beats.")
    ] = 0.0,
    champion: Annotated[str | None, typer.Option(help="A bundle, or its URI: the model that is in service.")] = None,
    candidate: Annotated[
        str | None, typer.Option(help="A bundle, or its URI: the one that is to take its place.")
    ] = None,
    max_drop: Annotated[
        float | None, typer.Option(help="The most by which the accuracy of an earlier task may fall, such as 0.02.")
    ] = None,
    data: Annotated[str | None, typer.Option(help="Where the data sets lie (default: $CFSWEEP_DATA).")] = None,
    stream: Annotated[
        str | None, typer.Option(help="The candidate's stream, if it is no more where its bundle says.")
    ] = None,
    json: Annotated[
        Path | None, typer.Option(help="A file to write what was found to, for a program.", dir_okay=False)
    ] = None,
) -> None:
    """Exit with 1 unless a chosen trial, or a new model, holds what is asked.

    DIR: the study's chosen trial, on validation data, luck set aside. A minimum is held against the corrected mean
    alone, without an interval: luck decides about a trial that is truly near it. --beats asks for the whole interval.

    --champion and --candidate: two bundles on the same test examples, task by task. It fails if the candidate's
    accuracy on any task that the champion has learned is lower by more than --max-drop, whatever others gained.
    """
    minima = (min_average_accuracy, min_stability, min_plasticity)
    of_a_study = _given(("DIR", "--min-average-accuracy", "--min-stability", "--min-plasticity"), (root, *minima))
    of_a_study += _given(("--beats", "--margin"), (beats, margin or None))
    names = ("--champion", "--candidate", "--max-drop", "--data", "--stream", "--json")
    of_models = _given(names, (champion, candidate, max_drop, data, stream, json))
    if of_a_study and of_models:
        raise InputError(
            f"gate: it judges the trial of a study or compares two models, but got {few(of_a_study)} and "
            f"{few(of_models)}. Leave out either."
        )
    if of_models:
        if champion is None or candidate is None:
            raise InputError(
                f"gate: two models are compared, but got {few(of_models)}. Give --champion and --candidate."
            )
        _gate_of_models(context.obj, champion, candidate, bundle_gate.require_max_drop(max_drop), (data, stream), json)
        return
    if root is None:
        raise InputError("gate: nothing to judge. Give a results folder, or --champion and --candidate.")
    for line in gate(root, *minima, beats, margin):
        typer.echo(line)


def _given(names: Sequence[str], values: Sequence[object]) -> list[str]:
    return [name for name, value in zip(names, values, strict=True) if value is not None]


PairedAnswersOf = Callable[[str, str, str | None, str | None], list[PairedAnswers]]


def _gate_of_models(
    answers_of: PairedAnswersOf | None,  # of the caller, as models take torch
    champion: str,
    candidate: str,
    max_drop: float,
    place: tuple[str | None, str | None],
    json: Path | None,
) -> None:
    if answers_of is None:
        raise InputError("gate: `python -m analysis` loads no models. Run `cfsweep gate` with the same options.")
    answers = answers_of(champion, candidate, *place)
    verdicts = [bundle_gate.verdict(of_task, number, max_drop) for number, of_task in enumerate(answers)]
    if json is not None:
        bundle_gate.write_json(json, champion, candidate, verdicts, max_drop)
    rows = [bundle_gate.cells(one) for one in verdicts]
    _console().print(_table(bundle_gate.HEADS, rows, sum(one.is_earlier for one in verdicts)))
    for line in bundle_gate.notes(verdicts, max_drop):
        typer.echo(line)
    typer.echo(bundle_gate.require_none_fell(verdicts, max_drop))


@app.command("select")
def select_command(
    root: Dir,
    rule: Annotated[
        str, typer.Option(help="average_accuracy, mixed, stability_at_least or knee.")
    ] = "average_accuracy",
    at_least: Annotated[float | None, typer.Option(help="The stability that stability_at_least asks for.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Choose anew; the record keeps the old choice.")] = False,
) -> None:
    """Choose a trial on validation data, and put it on record."""
    record = select(root, rule, at_least, replace)
    about, runs = study(root), load(root)
    chosen, all_trials = int(record["trial"]), trials(runs)
    settings = shown_settings(about, all_trials)
    typer.echo(f"trial {trial_name(chosen)}, by {record['rule']} on validation, selected {record['selected_at']}")
    typer.echo(_settings_of(all_trials, chosen, settings))
    for note in notes_on_seeds(runs):
        typer.echo(note)
    if beaten := beaten_by_majority(all_trials, chosen):
        typer.echo(f"Trial {trial_name(chosen)} {beaten}.")
    others, row = among(runs, "average_accuracy"), row_of(all_trials, chosen)
    shown, corrected = mean_sd_of(row, "val_average_accuracy"), others.corrected(chosen)
    shown += "" if corrected is None else f", corrected {corrected:.3f}"
    typer.echo(f"average accuracy on validation data {shown}")
    typer.echo(on_correction(others.n_seeds, len(others.trials)))
    if is_tested(root):
        show_confirmation(root)
    if confirmed_in(root) is None:
        typer.echo(f"Test it, with fresh seeds: cfsweep confirm {root}")
    if row is not None:
        typer.echo(f"To train it alone with more seeds, save this as {space_file(root, chosen)}:\n")
        typer.echo(f"{space_text(about, row)}\nand run\n\n{next_command(about, root, chosen, selected=True)}")


def show_confirmation(root: Root) -> None:
    """Prints what fresh seeds and test data say of the trials that were confirmed."""
    found = confirmation(root)
    cells = columns(found)
    heads = [head.replace(", ", ",\n") for head in cells]
    shown = Table(*heads, box=SIMPLE_HEAD, title="average accuracy at the end", title_justify="left")
    for row in zip(*cells.values(), strict=True):
        shown.add_row(*row)
    _console().print(shown)
    if said := luck(found):
        typer.echo(said)


@app.command("compare")
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
    _console().print(shown)
    for line in differences.lines(found):
        typer.echo(line)


def _front(root: str, objectives: str) -> tuple[Study, Front, tuple[Setting, ...]]:
    about, runs = study(root), load(root)
    all_trials = trials(runs)
    wanted = tuple(name.strip() for name in objectives.split(",") if name.strip()) or about.front_objectives
    if len(wanted) not in (2, 3) or len(set(wanted)) != len(wanted):
        raise InputError(f"front: two or three different objectives must be given, but got {', '.join(wanted)}.")
    return about, front(all_trials, wanted, runs), shown_settings(about, all_trials)


def _print_front(found: Front, settings: Sequence[Setting]) -> None:
    if len(found.table):
        _print_trials(found, settings)
        volume = found.corrected_hypervolume
        text = f"{len(found.members)} of {len(found.table)} trials on the front. Hypervolume {plain(found.hypervolume)}"
        text += f",\nwithout what noise adds {unsigned(volume)}" if volume else ""
        point = ", ".join(f"{o}={p:g}" for o, p in zip(found.objectives, found.reference_point, strict=True))
        typer.echo(f"{text};\nreference point {point};\nnormalisation: {found.normalisation}.")
    for note in found.notes:
        typer.echo(note)


def _print_trials(found: Front, settings: Sequence[Setting]) -> None:
    """One table where the settings fit beside the results, else two, joined by the trial's number."""
    console, rows, members = _console(), listed(found), len(found.members)
    metrics = list(dict.fromkeys([*found.objectives, "average_accuracy"]))
    heads = [name.replace("average_accuracy", "avg. accuracy").replace("_", " ") for name in metrics]
    heads = ["trial", *heads, *(["corrected", "front share"] if found.corrected_hypervolume else [])]
    results = [_result_cells(row, metrics, found) for _, row in rows.iterrows()]
    names = [setting.name.replace("_", "_\n") for setting in settings]
    values = [
        [plain(r.get(s.column), "" if int(r["trial"]) < 0 else "–", digits=3) for s in settings]
        for _, r in rows.iterrows()
    ]
    joined = _table([*heads, *names], [[*r, *v] for r, v in zip(results, values, strict=True)], members)
    # Measured at a width without a limit: at the console's own, rich would measure the table after shrinking it.
    if Measurement.get(console, console.options.update(max_width=10_000), joined).maximum <= console.width:
        console.print(joined)
        return
    console.print(_table(heads, results, members))
    texts = [
        [trial_name(int(r["trial"])), settings_text(r, settings)] for _, r in rows.iterrows() if int(r["trial"]) >= 0
    ]
    apart = _table(["trial"], [], 0)
    apart.add_column("settings", overflow="fold")
    for cells in texts:
        apart.add_row(*map(Text, cells))
    console.print(apart)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], members: int) -> Table:
    """A table whose cells keep to one line, with a gap after the first `members` rows."""
    shown = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for head in heads:
        shown.add_column(Text(head), no_wrap=True)
    for place, cells in enumerate(rows):
        if place == members:
            shown.add_section()
        shown.add_row(*map(Text, cells))
    return shown


def _result_cells(row: pd.Series, metrics: Sequence[str], found: Front) -> list[str]:
    cells = [trial_name(int(row["trial"]))]
    cells += [mean_sd_of(row, column_of(name, list(row.index))) for name in metrics]
    if found.corrected_hypervolume is None:
        return cells
    true, share = value(row, "corrected_average_accuracy"), value(row, "front_share")
    return [*cells, mean_sd(true), "–" if share is None else f"{share:.2f}"]


def _settings_of(all_trials: pd.DataFrame, trial: int, settings: Sequence[Setting]) -> str:
    row = row_of(all_trials, trial)
    return "" if row is None else settings_text(row, settings)


def _console() -> Console:
    """A terminal's own width; 100 columns in a pipe or a log."""
    return Console(width=None if sys.stdout.isatty() else 100, highlight=False)


def main() -> None:
    """The entry point: an error of `cfsweep.errors`, or in the command line, becomes one line and an exit code."""
    try:
        sys.exit(app(sys.argv[1:] or ["--help"], prog_name="python -m analysis", standalone_mode=False))
    except (CfsweepError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in NO_FAULT_OF_OURS:
            raise
        told = not_written(error) if isinstance(error, OSError) else error
        print(one_line(str(told), limit=2000), file=sys.stderr)
        sys.exit(told.exit_code)
    except Exception as error:
        # Typer's own complaints about the command line, as in `cfsweep.cli`.
        if not hasattr(error, "format_message"):
            raise
        command = getattr(getattr(error, "ctx", None), "command_path", "python -m analysis")
        print(one_line(f"{error.format_message().rstrip('.')}. See `{command} --help`."), file=sys.stderr)
        sys.exit(InputError.exit_code)
