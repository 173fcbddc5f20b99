"""Plain stacks of linear layers and ReLUs over flattened input, for every run of a pack at once: batched matrix
products, and the way back as products too, without autograd."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
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


class Views(NamedTuple):
    """Of a linear layer's stacked parameters, or of room for their gradients: the weight (R, in, out) and (R, out, in),
    and the bias (R, 1, out) or None."""

    weight: Tensor
    transposed: Tensor
    bias: Tensor | None


class LinearStack:
    """`layers` in their order; `head` is the name of the output layer, whose input is the feature ""."""

    def __init__(self, layers: Sequence[Layer], head: str) -> None:
        self.layers, self.head = tuple(layers), head
        self.first = next(number for number, layer in enumerate(layers) if layer.is_linear)
        self.places = {layer.name: number + 1 for number, layer in enumerate(layers)}  # among the `outputs`
        self.places[""] = self.places.get(head, len(layers)) - 1

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
        parameters = list(module.named_parameters(remove_duplicate=False))
        if any(not p.requires_grad for _, p in parameters) or len({id(p) for _, p in parameters}) < len(parameters):
            return None
        if any(
            any((m._forward_hooks, m._forward_pre_hooks, m._backward_hooks, m._backward_pre_hooks))
            or m._parameters.keys() - {"weight", "bias"}
            for m in module.modules()
        ):
            return None
        found = [
            Layer(name, type(layer) is nn.Linear, getattr(layer, "bias", None) is not None)
            for name, layer in layers
            if type(layer) is not nn.Flatten
        ]
        if not any(layer.is_linear for layer in found):
            return None
        stack = LinearStack(found, head)
        return stack if type(module) is Mlp or stack._gives_what(module) else None

    def _gives_what(self, module: nn.Module) -> bool:
        """Whether the outputs are those of `module`, which may do more than its layers tell: share a weight between two
        of them, or have a `forward` of its own."""
        parameters = {name: p.detach().unsqueeze(0) for name, p in module.named_parameters()}
        first = module.get_parameter(f"{self.layers[self.first].name}.weight")
        x = torch.linspace(-1, 1, 3 * first.shape[1], dtype=first.dtype, device=first.device).reshape(3, -1)
        try:
            with torch.no_grad():
                mine = self.outputs(self.views(parameters), x.unsqueeze(0))[-1][0]
                return torch.allclose(mine, module(x), rtol=1e-3, atol=1e-5)
        except Exception:  # whatever the user's network makes of it: it goes the general way
            return False

    def views(self, parameters: Mapping[str, Tensor]) -> list[Views | None]:
        """For each layer the views of `parameters` (R, *shape) by name; None for a ReLU."""
        return [self._views_of(layer, parameters) if layer.is_linear else None for layer in self.layers]

    def outputs(self, views: Sequence[Views | None], x: Tensor, factors: torch.dtype = torch.float32) -> list[Tensor]:
        """What goes into the first layer, (R, n, features), and what comes out of each: one more than there are layers.

        x is (R, n, *input_shape). The products take their `factors` rounded to that type.
        """
        seen = [x.flatten(2)]
        for layer in views:
            if layer is None:
                seen.append(torch.relu(seen[-1]))
            elif layer.bias is None or factors != torch.float32:
                product = _product(seen[-1], layer.weight, factors)
                seen.append(product if layer.bias is None else product + layer.bias)
            else:
                seen.append(torch.baddbmm(layer.bias, seen[-1], layer.weight))
        return seen

    def features(self, outputs: Sequence[Tensor], wanted: Iterable[str]) -> dict[str, Tensor]:
        """By name what the layers `wanted` gave, from `outputs`."""
        return {name: outputs[self.places[name]] for name in wanted}

    def vjp(
        self,
        views: Sequence[Views | None],
        outputs: Sequence[Tensor],
        of_logits: Tensor,
        of_features: Mapping[str, Tensor],
        into: Sequence[Views | None],
        factors: torch.dtype = torch.float32,
    ) -> None:
        """Writes the gradients of a loss by the parameters `into` their place, given those by the logits and by the
        features."""
        for number, gradient in self.output_gradients(views, outputs, of_logits, of_features, factors):
            room = into[number]
            assert room is not None
            if factors == torch.float32:
                torch.bmm(outputs[number].transpose(-1, -2), gradient, out=room.weight)
            else:
                room.weight.copy_(_product(outputs[number].transpose(-1, -2), gradient, factors))
            if room.bias is not None:
                torch.sum(gradient, 1, keepdim=True, out=room.bias)

    def output_gradients(
        self,
        views: Sequence[Views | None],
        outputs: Sequence[Tensor],
        of_logits: Tensor,
        of_features: Mapping[str, Tensor] | None = None,
        factors: torch.dtype = torch.float32,
    ) -> Iterator[tuple[int, Tensor]]:
        """For each linear layer, the last one first, its number and the gradient of a loss by what comes out of it,
        (R, n, out), given those by the logits and by the features."""
        added = {self.places[name]: by_feature for name, by_feature in (of_features or {}).items()}
        gradient = of_logits
        for number in range(len(self.layers) - 1, self.first - 1, -1):
            if number + 1 in added:
                gradient = gradient + added[number + 1]
            layer = views[number]
            if layer is None:
                gradient = torch.ops.aten.threshold_backward(gradient, outputs[number + 1], 0)
                continue
            yield number, gradient
            if number > self.first:
                gradient = _product(gradient, layer.transposed, factors)

    @staticmethod
    def _views_of(layer: Layer, parameters: Mapping[str, Tensor]) -> Views:
        weight = parameters[f"{layer.name}.weight"]
        bias = parameters[f"{layer.name}.bias"].unsqueeze(1) if layer.has_bias else None
        return Views(weight.transpose(-1, -2), weight, bias)


def _product(a: Tensor, b: Tensor, factors: torch.dtype) -> Tensor:
    """float32, whatever the type of the factors."""
    return torch.bmm(a, b) if factors == torch.float32 else torch.bmm(a.to(factors), b.to(factors)).float()


def _in_order(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """The layers by name, if `module` is known to call its layers one after the other; else nothing."""
    if type(module) is Mlp:
        return [*((f"body.{name}", layer) for name, layer in module.body.named_children()), ("head", module.head)]
    if isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward:
        # Not `named_children`, which passes over a layer that stands there twice.
        return [(name, layer) for name, layer in module._modules.items() if layer is not None]
    return []
