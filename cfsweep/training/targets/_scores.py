"""How well examples are answered, by name. scikit-learn's scores where it has them, row by row; see `Score`.

scikit-learn is loaded when a score is first taken: it takes a second, and most sweeps need none of it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cfsweep.training.targets._base import Floats, Score

INFINITY = float("inf")
Values = NDArray[Any]
OfOne = Callable[[Values, Values], float]
"""The score of one row, from the labels and the answers to them, as scikit-learn has it."""


def accuracy(predictions: Tensor, labels: Tensor) -> Tensor:
    """The share (rows,) float64 of the n predictions (rows, n) that are the labels (n,).

    >>> accuracy(torch.tensor([[1, 0], [1, 2]]), torch.tensor([1, 0]))
    tensor([1.0000, 0.5000], dtype=torch.float64)
    """
    return (predictions == labels).sum(1).double() / labels.shape[-1]


def accuracy_variance(values: Floats, n_examples: Floats) -> Floats:
    """That of the share of right answers among `n_examples` independent ones: p (1 - p) / n."""
    return values * (1 - values) / n_examples


def by_row(of_one: OfOne) -> Callable[[Tensor, Tensor], Tensor]:
    """`of_one` for each row of answers (rows, n, ...): (rows,) float64; NaN where it has no value, or where the answers
    are not finite."""

    def of(answers: Tensor, labels: Tensor) -> Tensor:
        truth, rows = labels.cpu().numpy(), answers.cpu().numpy()
        found = [of_one(truth, row) if np.isfinite(row).all() else np.nan for row in rows]
        return torch.tensor(found, dtype=torch.float64, device=answers.device)

    return of


def _of_scikit_learn(name: str) -> OfOne:
    def of_one(labels: Values, answers: Values) -> float:
        from sklearn import metrics

        return float(getattr(metrics, name)(labels, answers))

    return of_one


def roc_auc(positive: Values, values: Values) -> float:
    """How often a positive example (n,) bool has a larger value (n,) than a negative one, ties counted by half, in
    [0, 1]: scikit-learn's `roc_auc_score` to rounding, without the millisecond that this spends on checks. A gate takes
    it thousands of times.

    References:
        Hanley & McNeil 1982, "The meaning and use of the area under a receiver operating characteristic (ROC) curve"
        (as Wilcoxon's statistic, of mid-ranks).

    >>> roc_auc(np.array([False, False, True, True]), np.array([0.1, 0.4, 0.35, 0.8]))
    0.75
    """
    from scipy.stats import rankdata

    n_positive = int(positive.sum())
    above = rankdata(values)[positive].sum() - n_positive * (n_positive + 1) / 2
    return float(above / (n_positive * (len(positive) - n_positive)))


def average_precision(positive: Values, values: Values) -> float:
    """The sum over the thresholds of the precision there times what recall it adds, in (0, 1]: scikit-learn's
    `average_precision_score` to rounding, for the same reason.

    >>> round(average_precision(np.array([False, False, True, True]), np.array([0.1, 0.4, 0.35, 0.8])), 6)
    0.833333
    """
    order = np.argsort(-values, kind="stable")
    falls, hits = values[order], positive[order].cumsum()
    last = np.append(np.flatnonzero(np.diff(falls)), len(falls) - 1)  # of those with the same value
    return float(np.diff(hits[last], prepend=0) @ (hits[last] / (last + 1)) / hits[-1])


def _balanced_accuracy(labels: Values, predictions: Values) -> float:
    with warnings.catch_warnings():  # of a class that was predicted, and is no example's
        warnings.simplefilter("ignore", UserWarning)
        return _of_scikit_learn("balanced_accuracy_score")(labels, predictions)


def _macro_f1(labels: Values, predictions: Values) -> float:
    from sklearn import metrics

    return float(metrics.f1_score(labels, predictions, average="macro", zero_division=0.0))


def over_classes(of_binary: OfOne) -> OfOne:
    """The score of a class against the rest. Of two classes it is that of the second one; of more it is the mean over
    those that some examples have and others do not (macro average). NaN where there is none such, or where an
    example's class is none of those that can be answered (-1)."""

    def of_one(labels: Values, probabilities: Values) -> float:
        if (labels < 0).any():
            return np.nan
        places = range(probabilities.shape[1])
        asked = [place for place in places if 0 < (labels == place).sum() < len(labels)]
        asked = [place for place in asked if place == 1] if len(places) == 2 else asked
        values = [of_binary(labels == place, probabilities[:, place]) for place in asked]
        return float(np.mean(values)) if values else np.nan

    return of_one


def _neg_log_loss(labels: Values, probabilities: Values) -> float:
    if (labels < 0).any():
        return np.nan
    of_labels = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(np.log(of_labels.clip(np.finfo(np.float32).tiny)).mean())


NO_PAIR = "a class that can be told from others has no example, or all of them"
UNSEEN = "a class not yet seen cannot be predicted"
UNPAIRED = f"{NO_PAIR}, or {UNSEEN}"

ACCURACY = Score("accuracy", accuracy, (0.0, 1.0), variance=accuracy_variance)
OF_CLASSES = (
    ACCURACY,
    Score("balanced_accuracy", by_row(_balanced_accuracy), (0.0, 1.0)),
    Score("macro_f1", by_row(_macro_f1), (0.0, 1.0)),
    Score("roc_auc", by_row(over_classes(roc_auc)), (0.0, 1.0), True, UNPAIRED, ranks_positives=True),
    Score(
        "pr_auc",
        by_row(over_classes(average_precision)),
        (0.0, 1.0),
        True,
        f"{NO_PAIR}, or {UNSEEN}",
        ranks_positives=True,
    ),
    Score("neg_log_loss", by_row(_neg_log_loss), (-INFINITY, 0.0), True, UNSEEN),
)


def _neg_rmse(labels: Values, predictions: Values) -> float:
    return -float(np.sqrt(np.square(predictions - labels).mean()))


def _neg_mae(labels: Values, predictions: Values) -> float:
    return -float(np.abs(predictions - labels).mean())


def _r2(labels: Values, predictions: Values) -> float:
    """Of several amounts the mean over them."""
    if (np.ptp(labels, axis=0) == 0).any():
        return np.nan
    return _of_scikit_learn("r2_score")(labels, predictions)


OF_AMOUNTS = (
    Score("neg_rmse", by_row(_neg_rmse), (-INFINITY, 0.0)),
    Score("neg_mae", by_row(_neg_mae), (-INFINITY, 0.0)),
    Score("r2", by_row(_r2), (-INFINITY, 1.0), undefined_if="all labels are the same"),
)


def _label_accuracy(labels: Values, predictions: Values) -> float:
    return float((labels == predictions).mean())


def _exact_match(labels: Values, predictions: Values) -> float:
    return float((labels == predictions).all(axis=1).mean())


def over_labels(of_binary: OfOne) -> OfOne:
    """The mean of the score of each label over those that some examples have and others do not; NaN without any."""

    def of_one(labels: Values, answers: Values) -> float:
        asked = [k for k in range(labels.shape[1]) if 0 < labels[:, k].sum() < len(labels)]
        return float(np.mean([of_binary(labels[:, k] > 0, answers[:, k]) for k in asked])) if asked else np.nan

    return of_one


NO_LABEL = "no label is one that some examples have and others do not"
OF_LABELS = (
    Score("macro_f1", by_row(_macro_f1), (0.0, 1.0)),
    Score("label_accuracy", by_row(_label_accuracy), (0.0, 1.0)),
    Score("exact_match", by_row(_exact_match), (0.0, 1.0)),
    Score("roc_auc", by_row(over_labels(roc_auc)), (0.0, 1.0), True, NO_LABEL, ranks_positives=True),
    Score("pr_auc", by_row(over_labels(average_precision)), (0.0, 1.0), True, NO_LABEL, ranks_positives=True),
)
