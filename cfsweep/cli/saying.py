"""What several commands take, and how they say things."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from cfsweep.results.status import Status

EXIT_FAILED_TRIALS = 3
MOST_SAID = 1900  # characters of a line: a value in it may be of any length

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
GpusOption = Annotated[float | None, typer.Option(help="GPUs per worker, also a fraction.", min=0, metavar="X")]


def args_of(arg: list[str] | None) -> dict[str, Any]:
    """The arguments of a stream by name.

    Raises:
        InputError: one has another form than `key=value`.
    """
    from cfsweep.sweeping.parsing import assigned

    return dict(assigned(arg or (), "--arg"))


def complain(text: str) -> None:
    line = " ".join(text.split())
    print(f"cfsweep: {line if len(line) <= MOST_SAID else f'{line[:MOST_SAID]}…'}", file=sys.stderr)


def called(trial: int) -> str:
    from cfsweep.results.schema import reference_method

    return f"trial {trial}" if trial >= 0 else f"{reference_method(trial)} ({trial})"


def said_of_equal(now: Status) -> str:
    return (
        f"{now.equal} trial{'s' * (now.equal != 1)} came to the same settings as an earlier one, and took its results "
        "without another training"
    )
