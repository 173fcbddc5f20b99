"""Named metrics of one run's scores. NumPy only, pure.

`matrix[t, i]` is the score on task i after training task t, both from 0, in [0, 1]. What a metric needs beside the
matrix (`untrained`, `curves`, `joint`) is its second argument. A metric that is undefined is None, with the reason.
"""

from cfsweep.metrics.beside import (
    CurvePoint,
    average_minimum_score,
    forward_transfer,
    intransigence,
    worst_case_score,
)
from cfsweep.metrics.catalogue import ALL_METRICS, INTRANSIGENCE, METRICS, Metric, summarise
from cfsweep.metrics.matrix import (
    Matrix,
    UndefinedError,
    average_incremental_score,
    average_score,
    backward_transfer,
    backward_transfer_over_time,
    forgetting_first_minus_last,
    forgetting_max_before_last,
    forgetting_max_including_last,
    mixed,
    mixed_after,
    plasticity,
    positive_backward_transfer,
    remembering,
    retention_ratio,
    score_over_time,
    stability,
)

__all__ = [
    "ALL_METRICS",
    "INTRANSIGENCE",
    "METRICS",
    "CurvePoint",
    "Matrix",
    "Metric",
    "UndefinedError",
    "average_incremental_score",
    "average_minimum_score",
    "average_score",
    "backward_transfer",
    "backward_transfer_over_time",
    "forgetting_first_minus_last",
    "forgetting_max_before_last",
    "forgetting_max_including_last",
    "forward_transfer",
    "intransigence",
    "mixed",
    "mixed_after",
    "plasticity",
    "positive_backward_transfer",
    "remembering",
    "retention_ratio",
    "score_over_time",
    "stability",
    "summarise",
    "worst_case_score",
]
