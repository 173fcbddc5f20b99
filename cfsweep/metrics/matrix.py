"""Metrics of the (T, T) score matrix alone."""

from __future__ import annotations

import contextlib

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


class UndefinedError(ValueError):
    """The metric has no value for these scores; the message is the reason."""


def mean_known(values: Matrix) -> float:
    """The mean of the values that are there: a task on which the score has none (NaN) does not count.

    Raises:
        UndefinedError: none is there.

    >>> mean_known(np.array([1.0, np.nan, 2.0]))
    1.5
    """
    known = ~np.isnan(values)
    if known.all():
        return float(values.mean())
    if not known.any():
        raise UndefinedError("the score has no value on any of the tasks that count")
    return float(values[known].mean())


def _mean_or_nan(values: Matrix) -> float:
    try:
        return mean_known(values)
    except UndefinedError:
        return np.nan


def average_score(matrix: Matrix) -> float:
    """Mean score over all tasks at the end, `mean_i R[T-1, i]`, in [0, 1].

    References:
        Lopez-Paz & Ranzato 2017, "Gradient Episodic Memory for Continual Learning", eq. 2 (ACC).

    >>> average_score(np.array([[0.9, 0.5], [0.7, 0.8]]))
    0.75
    """
    return mean_known(matrix[-1])


def average_incremental_score(matrix: Matrix) -> float:
    """Mean over t of the mean score on the tasks seen so far, `mean_t mean_{i<=t} R[t, i]`, in [0, 1].

    References:
        Rebuffi et al. 2017, "iCaRL: Incremental Classifier and Representation Learning", sec. 4.1.

    >>> average_incremental_score(np.array([[0.9, 0.5], [0.7, 0.8]]))
    0.825
    """
    return mean_known(np.array([_mean_or_nan(matrix[t, : t + 1]) for t in range(len(matrix))]))


def plasticity(matrix: Matrix) -> float:
    """Mean score on each task right after it was learned, `mean_i R[i, i]`, in [0, 1].

    References:
        Riemer et al. 2019, "Learning to Learn without Forgetting by Maximizing Transfer and Minimizing Interference"
        (learning accuracy, LA).

    >>> round(plasticity(np.array([[0.9, 0.5], [0.7, 0.8]])), 12)
    0.85
    """
    return mean_known(np.diag(matrix))


def stability(matrix: Matrix) -> float:
    """Mean score on the old tasks at the end, `mean_{i<T-1} R[T-1, i]`, in [0, 1].

    Shares no cell with `plasticity`; a network that learns nothing earns no stability.

    >>> stability(np.array([[0.9, 0.5], [0.7, 0.8]]))
    0.7
    """
    return mean_known(matrix[-1, :-1])


def backward_transfer(matrix: Matrix) -> float:
    """What later tasks did to old ones, `mean_{i<T-1} (R[T-1, i] - R[i, i])`, in [-1, 1].

    References:
        Lopez-Paz & Ranzato 2017, "Gradient Episodic Memory for Continual Learning", eq. 3 (BWT).

    >>> round(backward_transfer(np.array([[0.9, 0.5], [0.7, 0.8]])), 12)
    -0.2
    """
    return mean_known((matrix[-1] - np.diag(matrix))[:-1])


def forgetting_max_before_last(matrix: Matrix) -> float:
    """`mean_{i<T-1} (max_{i<=t<T-1} R[t, i] - R[T-1, i])`, in [-1, 1].

    Negative where the last task improved the old ones beyond all that came before.

    References:
        Chaudhry et al. 2018, "Riemannian Walk for Incremental Learning", eq. 3 (forgetting measure).

    >>> round(forgetting_max_before_last(np.array([[0.9, 0.5], [0.7, 0.8]])), 12)
    0.2
    """
    last = len(matrix) - 1
    return mean_known(np.array([matrix[i:last, i].max() - matrix[last, i] for i in range(last)]))


def forgetting_max_including_last(matrix: Matrix) -> float:
    """`mean_{i<T-1} (max_{i<=t<=T-1} R[t, i] - R[T-1, i])`, in [0, 1].

    The maximum may be the last score itself: an old task that improved counts as 0, never as negative.

    References:
        Buzzega et al. 2020, "Dark Experience for General Continual Learning", as in the code of Mammoth.

    >>> round(forgetting_max_including_last(np.array([[0.6, 0.5], [0.7, 0.8]])), 12)
    0.0
    """
    last = len(matrix) - 1
    return mean_known(np.array([matrix[i:, i].max() - matrix[last, i] for i in range(last)]))


