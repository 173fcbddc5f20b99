"""Named metrics of one run's accuracy matrix. NumPy only, pure.

`matrix[t, i]` is the accuracy on task i after training task t, both from 0, in [0, 1]; `untrained[i]` is the
accuracy of the network before any training. A metric that is undefined is None, with the reason beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Metric:
    """A metric: its definition in words, its formula, the fewest tasks it needs, where it is undefined."""

    name: str
    definition: str
    source: str
    formula: Callable[[Matrix, Matrix], float]
    min_tasks: int = 1
    undefined_in: Mapping[str, str] | None = None


def average_accuracy(matrix: Matrix, untrained: Matrix | None = None) -> float:
    """Mean accuracy over all tasks at the end, `mean_i R[T-1, i]`, in [0, 1].

    >>> average_accuracy(np.array([[0.9, 0.5], [0.7, 0.8]]))
    0.75
    """
    return float(matrix[-1].mean())


def average_incremental_accuracy(matrix: Matrix, untrained: Matrix | None = None) -> float:
    """Mean over t of the mean accuracy on the tasks seen so far, in [0, 1] (Rebuffi et al. 2017).

    >>> average_incremental_accuracy(np.array([[0.9, 0.5], [0.7, 0.8]]))
    0.825
    """
    return float(np.mean([matrix[t, : t + 1].mean() for t in range(len(matrix))]))


def plasticity(matrix: Matrix, untrained: Matrix | None = None) -> float:
    """Mean accuracy on each task right after it was learned, `mean_i R[i, i]`, in [0, 1].

    >>> round(plasticity(np.array([[0.9, 0.5], [0.7, 0.8]])), 12)
    0.85
    """
    return float(np.diag(matrix).mean())


def stability(matrix: Matrix, untrained: Matrix | None = None) -> float:
    """Mean accuracy on the old tasks at the end, `mean_{i<T-1} R[T-1, i]`, in [0, 1].

    Shares no cell with `plasticity`; a network that learns nothing earns no stability.

    >>> stability(np.array([[0.9, 0.5], [0.7, 0.8]]))
    0.7
    """
    return float(matrix[-1, :-1].mean())


def backward_transfer(matrix: Matrix, untrained: Matrix | None = None) -> float:
    """`mean_{i<T-1} (R[T-1, i] - R[i, i])`, in [-1, 1] (Lopez-Paz & Ranzato 2017, eq. 3).

    >>> round(backward_transfer(np.array([[0.9, 0.5], [0.7, 0.8]])), 12)
    -0.2
    """
    return float((matrix[-1] - np.diag(matrix))[:-1].mean())


def forward_transfer(matrix: Matrix, untrained: Matrix | None = None) -> float:
    """`mean_{i>0} (R[i-1, i] - untrained[i])`, in [-1, 1] (Lopez-Paz & Ranzato 2017, eq. 4).

    >>> round(forward_transfer(np.array([[0.9, 0.6], [0.7, 0.8]]), np.array([0.5, 0.5])), 12)
    0.1
    """
    assert untrained is not None
    ahead = np.diag(matrix, k=1)
    return float((ahead - untrained[1:]).mean())


def forgetting_max_before_last(matrix: Matrix, untrained: Matrix | None = None) -> float:
    """`mean_{i<T-1} (max_{t<T-1} R[t, i] - R[T-1, i])`, in [-1, 1] (Chaudhry et al. 2018, eq. 3).

    The maximum runs over the tasks before the last one, from the task itself on.

    >>> round(forgetting_max_before_last(np.array([[0.9, 0.5], [0.7, 0.8]])), 12)
    0.2
    """
    last = len(matrix) - 1
    return float(np.mean([matrix[i:last, i].max() - matrix[last, i] for i in range(last)]))


def mixed_after(matrix: Matrix, task: int, old_weight: float) -> float:
    """`w * mean_{i<t} R[t, i] + (1-w) * R[t, t]` after task t >= 1, in [0, 1]; each task weighs the same.

    >>> mixed_after(np.array([[0.9, 0.5], [0.7, 0.8]]), task=1, old_weight=0.5)
    0.75
    """
    return float(old_weight * matrix[task, :task].mean() + (1 - old_weight) * matrix[task, task])


def mixed(matrix: Matrix, old_weight: float = 0.5) -> float:
    """`mixed_after` averaged over the tasks t = 1 .. T-1 of a (T, T) matrix, in [0, 1].

    Raises:
        ValueError: fewer than two tasks.

    >>> mixed(np.array([[0.9, 0.5], [0.7, 0.8]]))
    0.75
    """
    if len(matrix) < 2:
        raise ValueError("the mixed objective needs at least two tasks")
    return float(np.mean([mixed_after(matrix, t, old_weight) for t in range(1, len(matrix))]))


_TWO = 2
METRICS: tuple[Metric, ...] = (
    Metric("average_accuracy", "mean_i R[T-1, i]", "Lopez-Paz & Ranzato 2017, eq. 2", average_accuracy),
    Metric(
        "average_incremental_accuracy",
        "mean_t mean_{i<=t} R[t, i]",
        "Rebuffi et al. 2017, sec. 4.1",
        average_incremental_accuracy,
    ),
    Metric("stability", "mean_{i<T-1} R[T-1, i]", "cfsweep", stability, _TWO),
    Metric("plasticity", "mean_i R[i, i]", "Riemer et al. 2019 (learning accuracy)", plasticity),
    Metric(
        "backward_transfer",
        "mean_{i<T-1} (R[T-1, i] - R[i, i])",
        "Lopez-Paz & Ranzato 2017, eq. 3",
        backward_transfer,
        _TWO,
    ),
    Metric(
        "forward_transfer",
        "mean_{i>0} (R[i-1, i] - R[-1, i])",
        "Lopez-Paz & Ranzato 2017, eq. 4",
        forward_transfer,
        _TWO,
        {"class-il": "a class not yet seen cannot be predicted in class-il"},
    ),
    Metric(
        "forgetting_max_before_last",
        "mean_{i<T-1} (max_{i<=t<T-1} R[t, i] - R[T-1, i])",
        "Chaudhry et al. 2018, eq. 3",
        forgetting_max_before_last,
        _TWO,
    ),
)


def summarise(
    matrix: Matrix, untrained: Matrix, scenario: str, n_tasks: int
) -> tuple[dict[str, float | None], dict[str, str]]:
    """Every metric of `METRICS` by name, and for each None the reason.

    `matrix` is (tasks_done, n_tasks): a run that ended early has fewer rows, and no metric. `untrained` is
    (n_tasks,). Values are those of the formulas, in their own units.

    >>> values, missing = summarise(np.array([[0.9]]), np.array([0.5]), "task-il", n_tasks=1)
    >>> values["average_accuracy"], values["stability"], missing["stability"]
    (0.9, None, 'needs at least 2 tasks')
    """
    values: dict[str, float | None] = {}
    missing: dict[str, str] = {}
    for metric in METRICS:
        reason = (metric.undefined_in or {}).get(scenario)
        if len(matrix) < n_tasks:
            reason = f"ended after {len(matrix)} of {n_tasks} tasks"
        elif n_tasks < metric.min_tasks:
            reason = f"needs at least {metric.min_tasks} tasks"
        values[metric.name] = None if reason else metric.formula(matrix, untrained)
        if reason:
            missing[metric.name] = reason
    return values, missing
