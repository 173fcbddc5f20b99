"""All metrics with their definitions, sources and ranges, and their values for one run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from cfsweep.metrics.beside import (
    CurvePoint,
    average_minimum_score,
    forward_transfer,
    intransigence,
    worst_case_score,
)
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
    plasticity,
    positive_backward_transfer,
    remembering,
    retention_ratio,
    score_over_time,
    stability,
)

_DIAZ = "Díaz-Rodríguez et al. 2018"
_UNSEEN = "a class not yet seen cannot be predicted in class-il"
_INFINITY = float("inf")
Bounds = tuple[float, float]
SHARE: Bounds = (0.0, 1.0)  # of a score that is one, as accuracy is


@dataclass(frozen=True)
class Metric:
    """A metric: its definition in words, its formula, where its values lie, where it is undefined.

    The formula takes the matrix, and as a second argument what `beside` names. `undefined_in` maps a scenario to the
    reason; `undefined_if` says in words when the formula raises `UndefinedError`. `bounds` are those of a score that
    lies in [0, 1]; `of` tells what becomes of them where it lies elsewhere: it is a `level` of the score, a `change`
    from one score to another, or something that takes a score from 0 up (`ratio`) or one in [0, 1] (`share`).
    """

    name: str
    definition: str
    source: str
    formula: Callable[..., float]
    bounds: Bounds = SHARE
    higher_is_better: bool = True
    min_tasks: int = 2
    of: Literal["level", "change", "ratio", "share"] = "level"
    beside: Literal["untrained", "curves", "joint"] | None = None
    undefined_in: Mapping[str, str] = field(default_factory=dict)
    undefined_if: str = ""

    def within(self, score: Bounds) -> Bounds:
        """Between what it lies where the score lies within these bounds.

        >>> [metric.within((-1.0, 1.0)) for metric in METRICS if metric.name in ("stability", "backward_transfer")]
        [(-1.0, 1.0), (-2.0, 2.0)]
        """
        if self.of == "level":
            return score
        if self.of == "change":
            width = score[1] - score[0]
            return (self.bounds[0] and self.bounds[0] * width, self.bounds[1] and self.bounds[1] * width)
        return self.bounds


METRICS: tuple[Metric, ...] = (
    Metric(
        "average_score",
        "mean_i R[T-1, i]",
        "Lopez-Paz & Ranzato 2017, eq. 2 (ACC)",
        average_score,
        min_tasks=1,
    ),
    Metric(
        "average_incremental_score",
        "mean_t mean_{i<=t} R[t, i]",
        "Rebuffi et al. 2017, sec. 4.1",
        average_incremental_score,
        min_tasks=1,
    ),
    Metric("stability", "mean_{i<T-1} R[T-1, i]", "cfsweep", stability),
    Metric(
        "plasticity",
        "mean_i R[i, i]",
        "Riemer et al. 2019 (learning accuracy, LA)",
        plasticity,
        min_tasks=1,
    ),
    Metric(
        "backward_transfer",
        "mean_{i<T-1} (R[T-1, i] - R[i, i])",
        "Lopez-Paz & Ranzato 2017, eq. 3 (BWT)",
        backward_transfer,
        (-1.0, 1.0),
        of="change",
    ),
    Metric(
        "forward_transfer",
        "mean_{i>0} (R[i-1, i] - R[-1, i])",
        "Lopez-Paz & Ranzato 2017, eq. 4 (FWT)",
        forward_transfer,
        (-1.0, 1.0),
        beside="untrained",
        undefined_in={"class-il": _UNSEEN},
        of="change",
    ),
    Metric(
        "forgetting_max_before_last",
        "mean_{i<T-1} (max_{i<=t<T-1} R[t, i] - R[T-1, i])",
        "Chaudhry et al. 2018, eq. 3 (forgetting measure)",
        forgetting_max_before_last,
        (-1.0, 1.0),
        higher_is_better=False,
        of="change",
    ),
    Metric(
        "forgetting_max_including_last",
        "mean_{i<T-1} (max_{i<=t<=T-1} R[t, i] - R[T-1, i])",
        "Buzzega et al. 2020 (code of Mammoth)",
        forgetting_max_including_last,
        higher_is_better=False,
        of="change",
    ),
    Metric(
        "forgetting_first_minus_last",
        "mean_{i<T-1} (R[i, i] - R[T-1, i])",
        "Lomonaco et al. 2021 (code of Avalanche)",
        forgetting_first_minus_last,
        (-1.0, 1.0),
        higher_is_better=False,
        of="change",
    ),
    Metric(
        "retention_ratio",
        "mean_{i<T-1} R[T-1, i] / R[i, i]",
        "cfsweep",
        retention_ratio,
        (0.0, _INFINITY),
        undefined_if="R[i, i] = 0 for some i < T-1",
        of="ratio",
    ),
    Metric(
        "score_over_time",
        "sum_{i<=t} R[t, i] / (T (T+1) / 2)",
        f"{_DIAZ} (A)",
        score_over_time,
        min_tasks=1,
    ),
    Metric(
        "backward_transfer_over_time",
        "sum_{i<t} (R[t, i] - R[i, i]) / (T (T-1) / 2)",
        f"{_DIAZ} (BWT)",
        backward_transfer_over_time,
        (-1.0, 1.0),
        of="change",
    ),
    Metric(
        "remembering",
        "1 - abs(min(backward_transfer_over_time, 0))",
        f"{_DIAZ} (REM)",
        remembering,
        of="share",
    ),
    Metric(
        "positive_backward_transfer",
        "max(backward_transfer_over_time, 0)",
        f"{_DIAZ} (BWT+)",
        positive_backward_transfer,
        of="change",
    ),
    Metric(
        "average_minimum_score",
        "mean_{i<T-1} min_n A(i, n), n over the evaluations during and at the end of the tasks after i",
        "De Lange et al. 2023 (min-ACC)",
        average_minimum_score,
        beside="curves",
        undefined_if="curve_points_per_task = 0",
    ),
    Metric(
        "worst_case_score",
        "R[T-1, T-1] / T + (1 - 1/T) average_minimum_score",
        "De Lange et al. 2023 (WC-ACC)",
        worst_case_score,
        beside="curves",
        undefined_if="curve_points_per_task = 0",
    ),
)

# Not a metric of one run: it needs the joint reference of the same seed, and is added where runs are read.
INTRANSIGENCE = Metric(
    "intransigence",
    "mean_k (J[k, k] - R[k, k]), J of the joint reference with the same seed",
    "Chaudhry et al. 2018 (intransigence measure)",
    intransigence,
    (-1.0, 1.0),
    higher_is_better=False,
    min_tasks=1,
    beside="joint",
    of="change",
    undefined_if="no joint reference with that seed is done",
)

ALL_METRICS = (*METRICS, INTRANSIGENCE)


def summarise(
    matrix: Matrix,
    untrained: Matrix,
    scenario: str,
    n_tasks: int,
    curves: Sequence[CurvePoint] = (),
    score: Bounds = SHARE,
) -> tuple[dict[str, float | None], dict[str, str]]:
    """Every metric of `METRICS` by name, and for each None the reason.

    `matrix` is (tasks_done, n_tasks): a run that ended early has fewer rows, and no metric. `untrained` is
    (n_tasks,), `curves` are the evaluations during training; `score` is between what a score lies. Values are those of
    the formulas, in their own units. A task on which the score has no value (NaN) does not count.

    >>> import numpy as np
    >>> values, missing = summarise(np.array([[0.9]]), np.array([0.5]), "task-il", n_tasks=1)
    >>> values["average_score"], values["stability"], missing["stability"]
    (0.9, None, 'needs at least 2 tasks')
    """
    given: dict[str, object] = {"untrained": untrained, "curves": curves}
    values: dict[str, float | None] = {}
    missing: dict[str, str] = {}
    for metric in METRICS:
        try:
            _check(metric, len(matrix), n_tasks, scenario, score)
            second = () if metric.beside is None else (given[metric.beside],)
            values[metric.name] = metric.formula(matrix, *second)
        except UndefinedError as error:
            values[metric.name] = None
            missing[metric.name] = str(error)
    return values, missing


def _check(metric: Metric, tasks_done: int, n_tasks: int, scenario: str, score: Bounds) -> None:
    if metric.of == "ratio" and score[0] < 0:
        raise UndefinedError("a share of a score needs one that is never below 0")
    if metric.of == "share" and not (score[0] >= 0 and score[1] <= 1):
        raise UndefinedError("needs a score that lies in [0, 1]")
    if tasks_done < n_tasks:
        raise UndefinedError(f"ended after {tasks_done} of {n_tasks} tasks")
    if n_tasks < metric.min_tasks:
        raise UndefinedError(f"needs at least {metric.min_tasks} tasks")
    if scenario in metric.undefined_in:
        raise UndefinedError(metric.undefined_in[scenario])
