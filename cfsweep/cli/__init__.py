"""The command line; thin. Heavy imports happen inside the commands, so that `--help` answers at once."""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup

from cfsweep.cli.clusters import k8s, slurm
from cfsweep.cli.folders import check, repair
from cfsweep.cli.models import adopt, confirm, continue_, export, log, predict
from cfsweep.cli.saying import called, said_of_equal
from cfsweep.cli.sweeps import EXAMPLES, resume, run
from cfsweep.errors import (
    EXIT_INTERRUPTED,
    NO_FAULT_OF_OURS,
    CfsweepError,
    InputError,
    first_line,
    not_written,
    unknown,
)
from cfsweep.library.repeatable import repeatable
from cfsweep.terminal import Terminal
from cfsweep.version import VERSION
from cfsweep.visible import tell

if TYPE_CHECKING:
    from cfsweep.bundle.paired import Paired

INTERRUPTED = "interrupted; the same command begins anew, or goes on with what it has kept"
LISTS = ("streams", "ingredients", "spaces", "networks", "targets")


class _Group(TyperGroup):
    """Typer makes a bare exit code of an interrupt, and says nothing."""

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]  # Typer's own base is not public
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            _heed_no_more()
            tell(INTERRUPTED)
            raise typer.Exit(EXIT_INTERRUPTED) from None


app = typer.Typer(
    cls=_Group,
    help="Sweeps for the remedies against catastrophic forgetting.",
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command(epilog=EXAMPLES)(run)
app.command()(resume)
app.command()(check)
app.command()(repair)
app.command()(confirm)
app.command()(export)
app.command()(adopt)
app.command("continue")(continue_)
app.command()(predict)
app.command()(log)
app.command()(slurm)
app.command()(k8s)


@app.command()
def status(folder: Annotated[str, typer.Argument(help="A results folder, local or remote.")]) -> None:
    """Say how far a study is."""
    from cfsweep.results.status import budget
    from cfsweep.results.status import status as read_status

    now = read_status(folder)
    state = "complete" if now.complete else f"not complete; `{now.goes_on_by}` goes on"
    if now.running:
        state = f"running ({now.writer})" if now.writer else "running"
    console = Terminal()
    console.print(f"study {now.study_id}: {state}")
    console.say(
        f"{now.ended} of {budget(now.trials, now.seeds, now.splits)}: "
        f"{now.done} done, {now.stopped} stopped, {now.failed} failed",
    )
    if now.equal:
        console.say(said_of_equal(now))
    for line in now.changes:
        console.say(line)
    for (trial, seed), reason in sorted(now.failures.items()):
        console.print(f"  {called(trial)}, seed {seed}: {reason}")


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


def _paired_answers(
    champion: str, candidate: str, data: str | None, stream: str | None, score: str | None, trust: bool
) -> Paired:
    from cfsweep.bundle.paired import paired_answers
    from cfsweep.training.plugins import trusting

    with trusting(trust):
        return paired_answers(champion, candidate, data, stream, score)


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
        table.add_row(Text(name, style="bold"), doc)
    Terminal().print(table)


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
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:  # not of `nohup`
            signal.signal(number, signal.default_int_handler)
    try:
        code = app(standalone_mode=False)
        if code == EXIT_INTERRUPTED:
            _exit_interrupted()
        sys.exit(code)
    except CfsweepError as error:
        tell(str(error))
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        _heed_no_more()
        tell(INTERRUPTED)
        _exit_interrupted()
    except OSError as error:
        if error.errno not in NO_FAULT_OF_OURS:
            raise
        tell(str(not_written(error)))
        sys.exit(InputError.exit_code)
    except MemoryError as error:
        tell(f"this machine has not the memory for that ({first_line(error)}). Look how large the files are.")
        sys.exit(InputError.exit_code)
    except Exception as error:
        # Typer's own complaints about the command line; their class has moved from one version to the next.
        if not hasattr(error, "format_message"):
            raise
        command = getattr(getattr(error, "ctx", None), "command_path", "cfsweep")
        tell(f"{error.format_message().rstrip('.')}. See `{command} --help`.")
        sys.exit(InputError.exit_code)


def _exit_interrupted() -> NoReturn:
    """At once, though a thread may be at work that nobody waits for."""
    _heed_no_more()
    from cfsweep.sweeping.interrupt import BESIDE

    if any(thread.name == BESIDE for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(EXIT_INTERRUPTED)
    sys.exit(EXIT_INTERRUPTED)


def _heed_no_more() -> None:
    """It ends; whoever asks once more is not to get a traceback."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def _leave_garbage() -> None:
    """Skips the collection at exit, which would search all that torch and Ray have loaded; not where torch's compiler
    is loaded (vmap over gradients brings it), which complains of what is left."""
    if "triton" not in sys.modules:
        gc.freeze()


def _listed(what: str) -> list[tuple[str, str]]:
    if what == "spaces":
        import search_spaces

        return [(name, search_spaces.description(name)) for name in search_spaces.names()]
    from cfsweep.training.listing import listed

    return listed(what)
