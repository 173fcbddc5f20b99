"""`cfsweep confirm`, `export`, `adopt`, `continue`, `predict` and `log`: from a sweep, or elsewhere, to a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from cfsweep.cli.saying import (
    EXIT_FAILED_TRIALS,
    AcceptOption,
    AddressOption,
    ArgOption,
    GpusOption,
    HangAfterOption,
    InsecureOption,
    PatienceOption,
    RetriesOption,
    TrustOption,
    WorkersOption,
    again_with,
    args_of,
    called,
)
from cfsweep.errors import EXIT_INTERRUPTED, InputError
from cfsweep.results.addresses import in_command
from cfsweep.terminal import Terminal
from cfsweep.texts import score_text
from cfsweep.visible import tell

if TYPE_CHECKING:
    from cfsweep.bundle import Manifest
    from cfsweep.sweeping.next_trials import Search

BundleArgument = Annotated[
    str, typer.Argument(help="The folder that `cfsweep export` or `cfsweep continue` wrote, or its URI.")
]
ToOption = Annotated[str, typer.Option(help="The folder to write, or its URI; it must not exist.", metavar="FOLDER")]
OnnxOption = Annotated[bool, typer.Option("--onnx", help="Write the program as model.onnx, too, for onnxruntime.")]
SHOWN = 5  # of the trials of a search, the best first


def confirm(
    folder: Annotated[str, typer.Argument(help="The results folder of a sweep, in which a trial was selected.")],
    trials: Annotated[
        str,
        typer.Option(
            help="selected (with the default and the references), front (all of it, too), or numbers.",
            metavar="selected|front|N,M",
        ),
    ] = "selected",
    seeds: Annotated[int, typer.Option(help="With so many seeds that the sweep did not use.", metavar="N", min=1)] = 5,
    refit: Annotated[bool, typer.Option("--refit", help="Train on the validation data, too.")] = False,
    workers: WorkersOption = None,
    gpus_per_worker: GpusOption = None,
    address: AddressOption = None,
    insecure: InsecureOption = False,
    retries: RetriesOption = 0,
    patience: PatienceOption = 600.0,
    hang_after: HangAfterOption = None,
    accept_changes: AcceptOption = False,
    trust: TrustOption = False,
) -> None:
    """Train chosen trials once more with fresh seeds, test them, and keep their models."""
    from analysis.cli import show_confirmation
    from cfsweep.library.models import confirmed
    from cfsweep.sweeping.progress import Display
    from cfsweep.sweeping.scheduler import Workers, endurance_of

    console, where = Terminal(), Workers(workers, address, gpus_per_worker, insecure, again_with())
    endurance = endurance_of(where, retries, patience, hang_after)
    again = f"cfsweep confirm {in_command(folder)} --trials {trials} --seeds {seeds}" + (" --refit" if refit else "")
    try:
        display = Display(console, live=workers != 0)
        outcome = confirmed(folder, trials, seeds, refit, where, display, endurance, accept_changes=accept_changes)
    except KeyboardInterrupt:
        tell(f"interrupted; `{again}` goes on")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    if outcome.interrupted:
        console.say(f"interrupted. `{again}` goes on.")
        raise typer.Exit(EXIT_INTERRUPTED)
    for (trial, seed), reason in sorted(outcome.status.failures.items())[:5]:
        console.say(f"{called(trial)}, seed {seed} failed: {reason}")
    show_confirmation(folder)
    if outcome.status.failures:
        raise typer.Exit(EXIT_FAILED_TRIALS)


def export(
    folder: Annotated[str, typer.Argument(help="The results folder of a sweep of which trials were confirmed.")],
    to: ToOption,
    trial: Annotated[str, typer.Option(help="selected, or a number.", metavar="selected|N")] = "selected",
    seed: Annotated[str, typer.Option(help="A seed that confirmed it, or best (on validation data).")] = "best",
    refit: Annotated[bool, typer.Option("--refit", help="One that was trained on the validation data, too.")] = False,
    without_data: Annotated[
        bool, typer.Option("--without-data", help="Leave the examples out that rehearsals keep.")
    ] = False,
    onnx: OnnxOption = False,
    trust: TrustOption = False,
) -> None:
    """Write the model of a confirmed run as a bundle: weights, a program for torch alone, a card. (Of a trainer from
    outside: the state that it has left.)"""
    from cfsweep.library.models import export_state, exported, trained_outside

    if trained_outside(folder):
        if refit or without_data or onnx:
            raise InputError("export: the state of a trainer from outside has no such options. Leave them out.")
        said = export_state(folder, to, trial=trial, seed=seed)
        shown = f"{called(said['trial'])}, seed {said['seed']}: the state that its trainer has left, and run.json"
        Terminal().say(f"{shown}, in {to}")
        return
    number, about = exported(folder, to, trial, seed, refit=refit, with_data=not without_data, onnx=onnx)
    _say_scores(f"{called(number)}, seed {about.seed}", about, to)


def continue_(
    bundle: BundleArgument,
    task: Annotated[
        Path,
        typer.Option(
            help="The next task: an .npz, .parquet or .csv file, or a folder of parts or images.", metavar="FILE"
        ),
    ],
    to: ToOption,
    assign: Annotated[
        list[str] | None,
        typer.Option("--set", help="A setting for this task, such as lr=0.001; any number.", metavar="KEY=VALUE"),
    ] = None,
    sweep: Annotated[
        Path | None,
        typer.Option(help="Search the settings for this task: a YAML file, or a shipped space.", metavar="SPACE"),
    ] = None,
    old: Annotated[
        str | None,
        typer.Option(
            help="The stream of the tasks before, whose validation data score a trial, too (default: the examples that "
            "the bundle has kept).",
            metavar="STREAM",
        ),
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Where the data sets of --old lie (default: $CFSWEEP_DATA).", metavar="DIR")
    ] = None,
    trials: Annotated[
        int | None, typer.Option(help="How many settings to try (default: 48).", metavar="N", min=1)
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(help="Try each with this many seeds (default: 1).", metavar="N", min=1)
    ] = None,
    onnx: OnnxOption = False,
    trust: TrustOption = False,
) -> None:
    """Train a bundle's model on one more task, with what its remedies have kept, and write the bundle of that."""
    from cfsweep.bundle.card import said_of_last_task
    from cfsweep.library.models import continued

    console = Terminal()
    try:
        with console.status("") as state:

            def said(done: int, total: int) -> None:
                state.update(f"{done} of {total} trials")

            about, found = continued(
                bundle,
                task,
                to,
                assign or [],
                space=sweep,
                old=old,
                data=data,
                trials=trials,
                seeds=seeds,
                onnx=onnx,
                progress=said,
            )
    except KeyboardInterrupt:
        goes_on = "the same command goes on with the trials that have ended" if sweep else "nothing was written"
        tell(f"interrupted; {goes_on}")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    if found is not None:
        _show_search(found, console)
    console.say(f"{said_of_last_task(about)}; in {to}")
    _say_behind_constant(about)


