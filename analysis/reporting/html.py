"""The frame of the report: one HTML page that fetches nothing."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from analysis.formatting import for_html

_STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0; background: #f6f7f9; color: #1f2933;
       font: 15px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
main, header, footer { max-width: 1120px; margin: 0 auto; padding: 0 24px; }
header { padding-top: 28px; }
h1 { font-size: 24px; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 18px; margin: 0 0 4px; }
section { background: #fff; border: 1px solid #e3e7eb; border-radius: 8px; padding: 18px 20px; margin: 18px 0; }
p { margin: 4px 0 10px; max-width: 85ch; }
.muted, footer { color: #52606d; }
.note { background: #fff8e6; border-left: 4px solid #e69f00; padding: 8px 12px; margin: 8px 0; max-width: none; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin: 18px 0; }
.card { background: #fff; border: 1px solid #e3e7eb; border-radius: 8px; padding: 12px 14px; }
.card b { display: block; font-size: 22px; line-height: 1.25; font-variant-numeric: tabular-nums; }
.card b { white-space: nowrap; } .card small { font-size: 14px; font-weight: 500; color: #52606d; }
.card span { font-size: 13px; color: #52606d; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13.5px; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 5px 12px 5px 0; border-bottom: 1px solid #e9edf0; vertical-align: top;
         max-width: 46ch; overflow-wrap: anywhere; }
td { white-space: pre-wrap; }
td.number { white-space: nowrap; }
th { color: #52606d; font-weight: 600; border-bottom: 2px solid #d5dbe1; white-space: nowrap; }
footer { font-size: 13.5px; padding-bottom: 40px; }
footer dl { display: grid; grid-template-columns: minmax(120px, 230px) 1fr; gap: 4px 18px; margin: 8px 0 22px; }
footer dt { font-weight: 600; color: #1f2933; overflow-wrap: anywhere; }
footer dd { margin: 0; overflow-wrap: anywhere; white-space: pre-line; }
pre { background: #f6f7f9; border: 1px solid #e3e7eb; border-radius: 6px; padding: 10px 12px; margin: 4px 0 12px;
      font-size: 12.5px; line-height: 1.45; white-space: pre-wrap; overflow-wrap: anywhere; }
code { font-size: 12.5px; overflow-wrap: anywhere; }
@media print { body { background: #fff; } section { break-inside: avoid; } }
"""
_CONFIG = {"displaylogo": False, "responsive": True, "modeBarButtonsToRemove": ["lasso2d", "select2d", "autoScale2d"]}


def document(title: str, subtitle: str, body: Sequence[str]) -> str:
    """The whole document. `title` and `subtitle` are plain text, `body` is HTML that is escaped already.

    The policy in the head forbids every request, whatever the page may hold by mistake.
    """
    policy = (
        "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; "
        "font-src data:; base-uri 'none'; form-action 'none'"
    )
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{for_html(title)}</title>\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<link rel="icon" href="data:,">\n'
        f"<style>{_STYLE}</style>\n<script>{get_plotlyjs()}</script>\n</head>\n<body>\n"
        f'<header><h1>{for_html(title)}</h1><p class="muted">{for_html(subtitle)}</p></header>\n<main>\n'
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def section(name: str, heading: str, *parts: str) -> str:
    """A section with the HTML id `name`; `parts` are HTML."""
    return f'<section id="{for_html(name)}"><h2>{for_html(heading)}</h2>\n' + "\n".join(parts) + "</section>"


def paragraph(text: str) -> str:
    """Plain text as a paragraph."""
    return f"<p>{for_html(text)}</p>"


def verbatim(text: str) -> str:
    """Plain text to copy, as it is."""
    return f"<pre>{for_html(text)}</pre>"


def note(text: str) -> str:
    """Plain text that the reader should not miss."""
    return f'<p class="note">{for_html(text)}</p>'


def cards(pairs: Sequence[tuple[str, str]]) -> str:
    """Headline numbers: (number, what it is), plain text; ` ± sd` is set smaller."""
    made = (f'<div class="card"><b>{_number(n)}</b><span>{for_html(what)}</span></div>' for n, what in pairs)
    return '<div class="cards">' + "".join(made) + "</div>"


def _number(text: str) -> str:
    mean, plus, sd = text.partition(" ±")
    return for_html(mean) + (f"<small>{for_html(plus + sd)}</small>" if plus else "")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of plain texts."""
    top = "".join(f"<th>{for_html(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(_cell(cell) for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(text: str) -> str:
    short = ' class="number"' if len(text) <= 18 else ""
    return f"<td{short}>{for_html(text)}</td>"


def chart(figure: go.Figure, name: str) -> str:
    """A figure in an element with the id `name`; plotly escapes `<`, `>` and `/` in its data itself."""
    made: str = figure.to_html(full_html=False, include_plotlyjs=False, div_id=name, config=_CONFIG)
    return made
