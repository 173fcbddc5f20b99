"""One network, evaluated for every run of a pack at once."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.utils.hooks import RemovableHandle

from cfsweep.training.networks.mlp import Mlp

Noted = tuple[Tensor, dict[str, Tensor]]

_STACKABLE = (nn.Flatten, nn.Linear, nn.ReLU)


class Lifted:
    """A network lifted over a leading run dimension.

    Plain stacks of linear layers and ReLUs become batched matrix products; every other network is lifted by
    `torch.func.vmap` on a GPU, and called for one run after the other on a CPU, where grouped convolutions take twice
    the time. A network that vmap cannot lift (`liftable=False`) serves packs of one run only, and its buffers (batch
    statistics) live in the module.
    """

    def __init__(self, module: nn.Module, liftable: bool, head: str = "") -> None:
        self.module, self.liftable, self.head = module, liftable, head
        self.stack = _as_stack(module) if liftable else None

    def __call__(self, parameters: Mapping[str, Tensor], x: Tensor, shared: bool = False) -> Tensor:
        """Logits (R, n, n_outputs) from parameters (R, *shape) and x (R, n, *input_shape).

        With `shared`, x is (n, *input_shape) and every run sees the same examples.
        """
        return self.answers(parameters, x, (), shared)[0]

    def answers(
        self, parameters: Mapping[str, Tensor], x: Tensor, layers: Sequence[str], shared: bool = False
    ) -> Noted:
        """The logits, and by name the outputs (R, n, ...) of `layers`; "" stands for the input of the output layer."""
        if self.stack is not None and set(layers) <= {"", *(name for name, _, _ in self.stack)}:
            return self._batched(parameters, x, layers, shared)
        if not self.liftable or x.device.type == "cpu":
            return self._one_by_one(parameters, x, layers, shared)
        return self._by_vmap(parameters, x, layers, shared)

    def one(self, parameters: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """Logits (n, n_outputs) of one model from parameters (*shape) and x (n, *input_shape)."""
        logits: Tensor = functional_call(self.module, dict(parameters), (x,))
        return logits

    def _one(self, parameters: Mapping[str, Tensor], x: Tensor, layers: Sequence[str]) -> Noted:
        features: dict[str, Tensor] = {}

        def note(name: str) -> RemovableHandle:
            if name:
                layer = self.module.get_submodule(name)
                return layer.register_forward_hook(lambda _m, _a, output: features.__setitem__(name, output))
            layer = self.module.get_submodule(self.head)
            return layer.register_forward_pre_hook(lambda _m, inputs: features.__setitem__(name, inputs[0]))

        handles = [note(name) for name in layers]
        try:
            return self.one(parameters, x), features
        finally:
            for handle in handles:
                handle.remove()

    def _one_by_one(self, parameters: Mapping[str, Tensor], x: Tensor, layers: Sequence[str], shared: bool) -> Noted:
        rows = zip(*(stacked.unbind() for stacked in parameters.values()), strict=True)  # its gradient is one `stack`
        inputs = itertools.repeat(x) if shared else x.unbind()
        noted = [
            self._one(dict(zip(parameters, row, strict=True)), own, layers)
            for row, own in zip(rows, inputs, strict=False)
        ]
        features = {name: torch.stack([features[name] for _, features in noted]) for name in layers}
        return torch.stack([logits for logits, _ in noted]), features

    def _by_vmap(self, parameters: Mapping[str, Tensor], x: Tensor, layers: Sequence[str], shared: bool) -> Noted:
        def noted(parameters: dict[str, Tensor], x: Tensor) -> Noted:
            return self._one(parameters, x, layers)

        lifted: Noted = vmap(noted, in_dims=(0, None if shared else 0))(dict(parameters), x)
        return lifted

    def _batched(self, parameters: Mapping[str, Tensor], x: Tensor, layers: Sequence[str], shared: bool) -> Noted:
        assert self.stack is not None
        features: dict[str, Tensor] = {}
        hidden = x.flatten(1 if shared else 2)
        if shared:
            n_runs = next(iter(parameters.values())).shape[0]
            hidden = hidden.expand(n_runs, *hidden.shape)
        for name, is_linear, has_bias in self.stack:
            if name == self.head and "" in layers:
                features[""] = hidden
            if not is_linear:
                hidden = torch.relu(hidden)
            else:
                weight = parameters[f"{name}.weight"].transpose(-1, -2)
                if has_bias:
                    hidden = torch.baddbmm(parameters[f"{name}.bias"].unsqueeze(1), hidden, weight)
                else:
                    hidden = torch.bmm(hidden, weight)
            if name in layers:
                features[name] = hidden
        return hidden, features


def _in_order(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """The layers by name, if `module` is known to call its layers one after the other; else nothing."""
    if type(module) is Mlp:
        return [*((f"body.{name}", layer) for name, layer in module.body.named_children()), ("head", module.head)]
    if isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward:
        return list(module.named_children())
    return []


def _as_stack(module: nn.Module) -> list[tuple[str, bool, bool]] | None:
    """(name, is it linear, has it a bias) of each layer if `module` is a plain stack over flattened input."""
    layers = _in_order(module)
    if not all(type(layer) in _STACKABLE for _, layer in layers) or not layers:
        return None
    flattens = [i for i, (_, layer) in enumerate(layers) if type(layer) is nn.Flatten]
    first = layers[0][1]
    if flattens != [0] or not isinstance(first, nn.Flatten) or (first.start_dim, first.end_dim) != (1, -1):
        return None
    if any(
        m._forward_hooks or m._forward_pre_hooks or m._parameters.keys() - {"weight", "bias"} for m in module.modules()
    ):
        return None
    return [
        (name, type(layer) is nn.Linear, getattr(layer, "bias", None) is not None)
        for name, layer in layers
        if type(layer) is not nn.Flatten
    ]
