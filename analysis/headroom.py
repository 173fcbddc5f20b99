"""Whether forgetting leaves a remedy anything to gain: `naive` beside `joint`."""

from __future__ import annotations

import pandas as pd

from analysis.aggregate import AVERAGE_COLUMN, by_seed, row_of, trials
from analysis.references import METHODS, best_reference
from analysis.seeds import counted
from analysis.uncertainty import paired


def note_on_headroom(runs: pd.DataFrame) -> str | None:
    """Says so where the seeds do not show that the average accuracy of `joint`, trained on all data so far, is above
    that of `naive`, without a remedy: where the interval of the paired difference holds 0, or lies below it. It
    may lie above all the same where the interval is wide, which is therefore told. None where it is shown, where one
    of them has not finished, and with fewer than three seeds.

    `runs` are those of `analysis.load`.
    """
    table, rows = trials(runs), counted(runs)
    naive, joint = (best_reference(runs, method) for method in METHODS)
    if row_of(table, naive) is None or row_of(table, joint) is None:
        return None
    values = by_seed(rows, [naive, joint], [AVERAGE_COLUMN])[..., 0]
    found = paired(values[1] - values[0])
    if found is None or found.interval[0] > 0:
        return None
    return (
        "No remedy is needed here, as far as these seeds show: the average accuracy of joint, trained on all data so "
        f"far, minus that of naive is {found.text}."
    )
