"""How results show themselves: tables as text, and for a notebook."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from cfsweep.visible import visible


def text_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """
    >>> print(text_table(["task", "n"], [["May", "10"]]))
    task  n
    May   10
    """
    lines = [heads, *rows]
    widths = [max(len(line[k]) for line in lines) for k in range(len(heads))]
    padded = ("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
    return "\n".join(line.rstrip() for line in padded)


def html_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """
    >>> html_table(["a"], [["<1"]])
    '<table><tr><th>a</th></tr><tr><td>&lt;1</td></tr></table>'
    """
    lines = [("th", heads), *(("td", row) for row in rows)]
    cells = ("".join(f"<{kind}>{escape(visible(cell))}</{kind}>" for cell in row) for kind, row in lines)
    return "<table>" + "".join(f"<tr>{line}</tr>" for line in cells) + "</table>"
