"""Writes the tables of docs/remedies.md from the ingredients themselves: `python -m benchmarks.remedies_page`."""

from __future__ import annotations

from pathlib import Path

from benchmarks.page import put_section
from cfsweep.hypers import BASE_HYPERS, Hyper, shown
from cfsweep.training.ingredients import FAMILIES, Ingredient, family_of, reads_of, registry

PAGE = Path(__file__).parent.parent / "docs" / "remedies.md"
HEADINGS = {
    "penalty": "penalties",
    "rehearsal": "rehearsal",
    "closed form": "closed forms",
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


def hypers_table() -> str:
    """The hyperparameters of every trial and of each built-in ingredient in Markdown, in the order of `table`."""
    lines = ["| hyperparameter | default | off | legal | what it is |", "|---|---|---|---|---|"]
    lines += ["| **every trial** | | | | |", *map(_hyper_row, BASE_HYPERS)]
    for family in FAMILIES:
        for kind in registry.values():
            if family_of(kind) == family:
                lines += [f"| **{kind.name}** | | | | |", *map(_hyper_row, kind.hypers)]
    return "\n".join(lines)


def _hyper_row(hyper: Hyper) -> str:
    off = "–" if hyper.off is None else f"{hyper.off:g}"
    only = "" if hyper.only_with is None else f"; with `{hyper.only_with[0]}={hyper.only_with[1]}` alone"
    return f"| `{hyper.name}` | {shown(hyper.default)} | {off} | {hyper.rule} | {hyper.doc}{only} |"


def main() -> None:
    """Writes them."""
    put_section(PAGE, "remedies", table())
    put_section(PAGE, "hyperparameters", hypers_table())


if __name__ == "__main__":
    main()
