"""The command line; thin. Heavy imports happen inside the commands, so that `--help` answers at once."""

from __future__ import annotations

import atexit
import gc
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from cfsweep.errors import EXIT_INTERRUPTED, NO_FAULT_OF_OURS, CfsweepError, InputError, not_written, unknown
from cfsweep.library.repeatable import repeatable
from cfsweep.version import VERSION

if TYPE_CHECKING:
    from cfsweep.metrics.answers import PairedAnswers
    from cfsweep.results.status import Status
    from cfsweep.sweeping.study import Outcome, Prepared

EXIT_FAILED_TRIALS = 3
LISTS = ("streams", "ingredients", "spaces", "networks", "targets")

app = typer.Typer(
    help="Sweeps for the remedies against catastrophic forgetting.",
    add_completion=False,
    pretty_exceptions_enable=False,
)

WorkersOption = Annotated[
    int | None,
    typer.Option(help="Processes that train (default: one per CPU or GPU); 0 trains in this one.", min=0, metavar="N"),
]
AddressOption = Annotated[
    str | None, typer.Option(help="A Ray cluster: auto or host:port (default: this machine).", metavar="ADDRESS")
]
GpusOption = Annotated[float | None, typer.Option(help="GPUs per worker, also a fraction.", min=0, metavar="X")]
EXAMPLES = """
Examples:

cfsweep run replay --stream split-digits --scenario class-il --trials 40 --seeds 3

cfsweep run my-space.yaml --stream path/to/tasks --set lr=0.001 --dry-run
"""


@app.command(epilog=EXAMPLES)
def run(
    space: Annotated[
        Path, typer.Argument(help="The search space: a YAML file, or a name of `cfsweep list spaces`.", metavar="SPACE")
    ],
    stream: Annotated[
        str | None,
        typer.Option(
            help="A stream's name, a folder of task files, or package.module:function (default: split-digits).",
            metavar="STREAM",
        ),
    ] = None,
    scenario: Annotated[
        str | None, typer.Option(help="task-il, domain-il or class-il (default: the space's).", metavar="NAME")
    ] = None,
    trials: Annotated[
        int | None, typer.Option(help="How many configurations to try (default: 48).", metavar="N")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(help="Train every trial with this many seeds (default: 1).", metavar="N")
    ] = None,
    splits: Annotated[
        int | None,
        typer.Option(help="Cut validation data in N ways, for the seeds in turns (default: 1).", metavar="N"),
    ] = None,
    objective: Annotated[str | None, typer.Option(help="mixed or pareto (default: mixed).", metavar="NAME")] = None,
    data: Annotated[
        str | None, typer.Option(help="Where the data sets lie (default: $CFSWEEP_DATA).", metavar="DIR")
    ] = None,
    download: Annotated[bool, typer.Option("--download", help="Fetch missing data sets into --data.")] = False,
    workers: WorkersOption = None,
    gpus_per_worker: GpusOption = None,
    pack: Annotated[
        str | None,
        typer.Option(help="Runs trained together: a number, or auto (the default; 8 on a CPU).", metavar="N|auto"),
    ] = None,
    address: AddressOption = None,
    out: Annotated[
        Path | None, typer.Option(help="The results folder (default: runs/SPACE-STREAM).", metavar="DIR")
    ] = None,
    assign: Annotated[
        list[str] | None,
        typer.Option("--set", help="Such as lr=0.001 or network.args.hidden=256; any number.", metavar="KEY=VALUE"),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be swept, and stop.")] = False,
) -> None:
    """Sweep a search space over a task stream; go on if the folder holds this study already."""
    from cfsweep.library.sweeps import begun, described, options_of
    from cfsweep.sweeping.progress import Display
    from cfsweep.sweeping.scheduler import Workers

    options = options_of(stream, scenario, trials, seeds, splits, objective, data, download, pack)
    console = Console()
    if dry_run:
        prepared, folder = described(space, options, assign or [], out)
        from cfsweep.sweeping.dry_run import show_plan

        show_plan(prepared, folder, console)
        return

    def announce(prepared: Prepared, folder: Path) -> None:
        from cfsweep.sweeping.dry_run import show_notes
        from cfsweep.sweeping.study import with_identity_version_of

        study_id = with_identity_version_of(folder, prepared).config.study_id
        console.print(f"study {study_id} in {folder}", highlight=False, soft_wrap=True)
        show_notes(prepared, console)

    where, display = Workers(workers, address, gpus_per_worker), Display(console, live=workers != 0)
    outcome, folder = begun(space, options, assign or [], out, where, display, announce)
    _close(outcome, folder, console)


@app.command()
def resume(
    folder: Annotated[Path, typer.Argument(help="The results folder of the study.")],
    trials: Annotated[str, typer.Option(help="Add trials to the budget: +N.", metavar="+N")] = "+0",
    seeds: Annotated[
        int | None,
        typer.Option(
            help="So many seeds in all for every trial that was not stopped, and the references.", metavar="N", min=1
        ),
    ] = None,
    workers: WorkersOption = None,
    gpus_per_worker: GpusOption = None,
    address: AddressOption = None,
) -> None:
    """Go on with a study that was interrupted, or extend it."""
    if not trials.startswith("+") or not trials[1:].isdigit():
        raise InputError(f"--trials {trials}: `+N` is needed, the number of trials to add. For example `--trials +20`.")
    from cfsweep.sweeping import study
    from cfsweep.sweeping.progress import Display
    from cfsweep.sweeping.scheduler import Workers

    console = Console()
    where, display = Workers(workers, address, gpus_per_worker), Display(console, live=workers != 0)
    _close(study.resume(folder, int(trials[1:]), seeds, where, display), folder, console)


@app.command()
def confirm(
    folder: Annotated[Path, typer.Argument(help="The results folder of a sweep, in which a trial was selected.")],
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
) -> None:
    """Train chosen trials once more with fresh seeds, test them, and keep their models."""
    from analysis.cli import show_confirmation
    from cfsweep.library.models import confirmed
    from cfsweep.sweeping.progress import Display
    from cfsweep.sweeping.scheduler import Workers

    console, where = Console(), Workers(workers, address, gpus_per_worker)
    again = f"cfsweep confirm {folder} --trials {trials} --seeds {seeds}" + (" --refit" if refit else "")
    try:
        outcome = confirmed(folder, trials, seeds, refit, where, Display(console, live=workers != 0))
    except KeyboardInterrupt:
        _complain(f"interrupted; `{again}` goes on")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    if outcome.interrupted:
        console.print(f"interrupted. `{again}` goes on.", highlight=False, soft_wrap=True)
        raise typer.Exit(EXIT_INTERRUPTED)
    for (trial, seed), reason in sorted(outcome.status.failures.items())[:5]:
        console.print(f"{_called(trial)}, seed {seed} failed: {reason}", highlight=False, markup=False, soft_wrap=True)
    show_confirmation(folder)
    if outcome.status.failed:
        raise typer.Exit(EXIT_FAILED_TRIALS)


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(help="The results folder of a sweep of which trials were confirmed.")],
    to: Annotated[Path, typer.Option(help="The folder to write; it must not exist.", metavar="FOLDER")],
    trial: Annotated[str, typer.Option(help="selected, or a number.", metavar="selected|N")] = "selected",
    seed: Annotated[str, typer.Option(help="A seed that confirmed it, or best (on validation data).")] = "best",
    refit: Annotated[bool, typer.Option("--refit", help="One that was trained on the validation data, too.")] = False,
    without_data: Annotated[
        bool, typer.Option("--without-data", help="Leave the examples out that rehearsals keep.")
    ] = False,
) -> None:
    """Write the model of a confirmed run as a bundle: weights, a program for torch alone, a card."""
    from cfsweep.bundle.card import IN_WORDS
    from cfsweep.library.models import exported

    number, about = exported(folder, to, trial, seed, refit, not without_data)
    said = ", ".join(f"{value:.4f} on {IN_WORDS[part]}" for part, value in about.average.items())
    Console().print(
        f"{_called(number)}, seed {about.seed}: {about.score} {said}; in {to}", highlight=False, soft_wrap=True
    )


