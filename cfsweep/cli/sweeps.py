"""`cfsweep run` and `cfsweep resume`."""

from __future__ import annotations

import re
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

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
    said_of_equal,
)
from cfsweep.errors import EXIT_INTERRUPTED, InputError, short
from cfsweep.results.addresses import in_command
from cfsweep.terminal import Terminal

if TYPE_CHECKING:
    from cfsweep.sweeping.study import Outcome, Prepared

EXAMPLES = """
Examples:

cfsweep run replay --stream split-digits --scenario class-il --trials 40 --seeds 3

cfsweep run my-space.yaml --stream path/to/tasks --set lr=0.001 --dry-run

cfsweep run replay --stream table.csv --arg target=churned --arg task=month --scenario domain-il
"""


def run(
    space: Annotated[
        Path, typer.Argument(help="The search space: a YAML file, or a name of `cfsweep list spaces`.", metavar="SPACE")
    ],
    stream: Annotated[
        str | None,
        typer.Option(
            help="A stream's name, a folder of task files, a table (.csv, .tsv, .parquet), or package.module:function "
            "(default: split-digits).",
            metavar="STREAM",
        ),
    ] = None,
    arg: ArgOption = None,
    scenario: Annotated[
        str | None, typer.Option(help="task-il, domain-il or class-il (default: the space's).", metavar="NAME")
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(help="classification, regression, multi-label or package.module:Class.", metavar="NAME"),
    ] = None,
    score: Annotated[
        str | None,
        typer.Option(help="What is measured (default: accuracy); of several, the first steers.", metavar="NAME,..."),
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
    encoder: Annotated[
        str | None,
        typer.Option(
            help="What makes features of the examples: package.module:function; --set stream.encoder_args.NAME=VALUE.",
            metavar="FUNCTION",
        ),
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
    insecure: InsecureOption = False,
    retries: RetriesOption = 0,
    patience: PatienceOption = 600.0,
    hang_after: HangAfterOption = None,
    trainer: Annotated[
        str | None,
        typer.Option(help="A training of your own, package.module:function, with data of its own.", metavar="FUNCTION"),
    ] = None,
    out: Annotated[
        str | None, typer.Option(help="The results folder (default: runs/SPACE-STREAM).", metavar="DIR")
    ] = None,
    assign: Annotated[
        list[str] | None,
        typer.Option("--set", help="Such as lr=0.001 or network.args.hidden=256; any number.", metavar="KEY=VALUE"),
    ] = None,
    accept_changes: AcceptOption = False,
    trust: TrustOption = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be swept, and stop.")] = False,
) -> None:
    """Sweep a search space over a task stream; go on if the folder holds this study already."""
    from cfsweep.library.folders import read_in
    from cfsweep.library.sweeps import begun, described, options_of
    from cfsweep.sweeping.progress import Display
    from cfsweep.sweeping.scheduler import Workers, endurance_of

    scores = None if score is None else [name.strip() for name in score.split(",") if name.strip()]
    options = options_of(
        stream,
        scenario,
        target,
        scores,
        trials=trials,
        seeds=seeds,
        splits=splits,
        objective=objective,
        data=data,
        download=download,
        pack=pack,
        args=args_of(arg),
        encoder=encoder,
        trainer=trainer,
    )
    console = Terminal()
    if dry_run:
        from cfsweep.sweeping.dry_run import show_plan

        with nullcontext() if out is None else read_in(out) as here:
            prepared, folder = described(space, options, assign or [], here)
            show_plan(prepared, out or folder, console)
        return

    def announce(prepared: Prepared, folder: Path, place: str | Path) -> None:
        from cfsweep.sweeping.dry_run import show_notes
        from cfsweep.sweeping.study import with_identity_version_of

        study_id = with_identity_version_of(folder, prepared).config.study_id
        console.say(f"study {study_id} in {place}")
        show_notes(prepared, console)

    where = Workers(workers, address, gpus_per_worker, insecure, again_with())
    display = Display(console, live=workers != 0)
    endurance = endurance_of(where, retries, patience, hang_after)
    outcome, place = begun(
        space, options, assign or [], out, where, display, announce, endurance, accept_changes=accept_changes
    )
    _close(outcome, place, console)


def resume(
    root: Annotated[str, typer.Argument(help="The results folder of the study.", metavar="FOLDER")],
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
    insecure: InsecureOption = False,
    retries: RetriesOption = 0,
    patience: PatienceOption = 600.0,
    hang_after: HangAfterOption = None,
    stream: Annotated[str | None, typer.Option(help="Where the study's own data lie by now.", metavar="STREAM")] = None,
    data: Annotated[str | None, typer.Option(help="Where the data sets lie by now.", metavar="DIR")] = None,
    accept_changes: AcceptOption = False,
    trust: TrustOption = False,
) -> None:
    """Go on with a study that was interrupted, or extend it."""
    if not re.fullmatch(r"\+[0-9]{1,18}", trials):
        raise InputError(
            f"--trials {short(trials)[1:-1]}: `+N` is needed, the number of trials to add. For example `--trials +20`."
        )
    from cfsweep.library.folders import written_in
    from cfsweep.sweeping import study
    from cfsweep.sweeping.progress import Display
    from cfsweep.sweeping.scheduler import Workers, endurance_of

    console = Terminal()
    display = Display(console, live=workers != 0)
    with written_in(root) as folder:
        wanted = _trials_of(folder) + int(trials[1:])

        def left_to_add() -> list[str]:
            """The last one of an option counts: those trials that the study's budget does not have yet."""
            return ["--trials", f"+{max(0, wanted - _trials_of(folder))}"]

        where = Workers(workers, address, gpus_per_worker, insecure, again_with(left_to_add))
        endurance = endurance_of(where, retries, patience, hang_after)
        outcome = study.resume(
            folder, int(trials[1:]), seeds, where, display, endurance, stream, data, accept_changes=accept_changes
        )
    _close(outcome, root, console)


def _trials_of(folder: Path) -> int:
    from cfsweep.sweeping.folder import Folder

    return Folder(folder).read()[0].trials


def _close(outcome: Outcome, place: str | Path, console: Terminal) -> None:
    """Says how the sweep ended, and exits with its code."""
    now, folder = outcome.status, in_command(place)
    if outcome.nothing_to_do:
        more = f"`cfsweep resume {folder} --trials +N` adds N more, `--seeds N` trains all with N seeds in all."
        console.say(f"the study is complete: {now.ended} trials ended. {more}")
        if outcome.news:
            console.say(outcome.news)
    elif outcome.interrupted:
        console.say(f"interrupted. `cfsweep resume {folder}` goes on.")
        raise typer.Exit(EXIT_INTERRUPTED)
    elif not now.complete:
        why = "the time budget is spent" if outcome.out_of_time else "not complete"
        text = f"{why}: {now.ended} of {now.trials} trials ended. `cfsweep resume {folder}` goes on."
        console.say(text)
    if now.equal:
        console.say(said_of_equal(now))
    for (trial, seed), reason in sorted(now.failures.items())[:5]:
        console.say(f"{called(trial)}, seed {seed} failed: {reason}")
    console.say(f"look at it: cfsweep report {folder}")
    if now.failures:
        raise typer.Exit(EXIT_FAILED_TRIALS)
