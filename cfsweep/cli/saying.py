"""What several commands take, and how they say things."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from cfsweep.results.status import Status

EXIT_FAILED_TRIALS = 3

WorkersOption = Annotated[
    int | None,
    typer.Option(help="Processes that train (default: one per CPU or GPU); 0 trains in this one.", min=0, metavar="N"),
]
ArgOption = Annotated[
    list[str] | None,
    typer.Option(
        "--arg",
        help="Of the stream, a function or a table, such as target=label and task=month; any number.",
        metavar="KEY=VALUE",
    ),
]
AddressOption = Annotated[
    str | None, typer.Option(help="A Ray cluster: auto or host:port (default: this machine).", metavar="ADDRESS")
]
AcceptOption = Annotated[
    bool,
    typer.Option(
        "--accept-changes", help="Go on although data, code, defaults or versions have changed; the study notes it."
    ),
]


def _trusting(context: typer.Context, trust: bool) -> bool:
    if trust:
        from cfsweep.training.plugins import trusting

        context.with_resource(trusting())
    return trust


TrustOption = Annotated[
    bool,
    typer.Option(
        "--trust",
        callback=_trusting,
        help="Run code that a space, study or bundle names, wherever it lies: you know where the file comes from.",
    ),
]
InsecureOption = Annotated[
    bool, typer.Option("--insecure", help="The cluster need not demand a token: nobody else reaches its ports.")
]
GpusOption = Annotated[float | None, typer.Option(help="GPUs per worker, also a fraction.", min=0, metavar="X")]


RetriesOption = Annotated[int, typer.Option(help="Train a run that failed again, so often.", min=0, metavar="N")]
PatienceOption = Annotated[
    float, typer.Option(help="Wait so long for room on a full disk (exit code 4 then).", min=0, metavar="SECONDS")
]
HangAfterOption = Annotated[
    float | None,
    typer.Option(
        help="Kill a worker that says and saves nothing for so long (default: never).", min=1, metavar="SECONDS"
    ),
]


def again_with(more: Callable[[], Sequence[str]] = tuple) -> Callable[[], list[str] | None]:
    """The command that goes on where this one leaves off, once that is asked for: this one, with `more` arguments."""
    from cfsweep.sweeping.restarts import command_again

    return lambda: command_again(more())


def args_of(arg: list[str] | None) -> dict[str, Any]:
    """The arguments of a stream by name.

    Raises:
        InputError: one has another form than `key=value`.
    """
    from cfsweep.sweeping.parsing import assigned

    return dict(assigned(arg or (), "--arg"))


def called(trial: int) -> str:
    from cfsweep.results.schema import reference_method

    return f"trial {trial}" if trial >= 0 else f"{reference_method(trial)} ({trial})"


def said_of_equal(now: Status) -> str:
    return (
        f"{now.equal} trial{'s' * (now.equal != 1)} came to the same settings as an earlier one, and took its results "
        "without another training"
    )
