"""Writes the page: what was claimed beside what was measured, as Markdown, from the records alone."""

from __future__ import annotations

from collections.abc import Sequence

import moocore
import numpy as np
import pyarrow as pa

from analysis.formatting import INTERVAL
from benchmarks.reproduction.lines import blocks, searches, tally
from benchmarks.reproduction.markdown import duration, markdown, number, setting
from benchmarks.reproduction.measured import NOTHING, Found, Measured, Results, results_of
from benchmarks.reproduction.model import Row, Table
from benchmarks.reproduction.side_by_side import side_by_side
from benchmarks.reproduction.verdicts import NIL

HEAD = f"""# Published tables, measured with cfsweep

Written by `python -m benchmarks.reproduce`; do not edit. Every measured number is in reproduction.parquet beside
this page, one row per run, and a test writes the page from it again. Accuracies are in percent of the test set,
differences in points; ± is the standard deviation over seeds, and a range in brackets the {INTERVAL} (Student's) of
the mean of the differences between two rows, paired over the seeds that both have.

**How a strength is chosen.** Where a method has a strength, it is searched on validation data: each search of a table
has the budget that the table states, the first trial is cfsweep's default, moved into the range where it lies
outside, and the others are spread evenly over the range (in `mnist-halves`, where four and more hyperparameters are
searched, TPE draws them). The trial with the best average accuracy on validation data is trained again, with more
seeds, and measured on test data; no test number chooses anything. The first seeds of the measurement are those of the
search. The source's own strength, where it is known, is a row of its own, `as published`; such rows and experiments
have half the seeds of the others (5 of 10), generative replay in `van-de-ven` has 3.

**What a verdict says.** A mean agrees with a published one if it lies within 3 points of it, or within 2 published
standard deviations where these are given and are more.

- `reproduced`: it agrees, and the method lies apart from its row without a remedy, `beside naive`: the interval leaves
  out 0, on the side on which it was published. Where it leaves out the published gap, too, that gap is said: the number
  is reproduced, and the size of what the method does is not.
- `baseline agrees`: the row without a remedy itself; it has nothing to differ from.
- `floor`: it agrees, and neither the published nor the measured gap to the row without a remedy reaches {NIL:g} point:
  it says nothing of the method.
- `inert`: a gap was published, and the interval holds 0 and not that gap. It is not reproduced, however near the mean
  comes. `too few seeds to tell`: the interval holds both.
- `bound holds`: what was claimed as more than, less than or exactly so much, is so, be it by the method's doing or not.
- `differs, explained`: a reason that was written down before this measurement (of `mnist-halves` after an earlier one
  of the same claims), and that the rows it names bear out; that a better strength was found counts only where the
  source's own does no less here than was published (a rule that was made strict when these rows were there).
  `differs, not explained`: all others, with bounds that do not hold, and with a gap where none was published.
- `not measured yet`: no complete stage, or that of the row without a remedy is missing.
"""


def report(tables: Sequence[Table], records: pa.Table, command: str) -> str:
    """The whole page. Rows that were not measured stand in it as such."""
    results = results_of(records)
    parts = [HEAD, _circumstances(records, command), tally(tables, results)]
    for table in tables:
        parts += [f"## {table.title}", f"Source: {table.source}. {_images(table, results)}"]
        parts.append("\n".join(f"- {fact}" for fact in (*table.facts, _budget(table))))
        parts += [side_by_side(table, results)] if table.side_by_side else blocks(table, results)
        parts.append(searches(table, results))
        for row in table.rows:
            found = results.get(table.key(row), NOTHING)
            parts += [_trace(row, found) if row.trace else "", _front(row, found) if row.front else ""]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def _budget(table: Table) -> str:
    """What each search of the table may spend."""
    none = [row.method for row in table.rows if not row.searched and row.group == "main" and row.naive is not None]
    text = f"Each search: {table.budget.trials} trials with {table.budget.seeds} seed(s)."
    without = ", ".join(dict.fromkeys(none))
    if any(len(row.searched) == 1 for row in table.rows):
        text += " (A default that is one of the spread values is tried twice.)"
    return text + (f" Without a strength, and so without a search: {without}." if without else "")


def _circumstances(records: pa.Table, command: str) -> str:
    """Where, when and with what the numbers were measured."""
    if not records.num_rows:
        return f"Command: `{command}`. Nothing was measured yet."

    def different(column: str, between: str = ", ") -> str:
        return between.join(sorted({value for value in records[column].to_pylist() if value}))

    dates = sorted(date for date in records["started_at"].to_pylist() if date is not None)
    spent: dict[str, float] = {}
    for seconds, device in zip(records["train_s"].to_pylist(), records["device"].to_pylist(), strict=True):
        if seconds:  # a run that failed at once has none, and no device
            spent[device] = spent.get(device, 0.0) + seconds
    hours_on = ", ".join(f"{duration(seconds)} ({device})" for device, seconds in sorted(spent.items()))
    where = ", ".join(different("processor") if device == "cpu" else device for device in sorted(spent))
    return (
        f"Command: `{command}`. Measured from {dates[0]:%Y-%m-%d} to {dates[-1]:%Y-%m-%d} on {where} "
        f"with {different('versions', '; with ')}. The runs' times of training, added up, are "
        f"{hours_on}; a first task that runs share counts for each of them, and processes that share a GPU each count "
        "their own. Times of one device are not to be held against those of another."
    )


def _images(table: Table, results: Results) -> str:
    """How much of the published data there was, as the table's first measured row has it."""
    found = [m for row in table.rows if isinstance(m := results.get(table.key(row), NOTHING).measured, Measured)]
    if not found:
        return ""
    train, held_out, test = found[0].images
    return (
        f"Data: {train + held_out:,} of the {table.published_images:,} published training images ({held_out:,} of them "
        f"held out for validation), {test:,} test images."
    )


def _trace(row: Row, found: Found) -> str:
    """The accuracy on each task after each task, mean over seeds."""
    if isinstance(found.measured, str):
        return ""
    mean = 100 * np.mean(list(found.measured.matrices.values()), axis=0)
    heads = ("after", *(f"task {task}" for task in range(len(mean))))
    lines = [(f"task {t}", *(number(cell) if i <= t else "" for i, cell in enumerate(x))) for t, x in enumerate(mean)]
    return f"### Trace of `{row.name}`\n\n{markdown(heads, lines)}"


def _front(row: Row, found: Found) -> str:
    """The trials of the search that none dominates in stability and plasticity, as validation data sees them."""
    if not found.tried:
        return ""
    points = np.array([[tried.stability, tried.plasticity] for tried in found.tried])
    on_front = moocore.is_nondominated(points, maximise=True, keep_weakly=True)
    lines = [
        (
            str(tried.trial),
            *(setting(tried.setting[name]) for name in row.searched),
            *(number(100 * x) for x in (tried.stability, tried.plasticity, tried.average_accuracy)),
            "yes" if tried.chosen else "",
        )
        for tried, on in sorted(zip(found.tried, on_front, strict=True), key=lambda pair: pair[0].stability)
        if on
    ]
    heads = ("trial", *row.searched, "stability", "plasticity", "average accuracy", "chosen")
    text = (
        f"{len(found.tried)} trials went all the way; means over the seeds of the search. Stability is the accuracy on "
        "the tasks before the last one at the end, plasticity that on each task when it was learned, averaged."
    )
    return f"### Front of `{row.name}`, validation data\n\n{text}\n\n{markdown(heads, lines)}"
