"""Feature distillation: what inner layers say stays near to what they said before the task."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from cfsweep.hypers import Hyper, Value, layer_names
from cfsweep.training.ingredients._base import Batch, Context, Ingredient, Memory, Sample, State, Values


class FeatureDistillation(Ingredient):
    """Adds w·½·Σ_l mean_x ‖f_l(x) - f*_l(x)‖²: over the layers l and the examples x of the batch, with the features f_l
    of now and those f*_l of the network as it was at the end of the previous task. The squared distance sums over the
    features of a layer (for a convolution over channels and places), so a wide layer weighs more than a narrow one.

    Without names the layer is the input of the output layer, as in the less-forgetting method. That method also holds
    the output layer still; here only outputs that are closed to the batch are held, as always, so where tasks share
    outputs the output layer goes on learning. Hints from layers in between are those of FitNets, without the
    regressor, since old and new network have the same shape. Code that takes the mean over the d features too, and
    leaves out the ½, writes a weight λ for what is w = 2λ/d here.

    References:
        Jung et al. 2016 (arXiv 1607.00122), the Euclidean loss L_e between the features of the two networks; Romero
        et al. 2015 (arXiv 1412.6550), eq. 3 (hints from layers in between).
    """

    name = "feature-distillation"
    family = "distillation"
    summary = "keeps the features of chosen layers near what they were before the task"
    paper = "Jung et al. 2016, arXiv 1607.00122"
    hypers = (
        Hyper("feature_weight", "float", 0.01, "strength of the distillation; 0 is off", low=0.0, acts="later"),
        Hyper(
            "feature_layers",
            "choice",
            "",
            "the layers, such as body.1,body.3; without names the input of the output layer",
            structural=True,
            layers=True,
        ),
    )
    penalty_convention = "0.5 * weight * squared distance of features, sum over features, mean over batch"

    def __init__(self, context: Context, settings: Mapping[str, Value]) -> None:
        super().__init__(context, settings)
        self.layers = layer_names(str(settings["feature_layers"])) or ("",)

    def initial_state(self, like: Tensor) -> State:
        return {"old": torch.zeros_like(like)}

    def teacher(self, state: State) -> Tensor:
        return state["old"]

    def loss(self, batch: Batch, state: State, values: Values, task: int) -> Tensor:
        weight = values["feature_weight"]
        total = torch.zeros_like(weight)
        for layer in self.layers:
            # Off must stay exactly off, even where the features are so large that their square is infinite.
            moved = (batch.now.features[layer] - batch.before.features[layer]).masked_fill(weight == 0, 0.0)
            total = total + moved.flatten(1).square().sum(-1).mean()
        return 0.5 * weight * total

    def end_task(self, theta: Tensor, state: State, values: Values, task: int, sample: Sample) -> State:
        return {"old": theta.clone()}

    def stored_bytes(self, values: Mapping[str, float], memory: Memory, example_bytes: int) -> int:
        return 4 * self.context.layout.size if values["feature_weight"] > 0 else 0
