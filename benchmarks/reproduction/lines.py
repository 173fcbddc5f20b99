"""The lines of one table: each row's quantities beside what was claimed, and beside the row without a remedy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from benchmarks.reproduction.markdown import difference, duration, markdown, mean_sd, number, setting, settings
from benchmarks.reproduction.measured import NOTHING, Found, Measured, Results, Tried
from benchmarks.reproduction.model import Claim, Group, Quantity, Row, Table
from benchmarks.reproduction.runner import ranges
from benchmarks.reproduction.verdicts import (
    EXPLAINED,
    KINDS,
    MISSING,
    UNEXPLAINED,
    BySeed,
    Naive,
    Verdict,
    differences,
    explains,
    judge,
)
from cfsweep.config import Range

SIGNS = {"about": "", "below": "< ", "above": "> ", "exactly": ""}
GROUPS: dict[Group, str] = {"main": "", "as published": "As published", "experiment": "Experiments"}
HEADS = ("row", "method", "setting", "quantity", "claimed", "measured", "difference", "beside naive", "verdict")


def blocks(table: Table, results: Results) -> Iterator[str]:
    """The table, one block for each group of its rows that there is."""
    for group, title in GROUPS.items():
        rows = [row for row in table.rows if row.group == group]
        if rows:
            if title:
                yield f"### {title}"
            yield markdown(HEADS, [line for row in rows for line in _lines(table, row, results)])


def tally(tables: Sequence[Table], results: Results) -> str:
    """How many claims came to what, for each table and each group of its rows."""
    lines = []
    for table in tables:
        for group in GROUPS:
            found = Counter(
                verdict(table, row, quantity, results).kind
                for row in table.rows
                if row.group == group
                for quantity in row.quantities
                if quantity.claim is not None
            )
            if found:
                name = table.title + ("" if group == "main" else f": {GROUPS[group].lower()}")
                lines.append((name, str(found.total()), *(str(found[kind]) for kind in KINDS)))
    return markdown(("table", "claims", *KINDS), lines)


def verdict(table: Table, row: Row, quantity: Quantity, results: Results) -> Verdict:
    """What the records allow to say of one quantity."""
    found = results.get(table.key(row), NOTHING).measured
    if isinstance(found, str):
        return Verdict(MISSING, "" if found == MISSING else found)
    naive: Naive | None = None
    claim = quantity.claim
    if claim is not None and claim.sense == "about" and row.naive is not None:
        beside = values(table.key(row.naive), quantity, results)
        own = quantity_of(row_of(table, row.naive), quantity.name)
        if beside is None or own is None or own.claim is None:
            return Verdict(MISSING, f"nor is `{row.naive}`")
        naive = Naive(own.claim, beside)
    said = judge(claim, found.of(quantity), naive)
    return _explained(quantity, found.of(quantity), naive, results) if said.kind == UNEXPLAINED else said


def _explained(quantity: Quantity, own: BySeed, naive: Naive | None, results: Results) -> Verdict:
    """The first of the quantity's reasons that the rows that it points at bear out."""
    assert quantity.claim is not None
    for why in quantity.whys:
        seen = {key: of for key in why.see if (of := values(key, quantity, results)) is not None}
        if explains(why, quantity.claim, own, seen, naive):
            return Verdict(EXPLAINED, f"{why.text} (see {', '.join(f'`{key}`' for key in why.see)})")
    return Verdict(UNEXPLAINED)


def values(key: str, quantity: Quantity, results: Results) -> BySeed | None:
    """The quantity in another row, None where that is not measured."""
    found = results.get(key, NOTHING).measured
    return found.of(quantity) if isinstance(found, Measured) else None


def row_of(table: Table, name: str) -> Row:
    """The row of this name."""
    return next(row for row in table.rows if row.name == name)


def quantity_of(row: Row, name: str) -> Quantity | None:
    """The row's quantity of this name."""
    return next((quantity for quantity in row.quantities if quantity.name == name), None)


def beside_naive(table: Table, row: Row, quantity: Quantity, results: Results) -> str:
    """The paired difference to the row without a remedy, with its interval."""
    found = results.get(table.key(row), NOTHING).measured
    if row.naive is None or isinstance(found, str):
        return "–"
    other = values(table.key(row.naive), quantity, results)
    return "–" if other is None else difference(differences(found.of(quantity), other))


def _lines(table: Table, row: Row, results: Results) -> Iterator[tuple[str, ...]]:
    found = results.get(table.key(row), NOTHING).measured
    chosen = settings(found.chosen) if isinstance(found, Measured) else ""
    told = ", ".join(filter(None, (row.setting, f"chosen: {chosen}" if chosen else "")))
    for place, quantity in enumerate(row.quantities):
        start = (f"`{row.name}`", row.method, told) if place == 0 else ("", "", "")
        said = verdict(table, row, quantity, results)
        if isinstance(found, str):
            yield (*start, quantity.name, _claim(quantity.claim), "–", "–", "–", said.text)
            continue
        own = found.of(quantity)
        yield (
            *start,
            quantity.name,
            _claim(quantity.claim),
            mean_sd(own),
            _off(quantity.claim, own),
            beside_naive(table, row, quantity, results),
            said.text,
        )


def _off(claim: Claim | None, own: BySeed) -> str:
    about = claim is not None and claim.sense == "about"
    return f"{float(np.mean(list(own.values()))) - claim.value:+.2f}" if claim is not None and about else "–"


def _claim(claim: Claim | None) -> str:
    return "–" if claim is None else SIGNS[claim.sense] + number(claim.value, claim.sd)


def _at_end(row: Row, tried: Tried) -> str:
    """A mark where the value lies at an end of its range, beyond which a better one may lie."""
    ends = {name: (of.low, of.high) for name, of in row.searched.items() if isinstance(of, Range)}
    return ", an end of its range" if any(tried.setting[name] in of for name, of in ends.items()) else ""


def _tried(row: Row, found: Found) -> str:
    """What validation data said of each value, where one hyperparameter is searched; those that failed at the end."""
    if len(row.searched) > 1:
        return "–"
    ((name, _),) = row.searched.items()
    said = [f"{setting(tried.setting[name])}: {100 * tried.average_accuracy:.1f}" for tried in found.tried]
    return "; ".join([*said, *(f"{setting(values[name])}: failed" for values in found.failed)]) or "–"


def searches(table: Table, results: Results) -> str:
    """What each row searched, what validation data said of each trial, which was chosen, and how long either took."""
    rows = [row for row in table.rows if row.searched]
    if not rows:
        return ""
    lines = []
    for row in table.rows:
        found = results.get(table.key(row), NOTHING)
        spent = (duration(found.search_s), duration(found.measure_s))
        if not row.searched:
            lines.append((f"`{row.name}`", "nothing", "–", "–", *spent))
            continue
        best = next((settings(t.setting) + _at_end(row, t) for t in found.tried if t.chosen), MISSING)
        lines.append((f"`{row.name}`", ranges(row.searched), _tried(row, found), best, *spent))
    heads = ("row", "searched", "tried: average accuracy on validation data", "chosen", "search", "measurement")
    return f"### Searches and training time\n\n{markdown(heads, lines)}"
