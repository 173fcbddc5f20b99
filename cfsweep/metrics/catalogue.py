"""All metrics with their definitions, sources and ranges, and their values for one run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from cfsweep.metrics.beside import (
    CurvePoint,
    average_minimum_accuracy,
    forward_transfer,
    intransigence,
    worst_case_accuracy,
)
from cfsweep.metrics.matrix import (
    Matrix,
    UndefinedError,
    accuracy_over_time,
    average_accuracy,
    average_incremental_accuracy,
    backward_transfer,
    backward_transfer_over_time,
    forgetting_first_minus_last,
    forgetting_max_before_last,
    forgetting_max_including_last,
    plasticity,
    positive_backward_transfer,
    remembering,
    retention_ratio,
    stability,
)

_DIAZ = "Díaz-Rodríguez et al. 2018"
_UNSEEN = "a class not yet seen cannot be predicted in class-il"
_INFINITY = float("inf")


@dataclass(frozen=True)
class Metric:
    """A metric: its definition in words, its formula, where its values lie, where it is undefined.

    The formula takes the matrix, and as a second argument what `beside` names. `undefined_in` maps a scenario to the
    reason; `undefined_if` says in words when the formula raises `UndefinedError`.
    """

    name: str
    definition: str
    source: str
    formula: Callable[..., float]
    bounds: tuple[float, float] = (0.0, 1.0)
    higher_is_better: bool = True
    min_tasks: int = 2
    beside: Literal["untrained", "curves", "joint"] | None = None
    undefined_in: Mapping[str, str] = field(default_factory=dict)
    undefined_if: str = ""


METRICS: tuple[Metric, ...] = (
    Metric(
        "average_accuracy",
        "mean_i R[T-1, i]",
        "Lopez-Paz & Ranzato 2017, eq. 2 (ACC)",
        average_accuracy,
        min_tasks=1,
    ),
    Metric(
        "average_incremental_accuracy",
        "mean_t mean_{i<=t} R[t, i]",
        "Rebuffi et al. 2017, sec. 4.1",
        average_incremental_accuracy,
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
    ),
    Metric(
        "forward_transfer",
        "mean_{i>0} (R[i-1, i] - R[-1, i])",
        "Lopez-Paz & Ranzato 2017, eq. 4 (FWT)",
        forward_transfer,
        (-1.0, 1.0),
        beside="untrained",
        undefined_in={"class-il": _UNSEEN},
    ),
    Metric(
        "forgetting_max_before_last",
        "mean_{i<T-1} (max_{i<=t<T-1} R[t, i] - R[T-1, i])",
        "Chaudhry et al. 2018, eq. 3 (forgetting measure)",
        forgetting_max_before_last,
        (-1.0, 1.0),
        higher_is_better=False,
    ),
    Metric(
        "forgetting_max_including_last",
        "mean_{i<T-1} (max_{i<=t<=T-1} R[t, i] - R[T-1, i])",
        "Buzzega et al. 2020 (code of Mammoth)",
        forgetting_max_including_last,
        higher_is_better=False,
    ),
    Metric(
        "forgetting_first_minus_last",
        "mean_{i<T-1} (R[i, i] - R[T-1, i])",
        "Lomonaco et al. 2021 (code of Avalanche)",
        forgetting_first_minus_last,
        (-1.0, 1.0),
        higher_is_better=False,
    ),
    Metric(
        "retention_ratio",
        "mean_{i<T-1} R[T-1, i] / R[i, i]",
        "cfsweep",
        retention_ratio,
        (0.0, _INFINITY),
        undefined_if="R[i, i] = 0 for some i < T-1",
    ),
    Metric(
        "accuracy_over_time",
        "sum_{i<=t} R[t, i] / (T (T+1) / 2)",
        f"{_DIAZ} (A)",
        accuracy_over_time,
        min_tasks=1,
    ),
    Metric(
        "backward_transfer_over_time",
        "sum_{i<t} (R[t, i] - R[i, i]) / (T (T-1) / 2)",
        f"{_DIAZ} (BWT)",
        backward_transfer_over_time,
        (-1.0, 1.0),
    ),
    Metric(
        "remembering",
        "1 - abs(min(backward_transfer_over_time, 0))",
        f"{_DIAZ} (REM)",
        remembering,
    ),
    Metric(
        "positive_backward_transfer",
        "max(backward_transfer_over_time, 0)",
        f"{_DIAZ} (BWT+)",
        positive_backward_transfer,
    ),
    Metric(
        "average_minimum_accuracy",
        "mean_{i<T-1} min_n A(i, n), n over the evaluations during and at the end of the tasks after i",
        "De Lange et al. 2023 (min-ACC)",
        average_minimum_accuracy,
        beside="curves",
        undefined_if="curve_points_per_task = 0",
    ),
    Metric(
        "worst_case_accuracy",
        "R[T-1, T-1] / T + (1 - 1/T) average_minimum_accuracy",
        "De Lange et al. 2023 (WC-ACC)",
        worst_case_accuracy,
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
    undefined_if="no joint reference with that seed is done",
)

ALL_METRICS = (*METRICS, INTRANSIGENCE)


def summarise(
    matrix: Matrix, untrained: Matrix, scenario: str, n_tasks: int, curves: Sequence[CurvePoint] = ()
) -> tuple[dict[str, float | None], dict[str, str]]:
    """Every metric of `METRICS` by name, and for each None the reason.

    `matrix` is (tasks_done, n_tasks): a run that ended early has fewer rows, and no metric. `untrained` is
    (n_tasks,), `curves` are the evaluations during training. Values are those of the formulas, in their own units.

    >>> import numpy as np
    >>> values, missing = summarise(np.array([[0.9]]), np.array([0.5]), "task-il", n_tasks=1)
    >>> values["average_accuracy"], values["stability"], missing["stability"]
    (0.9, None, 'needs at least 2 tasks')
    """
    given: dict[str, object] = {"untrained": untrained, "curves": curves}
    values: dict[str, float | None] = {}
    missing: dict[str, str] = {}
    for metric in METRICS:
        try:
            _check(metric, len(matrix), n_tasks, scenario)
            second = () if metric.beside is None else (given[metric.beside],)
            values[metric.name] = metric.formula(matrix, *second)
        except UndefinedError as error:
            values[metric.name] = None
            missing[metric.name] = str(error)
    return values, missing


def _check(metric: Metric, tasks_done: int, n_tasks: int, scenario: str) -> None:
    if tasks_done < n_tasks:
        raise UndefinedError(f"ended after {tasks_done} of {n_tasks} tasks")
    if n_tasks < metric.min_tasks:
        raise UndefinedError(f"needs at least {metric.min_tasks} tasks")
    if scenario in metric.undefined_in:
        raise UndefinedError(metric.undefined_in[scenario])
