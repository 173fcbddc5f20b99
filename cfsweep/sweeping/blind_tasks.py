"""Tasks on whose validation examples the score has no value, whoever answers them: ROC AUC where none is positive; or
one that chance moves far, as few are."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from cfsweep.config import StudyConfig
from cfsweep.errors import InputError, few
from cfsweep.metrics import UndefinedError, mixed, plasticity, stability
from cfsweep.training.engine.evaluation import Measure
from cfsweep.training.streams import Stream
from cfsweep.training.targets import scores_of, target_of

FEWEST = 10  # of the validation examples of a class, and of all others, below which a score that ranks them is noted


def blind_tasks(config: StudyConfig, stream: Stream) -> list[bool]:
    """For each task whether the score that steers has no value on its validation examples, whoever answers them."""
    target, scores = target_of(stream.target), scores_of(stream)
    if not scores[0].undefined_if:
        return [False] * len(stream.tasks)
    outputs = target.outputs(stream, config.stream.scenario)
    measure, last = Measure(target, scores[:1], outputs), len(stream.tasks) - 1
    return [
        bool(measure.undefined(torch.from_numpy(task.validation), outputs.masks[last, number]))
        for number, task in enumerate(stream.tasks)
    ]


def require_values(config: StudyConfig, stream: Stream) -> None:
    """Raise unless the objective has a value.

    Raises:
        InputError: on so many tasks the score has no value that the objective has none.
    """
    blind = blind_tasks(config, stream)
    if not any(blind):
        return
    matrix = np.tile(np.where(blind, np.nan, 0.0), (len(blind), 1))
    try:
        for formula in (mixed,) if config.objective.name == "mixed" else (stability, plasticity):
            formula(matrix)
    except UndefinedError as error:
        names = [f"`{task.name}`" for task, is_blind in zip(stream.tasks, blind, strict=True) if is_blind]
        score = scores_of(stream)[0]
        raise InputError(
            f"stream `{config.stream.name}`: the objective `{config.objective.name}` needs old and new tasks with a "
            f"score, but `{score.name}` has no value on the validation examples of {few(names)} ({score.undefined_if})."
            " Raise `stream.validation_frac`, or name another score."
        ) from error


def unscored_note(config: StudyConfig, stream: Stream) -> str | None:
    """Names the tasks on which the score has no value."""
    blind, score = blind_tasks(config, stream), scores_of(stream)[0]
    if not any(blind):
        return None
    names = [f"`{task.name}`" for task, is_blind in zip(stream.tasks, blind, strict=True) if is_blind]
    return (
        f"`{score.name}` has no value on the validation examples of {few(names)} ({score.undefined_if}): it is null "
        "there, and no metric counts them"
    )


def few_positives_note(config: StudyConfig, stream: Stream) -> str | None:
    """Names the tasks in which a score that ranks the positive examples goes by fewer than `FEWEST` of these, or of the
    others, with their number; of several classes or labels it is that of the rarest one."""
    names = [f"`{score.name}`" for score in scores_of(stream) if score.ranks_positives]
    if not names:
        return None
    labels = target_of(stream.target).outputs(stream, config.stream.scenario).labels
    fewest = {task.name: _fewest(labels[task.validation]) for task in stream.tasks}
    short = [f"`{name}` ({n})" for name, n in fewest.items() if n is not None and n < FEWEST]
    if not short:
        return None
    return (
        f"{', '.join(names)}: fewer than {FEWEST} validation examples are positive, or are not, on {few(short)}, so "
        "that chance moves it far there. Raise `stream.validation_frac`, or make fewer, larger tasks."
    )


def _fewest(labels: Tensor) -> int | None:
    """How many of the examples with these labels, classes (n,) or 0 and 1 (n, k), a class has, or all others, whichever
    is less; of the class of which that is least, among those that some have and others do not. None without any.

    >>> _fewest(torch.tensor([0, 0, 0, 1, 1])), _fewest(torch.tensor([1, 1])), _fewest(torch.eye(3))
    (2, None, 1)
    """
    if not len(labels):
        return None
    positive = labels.bincount() if labels.dim() == 1 else labels.sum(0)
    fewer = torch.minimum(positive, len(labels) - positive)
    return int(fewer[fewer > 0].min()) if bool((fewer > 0).any()) else None