@app.command("continue")
def continue_(
    bundle: Annotated[Path, typer.Argument(help="The folder that `cfsweep export` or `cfsweep continue` wrote.")],
    task: Annotated[
        Path, typer.Option(help="The next task: an .npz or .parquet file, or a folder of parts.", metavar="FILE")
    ],
    to: Annotated[Path, typer.Option(help="The folder to write; it must not exist.", metavar="FOLDER")],
    assign: Annotated[
        list[str] | None,
        typer.Option("--set", help="A setting for this task, such as lr=0.001; any number.", metavar="KEY=VALUE"),
    ] = None,
) -> None:
    """Train a bundle's model on one more task, with what its remedies have kept, and write the bundle of that."""
    from cfsweep.bundle.card import said_of_last_task
    from cfsweep.bundle.continued import continue_ as train
    from cfsweep.sweeping.parsing import assigned

    try:
        about = train(bundle, task, dict(assigned(assign or [])), to)
    except KeyboardInterrupt:
        _complain("interrupted; nothing was written")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    Console().print(f"{said_of_last_task(about)}; in {to}", highlight=False, markup=False, soft_wrap=True)


@app.command()
def status(folder: Annotated[str, typer.Argument(help="A results folder, local or remote.")]) -> None:
    """Say how far a study is."""
    from cfsweep.results.status import budget
    from cfsweep.results.status import status as read_status

    now = read_status(folder)
    state = "complete" if now.complete else f"not complete; `{now.goes_on_by}` goes on"
    if now.running:
        state = "running"
    console = Console()
    console.print(f"study {now.study_id}: {state}", highlight=False)
    console.print(
        f"{now.ended} of {budget(now.trials, now.seeds, now.splits)}: "
        f"{now.done} done, {now.stopped} stopped, {now.failed} failed",
        highlight=False,
    )
    if now.equal:
        console.print(_said_of_equal(now), highlight=False, soft_wrap=True)
    for (trial, seed), reason in sorted(now.failures.items()):
        console.print(f"  {_called(trial)}, seed {seed}: {reason}", highlight=False, markup=False)


