"""Plain stacks of linear layers and ReLUs over flattened input, for every run of a pack at once: batched matrix
products, and the way back as products too, without autograd."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cfsweep.training.networks.mlp import Mlp

_STACKABLE = (nn.Flatten, nn.Linear, nn.ReLU)


class Layer(NamedTuple):
    """A linear layer, with or without a bias, or else a ReLU."""

    name: str
    is_linear: bool
    has_bias: bool


class LinearStack:
    """`layers` in their order; `head` is the name of the output layer, whose input is the feature ""."""

    def __init__(self, layers: Sequence[Layer], head: str) -> None:
        self.layers, self.head = tuple(layers), head
        self.first = next(number for number, layer in enumerate(layers) if layer.is_linear)
        self.names = {"", *(layer.name for layer in layers)}

    @staticmethod
    def of(module: nn.Module, head: str) -> LinearStack | None:
        """The stack that `module` is, or None if it is something else."""
        layers = _in_order(module)
        if not all(type(layer) in _STACKABLE for _, layer in layers) or not layers:
            return None
        flattens = [i for i, (_, layer) in enumerate(layers) if type(layer) is nn.Flatten]
        first = layers[0][1]
        if flattens != [0] or not isinstance(first, nn.Flatten) or (first.start_dim, first.end_dim) != (1, -1):
            return None
        if any(
            m._forward_hooks or m._forward_pre_hooks or m._parameters.keys() - {"weight", "bias"}
            for m in module.modules()
        ):
            return None
        found = [
            Layer(name, type(layer) is nn.Linear, getattr(layer, "bias", None) is not None)
            for name, layer in layers
            if type(layer) is not nn.Flatten
        ]
        return LinearStack(found, head) if any(layer.is_linear for layer in found) else None

    def outputs(self, parameters: Mapping[str, Tensor], x: Tensor) -> list[Tensor]:
        """What goes into the first layer, (R, n, features), and what comes out of each: one more than there are layers.

        `parameters` are (R, *shape) by name, and x is (R, n, *input_shape).
        """
        seen = [x.flatten(2)]
        for name, is_linear, has_bias in self.layers:
            if not is_linear:
                seen.append(torch.relu(seen[-1]))
                continue
            weight = parameters[f"{name}.weight"].transpose(-1, -2)
            if has_bias:
                seen.append(torch.baddbmm(parameters[f"{name}.bias"].unsqueeze(1), seen[-1], weight))
            else:
                seen.append(torch.bmm(seen[-1], weight))
        return seen

    def features(self, outputs: Sequence[Tensor], wanted: Iterable[str]) -> dict[str, Tensor]:
        """By name what the layers `wanted` gave, from `outputs`."""
        places = {layer.name: number + 1 for number, layer in enumerate(self.layers)}
        places[""] = places[self.head] - 1
        return {name: outputs[places[name]] for name in wanted}

    def pull(
        self,
        parameters: Mapping[str, Tensor],
        outputs: Sequence[Tensor],
        of_logits: Tensor,
        of_features: Mapping[str, Tensor | None],
        into: Mapping[str, Tensor],
    ) -> None:
        """Writes the gradients of a loss by the parameters into the views `into` (R, *shape), given those by the logits
        and by the features."""
        slope = of_logits
        for number in range(len(self.layers) - 1, self.first - 1, -1):
            name, is_linear, has_bias = self.layers[number]
            slope = _plus(slope, of_features.get(name))
            if not is_linear:
                slope = torch.ops.aten.threshold_backward(slope, outputs[number + 1], 0)
                continue
            torch.bmm(outputs[number].transpose(-1, -2), slope, out=into[f"{name}.weight"].transpose(-1, -2))
            if has_bias:
                torch.sum(slope, 1, out=into[f"{name}.bias"])
            if number > self.first:
                slope = torch.bmm(slope, parameters[f"{name}.weight"])
            if name == self.head:
                slope = _plus(slope, of_features.get(""))


def _plus(slope: Tensor, more: Tensor | None) -> Tensor:
    return slope if more is None else slope + more


def _in_order(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """The layers by name, if `module` is known to call its layers one after the other; else nothing."""
    if type(module) is Mlp:
        return [*((f"body.{name}", layer) for name, layer in module.body.named_children()), ("head", module.head)]
    if isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward:
        return list(module.named_children())
    return []
