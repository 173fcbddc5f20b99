"""Whether forgetting leaves a remedy anything to gain, `naive` beside `joint`, and whether a trial gains any of it."""

from __future__ import annotations

import pandas as pd

from analysis.aggregate import AVERAGE, AVERAGE_COLUMN, by_seed, row_of, trials, value
from analysis.among import among
from analysis.formatting import trial_name
from analysis.references import METHODS, best_reference
from analysis.seeds import counted
from analysis.uncertainty import Side, corrected, paired
from cfsweep.metrics.catalogue import SHARE, Bounds
from cfsweep.results.schema import MAJORITY, MAJORITY_TRIAL, NAIVE
from cfsweep.texts import LEAST, not_above, score_text

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


def note_on_gain(runs: pd.DataFrame, trial: int) -> str | None:
    """Says that the seeds do not show `trial`, which was chosen, to be better than `naive` in average score: the
    interval of the difference, corrected for the choice, holds 0 or lies below. With fewer than three seeds there is
    no interval, and the difference itself decides. None where it is better, or where one of them has not finished.

    `runs` are those of `analysis.load`; seeds count as in `analysis.trials`.
    """
    naive, others = best_reference(runs, NAIVE), among(runs, AVERAGE)
    side = others.side(trial)
    if side is None or row_of(trials(runs), naive) is None:
        return None
    reached = by_seed(counted(runs), [naive], [AVERAGE_COLUMN])[..., 0]
    found = corrected(Side(reached), side)
    raw = float((side.values[side.place] - reached[0]).mean())
    if (raw if found is None else found.interval[0]) > LEAST:
        return None
    said = score_text(raw, sign="+")
    if found is not None:
        said = f"{found.text}, corrected for the choice among {len(others.trials)}"
    return f"Trial {trial_name(trial)} is not shown to beat naive in average_score ({said})."
