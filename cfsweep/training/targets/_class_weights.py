"""How much an example of each class counts in the loss."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from cfsweep.errors import InputError, few, unknown
from cfsweep.training.streams import Stream
from cfsweep.training.targets._base import Outputs

BALANCED = "balanced"


def class_weights(stream: Stream) -> tuple[float, ...]:
    """The weight of each class of the stream; none where all count alike.

    `balanced`: n / (k m) for a class with m of the n training examples of the first task that has it, and k classes in
    this task, so that classes weigh alike there and the mean weight is 1. It stays what it was when the class came: no
    later task can change what has been learned. Else those that are given by the user's label; 1 for others.

    Raises:
        InputError: a label is unknown, or the stream has no classes.

    References:
        King & Zeng 2001, "Logistic Regression in Rare Events Data" (weights by the inverse frequency).
    """
    asked = stream.class_weights
    if asked is None:
        return ()
    where = f"stream `{stream.name}`: `class_weights`"
    if not stream.n_classes:
        raise InputError(f"{where}: amounts have no classes. Leave it out.")
    if not isinstance(asked, str):
        names = [str(label) for label in stream.class_ids or range(stream.n_classes)]
        for name in asked:
            if name not in names:
                raise unknown(where, "label", name, names)
        return tuple(float(asked.get(name, 1.0)) for name in names)
    found = dict(enumerate(stream.learned_weights))
    for task in stream.tasks:
        labels = stream.y.numpy()[task.train]
        counts = {label: int((labels == label).sum()) for label in task.classes}
        for label in task.classes:
            if label not in found and counts[label]:
                found[label] = len(labels) / (len(task.classes) * counts[label])
    return tuple(found.get(label, 1.0) for label in range(stream.n_classes))


def output_weights(stream: Stream, outputs: Outputs) -> Tensor | None:
    """The weight (n_outputs,) of the class that an output stands for; None where all count alike.

    Raises:
        InputError: an output stands for classes of different weights.
    """
    by_class = class_weights(stream)
    if not by_class:
        return None
    found = torch.full((outputs.n_outputs,), torch.nan)
    for task in stream.tasks:
        examples = torch.from_numpy(np.concatenate(list(task.parts.values())))
        both = torch.stack([outputs.labels[examples], stream.y[examples]], 1)
        for output, label in np.unique(both.numpy(), axis=0).tolist():
            if not found[output].isnan() and float(found[output]) != np.float32(by_class[label]):
                if stream.class_weights != BALANCED:
                    raise InputError(
                        f"stream `{stream.name}`: `class_weights`: output {output} stands for several classes, of the "
                        f"weights {few([float(found[output]), by_class[label]])}. Give them one weight."
                    )
                continue  # a class's place within its task: the first task's rules
            found[output] = by_class[label]
    return found.nan_to_num(1.0)
