"""Writes the table of docs/remedies.md from the ingredients themselves: `python -m benchmarks.remedies_page`."""

from __future__ import annotations

from pathlib import Path

from benchmarks.page import put_section
from cfsweep.training.ingredients import FAMILIES, Ingredient, family_of, reads_of, registry

PAGE = Path(__file__).parent.parent / "docs" / "remedies.md"
HEADINGS = {
    "penalty": "penalties",
    "rehearsal": "rehearsal",
    "distillation": "distillation",
    "partition": "partitions",
    "schedule": "schedules",
    "stop rule": "stop rules",
}


def table() -> str:
    """The built-in ingredients in Markdown, a family after the other."""
    lines = [
        "| ingredient | what it does | reads, beside the current task | hyperparameters (what is off) | source |",
        "|---|---|---|---|---|",
    ]
    for family in FAMILIES:
        kinds = [kind for kind in registry.values() if family_of(kind) == family]
        if kinds:
            lines += [f"| **{HEADINGS[family]}** | | | | |", *map(_row, kinds)]
    return "\n".join(lines)


def _row(kind: type[Ingredient]) -> str:
    knobs = [f"`{h.name}`" + ("" if h.off is None else f" ({h.off:g})") for h in kind.hypers]
    reads = "; ".join(read.what for read in reads_of(kind)) or "–"
    return f"| `{kind.name}` | {kind.summary} | {reads} | {', '.join(knobs)} | {kind.paper} |"


def main() -> None:
    """Writes it."""
    put_section(PAGE, "remedies", table())


if __name__ == "__main__":
    main()
