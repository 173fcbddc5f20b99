"""`answers.safetensors` as it is read: what a bundle holds is what `writer` writes, or it is refused in one line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cfsweep.bundle.manifest import NAME, Manifest, read_tensors
from cfsweep.bundle.program import UNIT
from cfsweep.bundle.writer import ANSWERS, HELD
from cfsweep.errors import InputError
from cfsweep.training.ingredients import Classifier, Held, Substitute, ingredient_class

OWN = "weights/"  # how the names of the weights of a task's own begin
Tensors = Mapping[str, Tensor]


def read_answers(bundle: Path, about: Manifest, weights: Tensors) -> dict[str, Tensor]:
    """What the model in `bundle` takes to answer beside its `weights`, by name.

    Raises:
        InputError: the file is damaged, or holds something else than this model takes.
    """
    path = bundle / ANSWERS
    answers = read_tensors(path)
    if (wrong := _fault(answers, about, weights)) is not None:
        raise InputError(f"{path}: {wrong}. Export the model again.")
    return answers


def _fault(answers: Tensors, about: Manifest, weights: Tensors) -> str | None:
    """What in the answers is not as it is written; None if nothing is."""
    n_tasks, known = len(about.tasks), ("masks", "which", "shift", "scale", *UNIT)
    for name, shape in (("masks", (n_tasks, about.n_outputs)), ("which", (n_tasks,)), ("shift", None), ("scale", None)):
        if name not in answers or (shape is not None and tuple(answers[name].shape) != shape):
            return f"`{name}` is missing, or not of the shape that {NAME} says"
    for name in answers:
        if name not in known and not name.startswith((OWN, HELD)):
            return f"`{name}` is nothing that an answer takes"
    if answers["masks"].dtype != torch.bool:
        return "`masks` holds no truth values"
    for name in ("shift", "scale"):
        if answers[name].dtype != torch.float32 or not _fits(tuple(answers[name].shape), about.input_shape):
            return f"`{name}` must be of float32 and fit an example, {about.input_shape}"
    unit = [answers[name] for name in UNIT if name in answers]
    if len(unit) == 1 or any(of.shape != (about.n_outputs,) or not of.dtype.is_floating_point for of in unit):
        return f"{' and '.join(f'`{name}`' for name in UNIT)} must be a number for each output, or not there"
    return _fault_of_weights(answers, weights) or _fault_of_held(answers, about)


def _fits(shape: tuple[int, ...], example: tuple[int, ...]) -> bool:
    """Whether a tensor of this shape can be taken from an example.

    >>> _fits((), (3, 8, 8)), _fits((3, 1, 1), (3, 8, 8)), _fits((2,), (3,)), _fits((4, 3), (3,))
    (True, True, False, False)
    """
    try:
        return np.broadcast_shapes(shape, example) == example
    except ValueError:
        return False


def _fault_of_weights(answers: Tensors, weights: Tensors) -> str | None:
    """What is wrong with the weights of a task's own, and with which of them each task takes."""
    which = answers["which"]
    if which.dtype != torch.int64:
        return "`which` holds no whole numbers"
    n = int(which.max()) + 1
    for name, stacked in answers.items():
        own = weights.get(name.removeprefix(OWN))
        if name.startswith(OWN) and (own is None or stacked.shape != (n, *own.shape) or stacked.dtype != own.dtype):
            return f"`{name}` must be {n} times the weights of this name in the network"
    if int(which.min()) < 0 or (n > 1 and not any(name.startswith(OWN) for name in answers)):
        return "`which` names weights that are not there"
    return None


def _fault_of_held(answers: Tensors, about: Manifest) -> str | None:
    """What is wrong with what answers in place of the output layer."""
    names = {name.removeprefix(HELD) for name in answers if name.startswith(HELD)}
    kinds = [kind for kind in map(ingredient_class, about.ingredients) if issubclass(kind, Substitute)]
    if not names:
        return None
    if not kinds:
        return f"`{HELD}{min(names)}` is for a remedy that answers, and this model has none"
    if issubclass(kinds[0], Classifier) and names != set(Held._fields):
        return f"`{HELD}...` must be {' and '.join(Held._fields)}, but is {', '.join(sorted(names))}"
    return None
