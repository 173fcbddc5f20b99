"""How the commands show things."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from cfsweep.terminal import Terminal
from cfsweep.visible import visible

Dir = Annotated[str, typer.Argument(metavar="DIR", help="A results folder, or a URI such as s3://bucket/folder.")]


def console(wide: bool = False) -> Terminal:
    """A terminal's own width; 100 columns in a pipe or a log, or, if a table is `wide`, as many as it takes."""
    return Terminal(width=None if sys.stdout.isatty() else 200 if wide else 100)


def table_of(heads: Sequence[str], rows: Sequence[Sequence[str]], members: int) -> Table:
    """A table whose cells keep to one line, with a gap after the first `members` rows."""
    shown = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for head in heads:
        shown.add_column(head_of(head), no_wrap=True)
    for place, cells in enumerate(rows):
        if place == members:
            shown.add_section()
        shown.add_row(*cells)
    return shown


def head_of(text: str) -> Text:
    """The head of a column, whose lines are as they are."""
    return Text(visible(text, keep="\n"))
