"""A table with one line per method: its accuracy in each scenario, what it stores, what it reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmarks.reproduction.lines import beside_naive
from benchmarks.reproduction.markdown import markdown, mean_sd, settings
from benchmarks.reproduction.measured import NOTHING, Measured, Results
from benchmarks.reproduction.model import Row, Table
from cfsweep.config import SCENARIOS
from cfsweep.training.ingredients import ingredient_class, reads_of


def side_by_side(table: Table, results: Results) -> str:
    """One line per method, in the table's order, then another table of the differences to the rows without a remedy."""
    methods: dict[str, list[Row]] = {}
    for row in table.rows:
        methods.setdefault(row.method, []).append(row)
    lines = [_line(table, method, rows, results) for method, rows in methods.items()]
    heads = ("remedy", "setting", *SCENARIOS, "stored, kB", "reads, beside the current task")
    gaps = [
        (
            _beside(method, rows[0]),
            *(
                _in(rows, scenario, lambda row: beside_naive(table, row, row.quantities[0], results))
                for scenario in SCENARIOS
            ),
        )
        for method, rows in methods.items()
        if rows[0].naive is not None
    ]
    return f"{markdown(heads, lines)}\n\nDifferences to `naive`, paired over seeds:\n\n" + markdown(
        ("remedy", *SCENARIOS), gaps
    )


def _beside(method: str, row: Row) -> str:
    """The method, with the row that it stands beside where that is not `naive`."""
    other = str(row.naive).removesuffix(f"-{row.study.stream.scenario}")
    return method if other == "naive" else f"{method} (to `{other}`)"


def _line(table: Table, method: str, rows: Sequence[Row], results: Results) -> tuple[str, ...]:
    found = [results.get(table.key(row), NOTHING) for row in rows]
    measured = [of.measured for of in found if isinstance(of.measured, Measured)]
    stored = f"{max(of.stored_bytes for of in measured) / 1000:,.0f}" if measured else "–"
    kinds = [ingredient_class(name, method) for name in rows[0].study.space.ingredients]
    reads = "; ".join(dict.fromkeys(read.what for kind in kinds for read in reads_of(kind)))
    if rows[0].trial is not None:
        reads = "keeps all examples"  # the reference `joint`
    return (
        method,
        rows[0].setting or "–",
        *(_in(rows, scenario, lambda row: _cell(table, row, results)) for scenario in SCENARIOS),
        stored,
        reads or "–",
    )


def _in(rows: Sequence[Row], scenario: str, cell: Callable[[Row], str]) -> str:
    row = next((row for row in rows if row.study.stream.scenario == scenario), None)
    return "–" if row is None else cell(row)


def _cell(table: Table, row: Row, results: Results) -> str:
    found = results.get(table.key(row), NOTHING).measured
    if isinstance(found, str):
        return found
    return mean_sd(found.of(row.quantities[0])) + (f" ({settings(found.chosen)})" if found.chosen else "")
