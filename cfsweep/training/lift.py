"""One network, evaluated for every run of a pack at once."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.utils.hooks import RemovableHandle

from cfsweep.training.linear_stack import LinearStack

Noted = tuple[Tensor, dict[str, Tensor]]
ByName = dict[str, Tensor]


class Traced(NamedTuple):
    """Answers to train with: logits (R, n, n_outputs) and features (R, n, ...), leaves that collect gradients.

    `pull(of_logits, of_features, into)` takes the gradients of a loss by these leaves (None: it does not depend on
    this feature), and writes those by the weights into the views `into` (R, *shape) by parameter name.
    """

    logits: Tensor
    features: dict[str, Tensor]
    pull: Callable[[Tensor, Mapping[str, Tensor | None], ByName], None]


class Lifted:
    """A network lifted over a leading run dimension.

    Plain stacks of linear layers and ReLUs become batched matrix products; every other network is lifted by
    `torch.func.vmap` on a GPU, and called for one run after the other on a CPU, where grouped convolutions take twice
    the time. A network that vmap cannot lift (`liftable=False`) serves packs of one run only, and its buffers (batch
    statistics) live in the module.
    """

    def __init__(self, module: nn.Module, liftable: bool, head: str = "") -> None:
        self.module, self.liftable, self.head = module, liftable, head
        self.stack = LinearStack.of(module, head) if liftable else None

    def __call__(self, parameters: Mapping[str, Tensor], x: Tensor, shared: bool = False) -> Tensor:
        """Logits (R, n, n_outputs) from parameters (R, *shape) and x (R, n, *input_shape).

        With `shared`, x is (n, *input_shape) and every run sees the same examples.
        """
        return self.answers(parameters, x, (), shared)[0]

    def answers(
        self, parameters: Mapping[str, Tensor], x: Tensor, layers: Sequence[str], shared: bool = False
    ) -> Noted:
        """The logits, and by name the outputs (R, n, ...) of `layers`; "" stands for the input of the output layer."""
        if self.stack is not None and self.stack.names.issuperset(layers):
            return self._batched(parameters, x, layers, shared)
        if not self.liftable or x.device.type == "cpu":
            return self._one_by_one(parameters, x, layers, shared)
        return self._by_vmap(parameters, x, layers, shared)

    def traced(self, parameters: Mapping[str, Tensor], x: Tensor, layers: Sequence[str]) -> Traced:
        """As `answers`, with a way back to the parameters, which need not be leaves of autograd."""
        if self.stack is None or not self.stack.names.issuperset(layers):
            return self._by_autograd(parameters, x, layers)
        stack = self.stack
        with torch.no_grad():
            outputs = stack.outputs(parameters, x)

        def pull(of_logits: Tensor, of_features: Mapping[str, Tensor | None], into: ByName) -> None:
            with torch.no_grad():
                stack.pull(parameters, outputs, of_logits, of_features, into)

        return Traced(_leaf(outputs[-1]), {k: _leaf(v) for k, v in stack.features(outputs, layers).items()}, pull)

    def one(self, parameters: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """Logits (n, n_outputs) of one model from parameters (*shape) and x (n, *input_shape)."""
        logits: Tensor = functional_call(self.module, dict(parameters), (x,))
        return logits

    def _by_autograd(self, parameters: Mapping[str, Tensor], x: Tensor, layers: Sequence[str]) -> Traced:
        leaves = {name: _leaf(value) for name, value in parameters.items()}
        logits, features = self.answers(leaves, x, layers)

        def pull(of_logits: Tensor, of_features: Mapping[str, Tensor | None], into: ByName) -> None:
            used = [(features[name], slope) for name, slope in of_features.items() if slope is not None]
            answers, slopes = zip((logits, of_logits), *used, strict=True)
            gradients = torch.autograd.grad(answers, list(leaves.values()), slopes)
            for name, gradient in zip(leaves, gradients, strict=True):
                into[name].copy_(gradient)

        return Traced(_leaf(logits), {name: _leaf(value) for name, value in features.items()}, pull)

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
        if shared:
            x = x.expand(len(next(iter(parameters.values()))), *x.shape)
        outputs = self.stack.outputs(parameters, x)
        return outputs[-1], self.stack.features(outputs, layers)


def _leaf(value: Tensor) -> Tensor:
    return value.detach().requires_grad_(True)
