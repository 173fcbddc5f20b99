"""Metrics that need something beside the score matrix: the untrained network, curves, the joint reference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cfsweep.metrics.matrix import Matrix, UndefinedError, mean_known, plasticity

# (task in training, step, task evaluated, score): an evaluation in the middle of a task.
CurvePoint = tuple[int, int, int, float]


def forward_transfer(matrix: Matrix, untrained: Matrix) -> float:
    """What earlier tasks did to one not yet trained, `mean_{i>0} (R[i-1, i] - untrained[i])`, in [-1, 1].

    `untrained` (T,) holds the scores of the network before any training.

    Raises:
        UndefinedError: the untrained network was not evaluated (NaN).

    References:
        Lopez-Paz & Ranzato 2017, "Gradient Episodic Memory for Continual Learning", eq. 4 (FWT).

    >>> round(forward_transfer(np.array([[0.9, 0.6], [0.7, 0.8]]), np.array([0.5, 0.5])), 12)
    0.1
    """
    if np.isnan(untrained[1:]).all():
        raise UndefinedError("the untrained network was not evaluated")
    return mean_known(np.diag(matrix, k=1) - untrained[1:])


def average_minimum_score(matrix: Matrix, curves: Sequence[CurvePoint]) -> float:
    """Mean over the old tasks of the lowest score since each was finished, in [0, 1].

    `mean_{i<T-1} min_n A(i, n)`, n over the evaluations in the middle and at the end of all later tasks. The paper
    evaluates at every step; with fewer points a dip may pass unseen, so this is an upper bound of the paper's value.

    Raises:
        UndefinedError: there were no evaluations during training.

    References:
        De Lange et al. 2023, "Continual evaluation for lifelong learning: Identifying the stability gap" (min-ACC).

    >>> average_minimum_score(np.array([[0.9, 0.5], [0.7, 0.8]]), [(0, 5, 0, 0.2), (1, 5, 0, 0.6), (1, 5, 1, 0.5)])
    0.6
    """
    if not curves:
        raise UndefinedError("needs curve_points_per_task > 0")
    lowest = np.array([matrix[i + 1 :, i].min() for i in range(len(matrix) - 1)])
    for task, _, seen, score in curves:
        if task > seen:
            lowest[seen] = min(lowest[seen], score)
    return mean_known(lowest)


def worst_case_score(matrix: Matrix, curves: Sequence[CurvePoint]) -> float:
    """`R[T-1, T-1] / T + (1 - 1/T) * average_minimum_score`, in [0, 1]: at most the average score.

    Raises:
        UndefinedError: there were no evaluations during training, or the last task has no score.

    References:
        De Lange et al. 2023, "Continual evaluation for lifelong learning: Identifying the stability gap" (WC-ACC).

    >>> round(worst_case_score(np.array([[0.9, 0.5], [0.7, 0.8]]), [(1, 5, 0, 0.6)]), 12)
    0.7
    """
    share = 1 / len(matrix)
    return share * mean_known(matrix[-1:, -1]) + (1 - share) * average_minimum_score(matrix, curves)


def intransigence(matrix: Matrix, joint: Matrix) -> float:
    """How far learning stays behind joint training, `mean_k (J[k, k] - R[k, k])`, in [-1, 1].

    `joint` (T, T) is the score matrix of the joint reference, trained on all data up to k when `J[k, k]` is taken.
    The paper gives the term of one task k; this is its mean over the tasks, hence a difference of two plasticities.

    References:
        Chaudhry et al. 2018, "Riemannian Walk for Incremental Learning" (intransigence measure).

    >>> round(intransigence(np.array([[0.9, 0.5], [0.7, 0.8]]), np.array([[0.9, 0.5], [0.9, 0.9]])), 12)
    0.05
    """
    return plasticity(joint) - plasticity(matrix)
