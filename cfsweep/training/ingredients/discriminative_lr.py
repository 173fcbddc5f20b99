"""Discriminative learning rates: the further a layer lies from the output, the slower it learns."""

from __future__ import annotations

from torch import Tensor

from cfsweep.hypers import Hyper
from cfsweep.training.engine.layout import Layout
from cfsweep.training.ingredients._base import Values
from cfsweep.training.ingredients._pieces import RateByWeight


def heights(layout: Layout) -> dict[str, int]:
    """How many layers lie between each layer and the output, itself included: 0 for the output layer.

    Layers with a matrix of weights count; one that has vectors alone (a norm) goes with the layer before it. Their
    order is that in which the network defines them.
    """
    with_matrix = {e.layer for e in layout.entries if len(e.shape) >= 2}
    height, found = 0, {}
    waiting: list[str] = []  # norms, until the layer before them is met
    for layer in reversed(layout.layers):
        waiting.append(layer)
        if layer in with_matrix:
            found.update(dict.fromkeys(waiting, height))
            waiting, height = [], height + 1
    return found | dict.fromkeys(waiting, max(0, height - 1))


class DiscriminativeLR(RateByWeight):
    """The output layer learns with `lr`, and each layer below with `layer_lr_factor` times the rate of the one above
    it: η^(l-1) = η^l · factor, so a layer at height h has lr · factor^h. From the first task on, in every task.

    The paper's factor is 1/2.6. It fine-tunes a network that was trained before; here task 0 has to be learned from
    random weights with the same rates. A layer's norm learns as fast as the layer.

    References:
        Howard & Ruder 2018 (ULMFiT, arXiv 1801.06146), section 3.2 (η^(l-1) = η^l/2.6) and eq. 2.
    """

    name = "discriminative-lr"
    summary = "lower layers learn more slowly"
    paper = "Howard & Ruder 2018, ACL"
    hypers = (
        Hyper(
            "layer_lr_factor",
            "float",
            1 / 2.6,
            "learning rate of each layer as a share of that of the layer above it",
            low=0.0,
            low_open=True,
            high=1.0,
            off=1.0,
        ),
    )

    def weight_rates(self, values: Values) -> Tensor:
        factor, layout = values["layer_lr_factor"], self.context.layout
        return layout.expand_by_layer({layer: factor**height for layer, height in heights(layout).items()})
