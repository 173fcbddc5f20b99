"""`state.safetensors` as it is read: what a bundle holds is what `writer` writes, or it is refused in one line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from cfsweep.bundle.manifest import STATE, Manifest, read_tensors
from cfsweep.bundle.writer import STEERING
from cfsweep.errors import InputError
from cfsweep.training.ingredients import ingredient_class
from cfsweep.training.targets import target_of

STEPS = "optimizer_steps"
EXAMPLES = ("x", "y", "task", "place")
COUNTS = ("offered", "n")
Tensors = Mapping[str, Tensor]


def read_state(bundle: Path, about: Manifest) -> dict[str, Tensor]:
    """What the remedies and the optimizer of the bundle keep for the next task, by name; empty where it has none. What
    is of the weights' shapes is held against them where the network is there (`rebuilt`).

    Raises:
        InputError: the file is damaged, or holds something else than was kept of this model.
    """
    path = bundle / STATE
    if not path.exists():
        return {}
    state = read_tensors(path)
    if (wrong := _fault(state, about)) is not None:
        raise InputError(f"{path}: {wrong}. Export the model again.")
    return state


def _fault(state: Tensors, about: Manifest) -> str | None:
    """What in a state is not as it is written; None if nothing is."""
    names = [ingredient_class(name).name for name in about.ingredients]
    holders = [STEERING, *(f"{name}/buffer" for name in names)]
    prefixes = ("optimizer/", *(f"{name}/state/" for name in names))
    entries = {f"{holder}/{part}" for holder in holders for part in EXAMPLES}
    entries |= {f"{name}/buffer/{part}" for name in names for part in (*COUNTS, "logits", "offered_by_class")}
    for name in state:
        if name != STEPS and name not in entries and not name.startswith(prefixes):
            return f"`{name}` is nothing that a remedy of this model keeps"
    for name in (STEPS, *(f"{name}/buffer/{part}" for name in names for part in COUNTS)):
        if name in state and not _is_count(state[name]):
            return f"`{name}` must be one whole number from 0 on"
    if STEPS not in state:
        return f"`{STEPS}` is missing"
    for holder in holders:
        if (wrong := _fault_of_examples(state, holder, about) or _fault_of_buffer(state, holder, about)) is not None:
            return wrong
    return None


def _is_count(value: Tensor) -> bool:
    return value.dim() == 0 and value.dtype == torch.int64 and int(value) >= 0


def _fault_of_buffer(state: Tensors, holder: str, about: Manifest) -> str | None:
    """What is wrong with the numbers that a buffer keeps beside its examples."""
    own = {name.removeprefix(f"{holder}/"): of for name, of in state.items() if name.startswith(f"{holder}/")}
    if holder == STEERING or not own:
        return None
    for part in COUNTS:
        if part not in own:
            return f"`{holder}/{part}` is missing"
    n = int(own["n"])
    if "place" in own and len(own["place"]) != n:
        return f"`{holder}/place` must have {n} numbers, as `{holder}/n` says, but has {len(own['place'])}"
    logits, by_class = own.get("logits"), own.get("offered_by_class")
    if logits is not None and (logits.shape != (n, about.n_outputs) or logits.dtype != torch.float32):
        return f"`{holder}/logits` must be {n} x {about.n_outputs} float32, but is {_said(logits)}"
    n_classes = 1 + max((label for info in about.tasks for label in info.classes), default=-1)
    if by_class is not None:
        is_one_each = by_class.dim() == 1 and by_class.dtype == torch.int64 and len(by_class) <= n_classes
        if not is_one_each or bool((by_class < 0).any()):
            return f"`{holder}/offered_by_class` must count {n_classes} classes, but is {_said(by_class)}"
    return None


def _fault_of_examples(state: Tensors, holder: str, about: Manifest) -> str | None:
    """What is wrong with the examples that are kept under a name."""
    there = [part for part in EXAMPLES if f"{holder}/{part}" in state]
    if not there:
        return None
    if lacking := [part for part in EXAMPLES if part not in there]:
        return f"`{holder}/{lacking[0]}` is missing"
    x, y, task, place = (state[f"{holder}/{part}"] for part in EXAMPLES)
    n = len(place) if place.dim() else 0
    for part, value in (("place", place), ("task", task)):
        if value.shape != (n,) or value.dtype != torch.int64:
            return f"`{holder}/{part}` must be {n} whole numbers, but is {_said(value)}"
    if x.shape != (n, *about.input_shape) or str(x.dtype) != f"torch.{about.input_dtype}":
        return f"`{holder}/x` must be {n} examples of {about.input_shape} {about.input_dtype}, but is {_said(x)}"
    n_tasks = len(about.tasks)
    if bool(((task < 0) | (task >= n_tasks)).any()):
        return f"`{holder}/task` must have numbers of the {n_tasks} tasks, from 0, but has others"
    if not target_of(about.target).has_classes:
        is_as_written = y.dim() == 2 and len(y) == n and y.dtype == torch.float64
        return None if is_as_written else f"`{holder}/y` must be {n} rows of amounts in float64, but is {_said(y)}"
    if y.shape != (n,) or y.dtype != torch.int64:
        return f"`{holder}/y` must be {n} classes, but is {_said(y)}"
    known = [set(info.classes) for info in about.tasks]
    for number, label in zip(task.tolist(), y.tolist(), strict=True):
        if label not in known[number]:
            return f"`{holder}/y` must have classes of each example's own task, but has {label} in task {number}"
    return None


def _said(value: Tensor) -> str:
    return f"{tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}"
