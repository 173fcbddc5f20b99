"""What every ingredient is, and what it may know. What it does is said by the pieces it inherits: `_pieces.py`."""

from __future__ import annotations

import inspect
from abc import ABC
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cfsweep.config import SCENARIOS, Scenario
from cfsweep.errors import closest_first
from cfsweep.hypers import Hyper, Value
from cfsweep.training.engine.layout import Layout
from cfsweep.training.targets import Outputs, Target

State = dict[str, Tensor]
Values = Mapping[str, Tensor]
Settings = Mapping[str, Value]
Indices = NDArray[np.int64]


class Conventions(NamedTuple):
    """What a strength multiplies, in one line each: λ is not portable between libraries."""

    penalty: str | None = None
    fisher: str | None = None


@dataclass(frozen=True)
class Context:
    """What an ingredient may know of the network and the stream.

    `forward(theta, x)` gives the outputs (n, n_outputs); `squared_gradients(theta, x, labels, mask)` the mean over
    examples of the squared gradient of each example's log-likelihood, (P,), and `output_sensitivity(theta, x, mask)`
    that of the absolute gradient of the squared norm of its active outputs. `outputs` holds the labels and the active
    outputs of all examples; `classes` (n_examples,) is the class of each. `output_tasks[c]` is the task that output c
    belongs to (task-il only; elsewhere empty). `goes_on`: another task may follow the last one of the stream.
    """

    layout: Layout
    target: Target
    n_tasks: int
    scenario: Scenario
    input_shape: tuple[int, ...]
    forward: Callable[[Tensor, Tensor], Tensor]
    squared_gradients: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
    output_sensitivity: Callable[[Tensor, Tensor, Tensor], Tensor]
    outputs: Outputs
    classes: Indices
    output_tasks: tuple[int, ...]
    goes_on: bool = False


class Ingredient(ABC):
    """One remedy, written for **one** model; the loop lifts it over the rows of a pack.

    A remedy inherits the pieces that say what it does (`Penalty`, `ReplayLoss`, `Partition` ...) and implements their
    abstract methods; there is nothing else to know. Of the arguments, `theta` (P,) is the model's flat parameter
    vector, `state` the ingredient's own tensors by name, and `values` its own numeric hyperparameters, and the run's
    `lr`, as scalar tensors.
    A method that takes tensors is a pure function that `torch.func.vmap` can lift: it changes none of its arguments.

    `excludes` maps each ingredient that it cannot be combined with to the reason. `needs_classes`: it works only where
    a label is one of finitely many classes.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    paper: ClassVar[str]
    hypers: ClassVar[tuple[Hyper, ...]]
    scenarios: ClassVar[tuple[Scenario, ...]] = SCENARIOS
    excludes: ClassVar[Mapping[str, str]] = {}
    needs_classes: ClassVar[bool] = False
    _piece: ClassVar[bool] = False

    def __init_subclass__(cls, piece: bool = False) -> None:
        """Refuses a class that has what no piece of its asks for; a misspelt method would never be called.

        Raises:
            TypeError: it has; the text names the closest of what it may have.
        """
        super().__init_subclass__()
        cls._piece = piece
        if piece:
            for name in vars(cls):
                if name[0] != "_" and not hasattr(Ingredient, name):
                    _PIECE_OF.setdefault(name, cls)  # a later piece may implement it
        else:
            _refuse_strangers(cls)

    def __init__(self, context: Context, settings: Settings) -> None:
        """`settings` holds the static hyperparameters of the trial; the numeric ones come as `values`, one per run."""
        self.context, self.settings = context, settings

    @staticmethod
    def conventions(settings: Settings) -> Conventions:
        """What the strength of the ingredient means with these static hyperparameters."""
        return Conventions()

    def initial_state(self, theta: Tensor) -> State:
        """The state before task 0, on the device of `theta`, the run's initial weights."""
        return {}

    def kept(self, state: State) -> State:
        """What of the state has to be kept from one task to the next beside the network; all of it by default."""
        return state

    @classmethod
    def is_off(cls, values: Mapping[str, float | str]) -> bool:
        """Whether some hyperparameter of the ingredient is at its `off`."""
        return any(hyper.off is not None and values[hyper.name] == hyper.off for hyper in cls.hypers)

    def is_on(self, values: Values) -> Tensor:
        """The contrary for one model, whose numeric values are `values`, a bool scalar."""
        on = torch.ones_like(values["lr"], dtype=torch.bool)
        for hyper in self.hypers:
            if hyper.off is not None:
                on = on & ((self.settings if hyper.static else values)[hyper.name] != hyper.off)
        return on


_PIECE_OF: dict[str, type[Ingredient]] = {}
"""By the name of a method or attribute, the piece that asks for it."""


def _refuse_strangers(cls: type[Ingredient]) -> None:
    bases = cls.__mro__[1:]
    known = {name for base in bases for name in (*vars(base), *inspect.get_annotations(base)) if name[0] != "_"}
    for name, value in vars(cls).items():
        if name[0] != "_" and name not in known:
            kind = "method" if callable(getattr(cls, name)) or isinstance(value, property) else "attribute"
            pieces = ", ".join(piece.__name__ for piece in pieces_of(cls)) or "none"
            closest = closest_first(name, [*known, *_PIECE_OF])[0]
            owner = _PIECE_OF.get(closest, Ingredient)
            inherit = "" if issubclass(cls, owner) else f", inherit {owner.__name__}"
            raise TypeError(
                f"{cls.__module__}.{cls.__qualname__}: `{name}` is no {kind} of its pieces ({pieces}), so nobody would "
                f"use it. The closest is `{closest}` of {owner.__name__}. Rename it{inherit}, or begin it with an "
                "underscore."
            )


def pieces_of(kind: type[Ingredient]) -> list[type[Ingredient]]:
    """The pieces that an ingredient inherits, those of its pieces included."""
    return [base for base in kind.__mro__ if issubclass(base, Ingredient) and base._piece]
