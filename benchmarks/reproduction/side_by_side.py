"""A table with one line per method: its accuracy in each scenario, and what it stores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.reproduction.measured import Measured
from benchmarks.reproduction.model import Row, Table
from cfsweep.config import SCENARIOS

Results = Mapping[str, Measured | str]


def side_by_side(table: Table, results: Results) -> str:
    """One line per method, in the table's order."""
    found: dict[str, dict[str, tuple[Row, Measured | str]]] = {}
    for row in table.rows:
        found.setdefault(row.method, {})[row.study.stream.scenario] = (row, results[table.key(row)])
    lines = []
    for method, by_scenario in found.items():
        pairs = [(s, by_scenario.get(s)) for s in SCENARIOS]
        cells = [_cell(pair) for _, pair in pairs]
        settings = dict.fromkeys(row.setting for row, _ in by_scenario.values())
        stored = [r.stored_bytes for _, r in by_scenario.values() if isinstance(r, Measured)]
        lines.append((method, "; ".join(s for s in settings if s) or "–", *cells, _stored(stored)))
    return markdown(("remedy", "setting", *SCENARIOS, "stored, kB"), lines)


def _cell(pair: tuple[Row, Measured | str] | None) -> str:
    if pair is None:
        return "–"
    row, result = pair
    return result if isinstance(result, str) else number(*result.of(row.quantities[0]))


def _stored(stored: Sequence[float]) -> str:
    """The largest over the scenarios."""
    return f"{max(stored) / 1000:,.0f}" if stored else "–"


def number(mean: float, sd: float | None = None) -> str:
    """
    >>> number(97.7, 0.814), number(-65.3)
    ('97.70 ± 0.81', '-65.30')
    """
    return f"{mean:.2f}" + ("" if sd is None else f" ± {sd:.2f}")


def markdown(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """
    >>> print(markdown(("a", "b"), [("1", "2")]))
    | a | b |
    |---|---|
    | 1 | 2 |
    """
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, *lines)).replace(
        "\n", "\n|" + "---|" * len(heads) + "\n", 1
    )
