"""Feature distillation: what inner layers say stays near to what they said before the task."""

from __future__ import annotations

import torch
from torch import Tensor

from cfsweep.hypers import Hyper, layer_names
from cfsweep.training.ingredients._arguments import Comparison
from cfsweep.training.ingredients._base import Context, Conventions, Settings, Values
from cfsweep.training.ingredients._pieces import Distillation


class FeatureDistillation(Distillation):
    """Adds w·½·Σ_l mean_x ‖f_l(x) - f*_l(x)‖²: over the layers l and the examples x of the batch, with the features f_l
    of now and those f*_l of the network as it was at the end of the previous task. The squared distance sums over the
    features of a layer (for a convolution over channels and places), so a wide layer weighs more than a narrow one.

    Without names the layer is the input of the output layer, as in the less-forgetting method. That method also holds
    the output layer still; here only outputs that are inactive for the batch are held, as always, so where tasks share
    outputs the output layer goes on learning. Hints from layers in between are those of FitNets, without the
    regressor, since old and new network have the same shape. Code that takes the mean over the d features too, and
    leaves out the ½, writes a weight λ for what is w = 2λ/d here.

    References:
        Jung et al. 2016 (arXiv 1607.00122), the Euclidean loss L_e between the features of the two networks; Romero
        et al. 2015 (arXiv 1412.6550), eq. 3 (hints from layers in between).
    """

    name = "feature-distillation"
    summary = "keeps the features of chosen layers near what they were before the task"
    paper = "Jung et al. 2016, arXiv 1607.00122"
    hypers = (
        Hyper("feature_weight", "float", 0.01, "strength of the distillation", low=0.0, off=0.0, takes_effect="later"),
        Hyper(
            "feature_layers",
            "choice",
            "",
            "the layers, such as body.1,body.3; without names the input of the output layer",
            static=True,
            layers=True,
        ),
    )

    def __init__(self, context: Context, settings: Settings) -> None:
        super().__init__(context, settings)
        self.layers = layer_names(str(settings["feature_layers"])) or ("",)

    @staticmethod
    def conventions(settings: Settings) -> Conventions:
        return Conventions("0.5 * weight * squared distance of features, sum over features, mean over batch")

    def distillation_loss(self, answers: Comparison, values: Values, task: int) -> Tensor:
        weight = values["feature_weight"]
        total = torch.zeros_like(weight)
        for layer in self.layers:
            # Off must stay exactly off, even where the features are so large that their square is infinite.
            moved = (answers.now.features[layer] - answers.before.features[layer]).masked_fill(weight == 0, 0.0)
            total = total + moved.flatten(1).square().sum(-1).mean()
        return 0.5 * weight * total
