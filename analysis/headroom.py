"""Whether forgetting leaves a remedy anything to gain: `naive` beside `joint`."""

from __future__ import annotations

import pandas as pd

from analysis.aggregate import AVERAGE_COLUMN, by_seed, row_of, trials, value
from analysis.references import METHODS, best_reference
from analysis.seeds import counted
from analysis.uncertainty import paired
from cfsweep.metrics.catalogue import SHARE, Bounds
from cfsweep.results.schema import MAJORITY, MAJORITY_TRIAL
from cfsweep.texts import not_above, score_text

# One point of average score. Another split of the validation data moves it by about as much or more (by deviations
# of 0.008 and 0.029 in docs/log.md, "how much of ± is the split?"): what a remedy could gain at most would be hidden.
NEGLIGIBLE = 0.01


def note_on_headroom(runs: pd.DataFrame, score_bounds: Bounds = SHARE) -> str | None:
    """Says what a remedy can gain here, where that may be nothing, by the average score of `joint`, trained on all
    data so far, and of `naive`, without a remedy, over the seeds that count.

    Where `joint` does not beat the constant answer, nothing was learned that could be forgotten: it says so, and judges
    no remedy. Else the interval of the paired difference joint - naive decides: where it ends at `NEGLIGIBLE` or
    below, no remedy is needed; where it holds 0 and reaches farther, these seeds do not show whether one is. None
    where it lies above 0, where one of them has not finished, and with fewer than three seeds.

    `runs` are those of `analysis.load`, and `score_bounds` those of the study's score: unless it lies in [0, 1] nobody
    can say what is negligible, and 0 alone is.
    """
    table, rows = trials(runs), counted(runs)
    naive, joint = (best_reference(runs, method) for method in METHODS)
    reached, constant = (value(row_of(table, number), AVERAGE_COLUMN) for number in (joint, MAJORITY_TRIAL))
    if reached is not None and constant is not None and not_above(reached, constant):
        both = f"{score_text(reached)} against {score_text(constant)}"
        return (
            f"Even joint, trained on all data so far, does not beat the constant answer ({MAJORITY}) in average score "
            f"({both}): nothing is learned that could be forgotten. Train for more epochs, or with another lr, before "
            "you judge a remedy."
        )
    if row_of(table, naive) is None or reached is None:
        return None
    values = by_seed(rows, [naive, joint], [AVERAGE_COLUMN])[..., 0]
    found = paired(values[1] - values[0])
    if found is None or found.interval[0] > 0:
        return None
    gap = f"the average score of joint, trained on all data so far, minus that of naive is {found.text}"
    if found.interval[1] <= (NEGLIGIBLE if score_bounds == SHARE else 0.0):
        return f"No remedy is needed here: {gap}."
    more = f"`cfsweep resume DIR --seeds {2 * values.shape[1]}` adds some"
    return f"These seeds do not show whether a remedy is needed: {gap}; {more}."
