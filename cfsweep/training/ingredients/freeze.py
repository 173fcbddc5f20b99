"""Freezing by depth: after the first task the lower layers stay as they are."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from cfsweep.errors import InputError
from cfsweep.hypers import Hyper, layer_names
from cfsweep.training.ingredients._base import Context, Settings, State, Values
from cfsweep.training.ingredients._pieces import Partition


class Freeze(Partition):
    """Task 0 trains the whole network; from task 1 on the first N layers, or layers of one's choice, do not move.

    A layer is a module with weights of its own, a norm too; they count in the order in which the network defines
    them. The output layer is none of them and always goes on learning. What is frozen does not move by a bit, neither
    by momentum nor by decay. Running statistics (batch norm) are no weights: they go on.

    Transfer to one target task is what the paper studies (its AnB: n layers copied and frozen, the rest trained);
    here the rest keeps its weights of the task before instead of being drawn anew, and there may be several tasks.

    References:
        Yosinski et al. 2014 (arXiv 1411.1792), section 2.
    """

    name = "freeze"
    summary = "the lower layers stay as they are after the first task"
    paper = "Yosinski et al. 2014, arXiv 1411.1792"
    hypers = (
        Hyper(
            "freeze_depth",
            "int",
            1,
            "layers frozen after task 0, counted from the input, the output layer never",
            low=0,
            off=0,
            takes_effect="later",
        ),
        Hyper(
            "freeze_layers",
            "choice",
            "",
            'layers frozen besides, with all beneath them, such as "body.1,body.3"; empty: none',
            static=True,
            takes_effect="later",
            layers=True,
        ),
    )
    excludes = {"packnet": "it would freeze the free weights that packnet leaves to later tasks"}

    def __init__(self, context: Context, settings: Settings) -> None:
        super().__init__(context, settings)
        layout = context.layout
        depths = {layer: float(depth) for depth, layer in enumerate(layout.layers)}
        for name in layer_names(str(settings["freeze_layers"])):
            chosen = [layer for layer in layout.layers[:-1] if f"{layer}.".startswith(f"{name}.")]
            if not chosen:
                raise InputError(
                    f"freeze: `freeze_layers` must name layers with weights, the output layer apart, but got {name!r}. "
                    f"The layers are: {', '.join(layout.layers[:-1])}."
                )
            depths |= dict.fromkeys(chosen, -math.inf)
        depths[layout.head] = math.inf
        self._depth = layout.expand_by_layer({layer: torch.tensor(depth) for layer, depth in depths.items()})  # (P,)

    @classmethod
    def is_off(cls, values: Mapping[str, float | str]) -> bool:
        return super().is_off(values) and not layer_names(str(values["freeze_layers"]))

    def trainable(self, state: State, values: Values, task: int, after_cut: bool) -> Tensor:
        frozen_below = values["freeze_depth"] if task > 0 else torch.full_like(values["freeze_depth"], -math.inf)
        return self._depth.to(frozen_below.device) >= frozen_below