def forgetting_first_minus_last(matrix: Matrix) -> float:
    """`mean_{i<T-1} (R[i, i] - R[T-1, i])`, in [-1, 1]: `backward_transfer` with the sign turned.

    References:
        Lomonaco et al. 2021, "Avalanche: an End-to-End Library for Continual Learning", as in its code.

    >>> round(forgetting_first_minus_last(np.array([[0.6, 0.5], [0.7, 0.8]])), 12)
    -0.1
    """
    return -backward_transfer(matrix)


def retention_ratio(matrix: Matrix) -> float:
    """The share of what was learned that is left at the end, `mean_{i<T-1} R[T-1, i] / R[i, i]`, in [0, inf).

    Raises:
        UndefinedError: an old task had score 0 right after it was learned.

    >>> round(retention_ratio(np.array([[0.8, 0.5], [0.6, 0.8]])), 12)
    0.75
    """
    learned = np.diag(matrix)[:-1]
    if not learned.all():
        task = int(np.argmin(learned))
        raise UndefinedError(f"the score on task {task} was 0 right after it was learned")
    return mean_known(matrix[-1, :-1] / learned)


def score_over_time(matrix: Matrix) -> float:
    """Mean of all scores on tasks seen so far, `sum_{i<=t} R[t, i] / (T (T+1) / 2)`, in [0, 1].

    Weighs cells alike, where `average_incremental_score` weighs rows alike.

    References:
        Díaz-Rodríguez et al. 2018, "Don't forget, there is more than forgetting: new metrics for Continual Learning"
        (accuracy A).

    >>> round(score_over_time(np.array([[0.9, 0.5], [0.7, 0.8]])), 12)
    0.8
    """
    return mean_known(matrix[np.tril_indices(len(matrix))])


def backward_transfer_over_time(matrix: Matrix) -> float:
    """`sum_{i<t} (R[t, i] - R[i, i]) / (T (T-1) / 2)`, in [-1, 1]: after every task, not only the last.

    References:
        Díaz-Rodríguez et al. 2018, "Don't forget, there is more than forgetting: new metrics for Continual Learning"
        (BWT).

    >>> round(backward_transfer_over_time(np.array([[0.9, 0.5], [0.7, 0.8]])), 12)
    -0.2
    """
    changes = matrix - np.diag(matrix)
    return mean_known(changes[np.tril_indices(len(matrix), k=-1)])


def remembering(matrix: Matrix) -> float:
    """`1 - |min(BWT, 0)|` of `backward_transfer_over_time`, in [0, 1]; 1 is no forgetting.

    References:
        Díaz-Rodríguez et al. 2018, "Don't forget, there is more than forgetting: new metrics for Continual Learning"
        (REM).

    >>> round(remembering(np.array([[0.9, 0.5], [0.7, 0.8]])), 12)
    0.8
    """
    return 1.0 - abs(min(backward_transfer_over_time(matrix), 0.0))


def positive_backward_transfer(matrix: Matrix) -> float:
    """`max(BWT, 0)` of `backward_transfer_over_time`, in [0, 1].

    References:
        Díaz-Rodríguez et al. 2018, "Don't forget, there is more than forgetting: new metrics for Continual Learning"
        (BWT+).

    >>> positive_backward_transfer(np.array([[0.9, 0.5], [0.7, 0.8]]))
    0.0
    """
    return max(backward_transfer_over_time(matrix), 0.0)


def mixed_after(matrix: Matrix, task: int, old_weight: float) -> float:
    """`w * mean_{i<t} R[t, i] + (1-w) * R[t, t]` after task t >= 1, in [0, 1]; each task weighs the same.

    >>> mixed_after(np.array([[0.9, 0.5], [0.7, 0.8]]), task=1, old_weight=0.5)
    0.75
    """
    return old_weight * mean_known(matrix[task, :task]) + (1 - old_weight) * mean_known(matrix[task, task:][:1])


def mixed(matrix: Matrix, old_weight: float = 0.5) -> float:
    """`mixed_after` averaged over the tasks t = 1 .. T-1 of a (T, T) matrix, in [0, 1].

    Raises:
        ValueError: fewer than two tasks.

    >>> mixed(np.array([[0.9, 0.5], [0.7, 0.8]]))
    0.75
    """
    if len(matrix) < 2:
        raise ValueError("the mixed objective needs at least two tasks")
    afterwards = []
    for task in range(1, len(matrix)):
        with contextlib.suppress(UndefinedError):
            afterwards.append(mixed_after(matrix, task, old_weight))
    return mean_known(np.array(afterwards or [np.nan]))