def _look(verb: str, does: str) -> None:
    """Makes a verb of the analysis one of `cfsweep`, loaded when it is called: it needs neither torch nor Ray."""

    @app.command(
        verb,
        help=f"{does} `cfsweep {verb} --help` says more.",
        add_help_option=False,
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    )
    def look(context: typer.Context) -> None:
        from analysis.cli import app as of_the_analysis

        # What takes torch, the analysis is given.
        given = {"prog_name": "cfsweep", "standalone_mode": False, "obj": _paired_answers}
        raise typer.Exit(of_the_analysis([verb, *context.args], **given) or 0)


def _paired_answers(champion: Path, candidate: Path, data: str | None, stream: str | None) -> list[PairedAnswers]:
    from cfsweep.bundle.paired import paired_answers

    return paired_answers(champion, candidate, data, stream)


for _verb, _does in (
    ("front", "Print the front of a results folder."),
    ("table", "Print its trials as a table."),
    ("report", "Write one HTML file that works offline."),
    ("select", "Choose a trial by validation, and put it on record."),
    ("gate", "Check the chosen trial, or a new model against the one in service; exit code 1 if it fails."),
    ("compare", "Compare two trials, or two studies, seed by seed."),
):
    _look(_verb, _does)


@app.command("list")
def list_(what: Annotated[str, typer.Argument(help="streams, ingredients, spaces, networks or targets.")]) -> None:
    """List what there is to choose from."""
    if what not in LISTS:
        raise unknown("cfsweep list", "list", what, LISTS)
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, doc in _listed(what):
        table.add_row(f"[bold]{name}[/]", doc)
    Console().print(table)


@app.callback(invoke_without_command=True)
def _options(
    context: typer.Context, version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False
) -> None:
    if version:
        typer.echo(f"cfsweep {VERSION}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main() -> None:
    """Runs the command line; errors of the user's become one line and an exit code."""
    atexit.register(_leave_garbage)
    repeatable()
    try:
        sys.exit(app(standalone_mode=False))
    except CfsweepError as error:
        _complain(str(error))
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        _complain("interrupted; `cfsweep resume` goes on")
        sys.exit(EXIT_INTERRUPTED)
    except OSError as error:
        if error.errno not in NO_FAULT_OF_OURS:
            raise
        _complain(str(not_written(error)))
        sys.exit(InputError.exit_code)
    except Exception as error:
        # Typer's own complaints about the command line; their class has moved from one version to the next.
        if not hasattr(error, "format_message"):
            raise
        command = getattr(getattr(error, "ctx", None), "command_path", "cfsweep")
        _complain(f"{error.format_message().rstrip('.')}. See `{command} --help`.")
        sys.exit(InputError.exit_code)


def _leave_garbage() -> None:
    """Skips the collection at exit, which would search all that torch and Ray have loaded; not where torch's compiler
    is loaded (vmap over gradients brings it), which complains of what is left."""
    if "triton" not in sys.modules:
        gc.freeze()


def _complain(text: str) -> None:
    print(f"cfsweep: {' '.join(text.split())}", file=sys.stderr)


def _listed(what: str) -> list[tuple[str, str]]:
    if what == "spaces":
        import search_spaces

        return [(name, search_spaces.description(name)) for name in search_spaces.names()]
    from cfsweep.training.listing import listed

    return listed(what)


def _close(outcome: Outcome, folder: Path, console: Console) -> None:
    """Says how the sweep ended, and exits with its code."""
    now = outcome.status
    if outcome.nothing_to_do:
        more = f"`cfsweep resume {folder} --trials +N` adds N more, `--seeds N` trains all with N seeds in all."
        console.print(f"the study is complete: {now.ended} trials ended. {more}", highlight=False, soft_wrap=True)
    elif outcome.interrupted:
        console.print(f"interrupted. `cfsweep resume {folder}` goes on.", highlight=False, soft_wrap=True)
        raise typer.Exit(EXIT_INTERRUPTED)
    elif not now.complete:
        why = "the time budget is spent" if outcome.out_of_time else "not complete"
        text = f"{why}: {now.ended} of {now.trials} trials ended. `cfsweep resume {folder}` goes on."
        console.print(text, highlight=False, soft_wrap=True)
    if now.equal:
        console.print(_said_of_equal(now), highlight=False, soft_wrap=True)
    for (trial, seed), reason in sorted(now.failures.items())[:5]:
        console.print(f"{_called(trial)}, seed {seed} failed: {reason}", highlight=False, markup=False, soft_wrap=True)
    console.print(f"look at it: cfsweep report {folder}", highlight=False, soft_wrap=True)
    if now.failed:
        raise typer.Exit(EXIT_FAILED_TRIALS)


def _called(trial: int) -> str:
    from cfsweep.results.schema import reference_method

    return f"trial {trial}" if trial >= 0 else f"{reference_method(trial)} ({trial})"


def _said_of_equal(now: Status) -> str:
    return (
        f"{now.equal} trial{'s' * (now.equal != 1)} came to the same settings as an earlier one, and took its results "
        "without another training"
    )


if __name__ == "__main__":
    main()