def predict(
    bundle: BundleArgument,
    table: Annotated[
        str,
        typer.Argument(
            help="Raw rows: a .csv, .tsv or .parquet file, or a folder of parts; or a folder of images.",
            metavar="WHERE",
        ),
    ],
    to: Annotated[str, typer.Option(help="The .csv or .parquet file to write; it must not exist.", metavar="FILE")],
    task: Annotated[
        str | None, typer.Option(help="Of which task the rows are, where the model must be told.", metavar="NAME")
    ] = None,
    trust: TrustOption = False,
) -> None:
    """Answer the rows of a table, or a folder of images, by a bundle's model: the prediction, and how likely each label
    is."""
    from cfsweep.library.predictions import predict as predict_rows

    found = predict_rows(bundle, table, to, task=task)
    what = "images" if "file" in found else "rows"
    Terminal().say(f"{len(found)} {what} answered; in {to}")


def adopt(
    weights: Annotated[
        Path, typer.Argument(help="A .safetensors file, or one that torch.save wrote of a state_dict.", metavar="FILE")
    ],
    stream: Annotated[
        str, typer.Option(help="The tasks that the model has learned: a stream, as for `run`.", metavar="STREAM")
    ],
    to: ToOption,
    arg: ArgOption = None,
    space: Annotated[
        Path | None,
        typer.Option(help="Its network, and remedies and settings to go on with: a YAML file.", metavar="SPACE"),
    ] = None,
    scenario: Annotated[
        str | None, typer.Option(help="task-il, domain-il or class-il (default: the space's).", metavar="NAME")
    ] = None,
    seed: Annotated[int, typer.Option(help="With which it goes on.", metavar="N", min=0)] = 0,
    data: Annotated[
        str | None, typer.Option(help="Where the data sets lie (default: $CFSWEEP_DATA).", metavar="DIR")
    ] = None,
    assign: Annotated[
        list[str] | None,
        typer.Option("--set", help="Such as network.args.hidden=256 or lr=0.001; any number.", metavar="KEY=VALUE"),
    ] = None,
    trust: TrustOption = False,
) -> None:
    """Write the bundle of a model that was trained elsewhere; it goes on from its weights alone."""
    from cfsweep.library.adopted import adopted

    about = adopted(
        weights,
        stream,
        to,
        space=space,
        ingredients=(),
        settings=assign or [],
        scenario=scenario,
        seed=seed,
        data=data,
        args=args_of(arg),
    )
    _say_scores("adopted", about, to)
    for part, rows in about.scores.items():
        shown = ("–" if x is None else score_text(x) for x in rows[-1])
        by_task = ", ".join(f"`{name}` {score}" for name, score in zip(about.task_names, shown, strict=True))
        Terminal().say(f"  {part}, by task: {by_task}")


