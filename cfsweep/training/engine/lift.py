"""One network, evaluated for every run of a pack at once."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.modules.batchnorm import _NormBase
from torch.utils.hooks import RemovableHandle

from cfsweep.training.engine.execution import Execution, forgetful
from cfsweep.training.engine.linear_stack import LinearStack, Views
from cfsweep.training.networks import ties_weights

Noted = tuple[Tensor, dict[str, Tensor]]
ByName = dict[str, Tensor]


class Weights(NamedTuple):
    """Views of stacked flat weights, or of room for their gradients: (R, *shape) by parameter name, and for a plain
    stack by its layers."""

    by_name: ByName
    by_layer: list[Views | None]


class Traced(NamedTuple):
    """Answers to train with: logits (R, n, n_outputs) and features (R, n, ...), without a history of their own.

    `vjp(of_logits, of_features, into)`, the vector-Jacobian product, takes the gradients of a loss by them (features
    that it does not depend on may be missing), and writes those by the weights `into` their place.
    """

    logits: Tensor
    features: dict[str, Tensor]
    vjp: Callable[[Tensor, Mapping[str, Tensor], Weights], None]


class Lifted:
    """A network lifted over a leading run dimension.

    Plain stacks of linear layers and ReLUs become batched matrix products; every other network is lifted by
    `torch.func.vmap` on a GPU, and called for one run after the other on a CPU, where grouped convolutions take twice
    the time. One run alone calls it as it is. A network that vmap cannot lift (`liftable=False`) serves packs of one
    run only, and its buffers (batch statistics) live in the module. `factors` is the type that the products of training
    round their factors to. An `execution` other than the plain one is for packs of one run, too.
    """

    def __init__(
        self,
        module: nn.Module,
        liftable: bool,
        head: str = "",
        factors: torch.dtype = torch.float32,
        execution: Execution | None = None,
    ) -> None:
        self.module, self.liftable, self.head, self.factors = module, liftable, head, factors
        self.execution = execution or Execution()
        self.holds_statistics = False  # whether running statistics stay as they are, and are what training uses
        self.stack = LinearStack.of(module, head) if liftable and self.execution == Execution() else None
        self._ties = ties_weights(module)
        self._executed = self.execution.compiled(self.one)

    def train_mode(self) -> None:
        """Has the network train, as `eval` of the module ends."""
        self.module.train()
        if self.holds_statistics:
            for part in self.module.modules():
                if isinstance(part, _NormBase):
                    part.eval()

    @contextmanager
    def draws(self, seed: int) -> Iterator[None]:
        """Within it random numbers of torch's own (dropout, noise) come from `seed`. Only a network that is called as
        it is, for one run, may draw any."""
        with torch.random.fork_rng(devices=[], enabled=not self.liftable):
            if not self.liftable:
                torch.manual_seed(seed)
            yield

    def __call__(self, parameters: Mapping[str, Tensor], x: Tensor, shared: bool = False) -> Tensor:
        """Logits (R, n, n_outputs) from parameters (R, *shape) and x (R, n, *input_shape).

        With `shared`, x is (n, *input_shape) and every run sees the same examples.
        """
        return self.answers(parameters, x, (), shared)[0]

    def answers(
        self, parameters: Mapping[str, Tensor], x: Tensor, layers: Sequence[str], shared: bool = False
    ) -> Noted:
        """The logits, and by name the outputs (R, n, ...) of `layers`; "" stands for the input of the output layer."""
        if self.stack is not None and self.stack.places.keys() >= set(layers):
            return self._batched(parameters, x, layers, shared)
        alone = len(next(iter(parameters.values()))) == 1
        if alone or not self.liftable or x.device.type == "cpu":
            return self._one_by_one(parameters, x, layers, shared)
        return self._by_vmap(parameters, x, layers, shared)

    def weights(self, parameters: ByName) -> Weights:
        """The views that training works with, made once for many steps."""
        return Weights(parameters, [] if self.stack is None else self.stack.views(parameters))

    def traced(self, weights: Weights, x: Tensor, layers: Sequence[str]) -> Traced:
        """As `answers`, with a way back to the weights."""
        stack = self.stack
        if stack is None or not stack.places.keys() >= set(layers):
            return self._by_autograd(weights.by_name, x, layers)
        with torch.no_grad():
            outputs = stack.outputs(weights.by_layer, x, self.factors)

        def vjp(of_logits: Tensor, of_features: Mapping[str, Tensor], into: Weights) -> None:
            with torch.no_grad():
                stack.vjp(weights.by_layer, outputs, of_logits, of_features, into.by_layer, self.factors)

        return Traced(outputs[-1], stack.features(outputs, layers), vjp)

    def one(self, parameters: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """Logits (n, n_outputs) of one model from parameters (*shape) and x (n, *input_shape)."""
        logits: Tensor = functional_call(self.module, dict(parameters), (x,), tie_weights=self._ties)
        return logits

    def _by_autograd(self, parameters: ByName, x: Tensor, layers: Sequence[str]) -> Traced:
        leaves = {name: value.detach().requires_grad_(True) for name, value in parameters.items()}
        rounded = self.factors != torch.float32
        with torch.autocast(x.device.type, self.factors if rounded else None, enabled=rounded, cache_enabled=False):
            logits, features = self._in_pieces(leaves, x, layers)
        logits, features = logits.float(), {name: value.float() for name, value in features.items()}

        def vjp(of_logits: Tensor, of_features: Mapping[str, Tensor], into: Weights) -> None:
            used = [logits, *(features[name] for name in of_features)]
            by = [of_logits, *of_features.values()]
            # A weight that has no say in the output (a spare head, what lies under no_grad) has a gradient of zero.
            gradients = torch.autograd.grad(used, list(leaves.values()), by, materialize_grads=True)
            for name, gradient in zip(leaves, gradients, strict=True):
                into.by_name[name].copy_(gradient)

        return Traced(logits.detach(), {name: value.detach() for name, value in features.items()}, vjp)

    def _in_pieces(self, parameters: ByName, x: Tensor, layers: Sequence[str]) -> Noted:
        """As `answers`, to be differentiated, of no more examples at once than `execution` says."""
        pieces = self.execution.pieces(x)
        if len(pieces) == 1:
            return self.answers(parameters, x, layers)
        noted: list[Noted] = [forgetful(self.answers, self.module, parameters, piece, layers) for piece in pieces]
        return (
            torch.cat([logits for logits, _ in noted], 1),
            {name: torch.cat([features[name] for _, features in noted], 1) for name in layers},
        )

    def _one(self, parameters: Mapping[str, Tensor], x: Tensor, layers: Sequence[str]) -> Noted:
        x, features = self.execution.laid_out(x), ByName()
        if not layers:
            return self._executed(parameters, x), features

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
        outputs = self.stack.outputs(self.stack.views(parameters), x)
        return outputs[-1], self.stack.features(outputs, layers)