def log(
    bundle: BundleArgument,
    name: Annotated[str, typer.Option(help="The registered model, of which the bundle becomes a version.")],
    alias: Annotated[str | None, typer.Option(help="Move this alias to the version, such as champion.")] = None,
    uri: Annotated[
        str | None, typer.Option(help="The tracking server (default: MLflow's own, $MLFLOW_TRACKING_URI).")
    ] = None,
    experiment: Annotated[
        str | None, typer.Option(help="The experiment of the run, made if there is none (default: MLflow's own).")
    ] = None,
) -> None:
    """Log a bundle in MLflow: a model that it loads and serves, with settings and scores, and a version of it."""
    from cfsweep.library.models import log as log_bundle

    try:
        found = log_bundle(bundle, name, alias=alias, uri=uri, experiment=experiment)
    except KeyboardInterrupt:
        tell("interrupted; the same command logs what is not there yet")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    Terminal().say(repr(found))


def _say_scores(what: str, about: Manifest, to: str) -> None:
    from cfsweep.bundle.card import IN_WORDS

    said = ", ".join(f"{score_text(value)} on {IN_WORDS[part]}" for part, value in about.average.items())
    said = said or "not known of every task"
    Terminal().say(f"{what}: {about.score} {said}; in {to}")
    _say_behind_constant(about)


def _say_behind_constant(about: Manifest) -> None:
    from cfsweep.bundle.card import said_of_constant

    if said := said_of_constant(about):
        Terminal().say(said)


def _show_search(found: Search, console: Terminal) -> None:
    """The best trials and the bundle's own settings, trial 0, beside what all began with."""
    rows = found.rows()
    ended = sorted((row for row in rows if row["objective_mixed"] is not None), key=lambda row: -row["objective_mixed"])
    table = Table("trial", *found.names, "old tasks", "new task", "objective", box=None, pad_edge=False)
    old, new = found.before_old_and_new
    table.add_row("before", *("" for _ in found.names), score_text(old), score_text(new), "")
    for row in [*ended[:SHOWN], *(row for row in ended[SHOWN:] if row["trial"] == 0)]:
        settings = [_short(row[f"hp_{name}"]) for name in found.names]
        scores = [score_text(row[key]) for key in ("val_old", "val_new", "objective_mixed")]
        table.add_row(str(row["trial"]), *settings, *scores)
    console.print(table)
    failed = f", {len(rows) - len(ended)} failed" if len(ended) < len(rows) else ""
    by = "the examples that the bundle has kept, which it is trained on" if found.rehearsed else "validation data"
    console.say(
        f"trial {found.best.number} is the best of {len(rows)}{failed}; old tasks were scored by {by}. The best of "
        "many looks better than it is: `cfsweep gate` says on test data what it is worth.",
    )

    for name in found.shrinks:
        console.say(
            f"{name} falls from {found.buffers[name]:g} to {found.best.values[name]}, and cannot grow again.",
        )


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
