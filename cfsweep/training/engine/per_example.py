"""Means over examples of a function of per-example gradients, four ways; all give the same numbers."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from cfsweep.training.engine.layout import Layout
from cfsweep.training.engine.lift import Lifted
from cfsweep.training.targets import Target

PerExample = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
Size = Callable[[Tensor], Tensor]  # elementwise and multiplicative: size(a * b) == size(a) * size(b)
CHUNK_BYTES = 64 * 2**20


class Objective(NamedTuple):
    """A sum over examples, from (outputs, labels, mask), and its gradient by the outputs (n, n_outputs)."""

    value: Callable[[Tensor, Tensor, Tensor], Tensor]
    gradient: Callable[[Tensor, Tensor, Tensor], Tensor]


SQUARED_NORM = Objective(
    lambda outputs, labels, mask: outputs.masked_fill(~mask, 0.0).square().sum(),
    lambda outputs, labels, mask: outputs.masked_fill(~mask, 0.0).mul(2.0),
)
"""The squares of the active outputs; `labels` are not looked at."""


def log_likelihood_of(target: Target) -> Objective:
    """The log-likelihood of the labels (n, ...)."""
    return Objective(
        lambda outputs, labels, mask: target.log_likelihood(outputs, labels, mask).sum(),
        target.log_likelihood_gradient,
    )


def mean_gradient_size(
    lifted: Lifted, layout: Layout, input_shape: tuple[int, ...], objective: Objective, size: Size
) -> PerExample:
    """`f(theta (P,), x (n, ...), labels (n, ...), mask (n, n_outputs))` -> (P,): the mean over examples of `size` (such
    as `torch.square` or `torch.abs`) of the gradient of each example's `objective`, in the fastest correct way.

    A network of linear layers alone needs one matrix product per layer: the gradient of example b is δ_b a_bᵀ, so
    Σ_b size(δ_b a_bᵀ) = size(δ)ᵀ size(a); in a plain stack the δ are products too. Any other network takes a vmap over
    examples in chunks; one that vmap cannot lift over runs or over examples, a loop.
    """
    if not lifted.liftable:
        return _looped(lifted, layout, objective, size)
    if lifted.stack is not None:
        return _by_output_gradients(lifted, layout, objective, size)
    if _only_linear(lifted, layout, input_shape):
        return _by_products(lifted, layout, objective, size)
    by_vmap, looped = _by_vmap(lifted, layout, objective, size), _looped(lifted, layout, objective, size)

    def run(theta: Tensor, x: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
        # Asked for when it is needed: the answer takes a trial, for which torch loads its compiler.
        return (by_vmap if examples_can_be_lifted(lifted, layout, input_shape) else looped)(theta, x, labels, mask)

    return run


def examples_can_be_lifted(lifted: Lifted, layout: Layout, input_shape: tuple[int, ...]) -> bool:
    """Whether the gradients of several examples can be taken as one; of recurrent layers, say, they cannot. Where not,
    `mean_gradient_size` loops over them, and its function cannot be lifted over runs either."""
    if not lifted.liftable:
        return False
    if lifted.stack is not None or _only_linear(lifted, layout, input_shape):
        return True
    known = _CAN_BE_LIFTED.get(lifted)
    if known is None:
        known = _CAN_BE_LIFTED[lifted] = _tried(lifted, layout, input_shape)
    return known


_CAN_BE_LIFTED: WeakKeyDictionary[Lifted, bool] = WeakKeyDictionary()


def _tried(lifted: Lifted, layout: Layout, input_shape: tuple[int, ...]) -> bool:
    device = next(lifted.module.parameters()).device

    def of_one(theta: Tensor, x: Tensor) -> Tensor:
        return lifted.one(layout.unflatten(theta), x.unsqueeze(0)).sum()

    over_examples = vmap(grad(of_one), in_dims=(None, 0))
    theta, x = torch.zeros(1, layout.size, device=device), torch.zeros(1, 2, *input_shape, device=device)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", message=".*performance drop")  # torch loops itself, and slowly
        try:
            vmap(over_examples)(theta, x)
        except Exception:
            return False
    return True


def _by_output_gradients(lifted: Lifted, layout: Layout, objective: Objective, size: Size) -> PerExample:
    stack = lifted.stack
    assert stack is not None

    def run(theta: Tensor, x: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
        views = stack.views(layout.unflatten(theta.unsqueeze(0)))
        outputs = stack.outputs(views, x.unsqueeze(0))
        sizes: dict[str, Tensor] = {}
        by_outputs = objective.gradient(outputs[-1][0], labels, mask).unsqueeze(0)
        for number, gradient in stack.output_gradients(views, outputs, by_outputs):
            name, delta = stack.layers[number].name, size(gradient[0])
            sizes[f"{name}.weight"] = delta.T @ size(outputs[number][0])
            if stack.layers[number].has_bias:
                sizes[f"{name}.bias"] = delta.sum(0)
        return layout.flatten(sizes) / len(x)

    return run


def _by_products(lifted: Lifted, layout: Layout, objective: Objective, size: Size) -> PerExample:
    module = lifted.module
    layers = {name: child for name, child in module.named_modules() if type(child) is nn.Linear}

    def run(theta: Tensor, x: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
        parameters = layout.unflatten(theta)

        def nudged(nudges: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
            inputs: dict[str, Tensor] = {}

            def nudge(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
                def hook(_: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
                    inputs[name] = args[0]
                    return output + nudges[name]

                return hook

            handles = [child.register_forward_hook(nudge(name)) for name, child in layers.items()]
            try:
                logits = functional_call(module, parameters, (x,))
            finally:
                for handle in handles:
                    handle.remove()
            return objective.value(logits, labels, mask), inputs

        zeros = {name: torch.zeros(len(x), c.out_features, device=x.device) for name, c in layers.items()}
        deltas, inputs = grad(nudged, has_aux=True)(zeros)
        sizes: dict[str, Tensor] = {}
        for name, child in layers.items():
            delta, activation = size(deltas[name]), size(inputs[name])
            sizes[f"{name}.weight"] = delta.T @ activation
            if child.bias is not None:
                sizes[f"{name}.bias"] = delta.sum(0)
        return layout.flatten(sizes) / len(x)

    return run


def _by_vmap(lifted: Lifted, layout: Layout, objective: Objective, size: Size) -> PerExample:
    chunk = max(1, CHUNK_BYTES // (4 * layout.size))

    def of_one(theta: Tensor, x: Tensor, label: Tensor, mask: Tensor) -> Tensor:
        logits = lifted.one(layout.unflatten(theta), x.unsqueeze(0))
        return objective.value(logits, label.unsqueeze(0), mask.unsqueeze(0))

    each = vmap(grad(of_one), in_dims=(None, 0, 0, 0))

    def run(theta: Tensor, x: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
        total = torch.zeros_like(theta)
        for at in range(0, len(x), chunk):
            part = slice(at, at + chunk)
            total = total + size(each(theta, x[part], labels[part], mask[part])).sum(0)
        return total / len(x)

    return run


def _looped(lifted: Lifted, layout: Layout, objective: Objective, size: Size) -> PerExample:
    def run(theta: Tensor, x: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
        total = torch.zeros_like(theta)
        with torch.enable_grad():
            leaf = theta.detach().clone().requires_grad_(True)
            for i in range(len(x)):
                one = slice(i, i + 1)
                logits = lifted.one(layout.unflatten(leaf), x[one])
                (gradient,) = torch.autograd.grad(objective.value(logits, labels[one], mask[one]), leaf)
                total += size(gradient)
        return total / len(x)

    return run


def _only_linear(lifted: Lifted, layout: Layout, input_shape: tuple[int, ...]) -> bool:
    """Whether all parameters lie in linear layers that are called once each, on (n, features) inputs, and nothing else
    is done with them."""
    known = _ONLY_LINEAR.get(lifted)
    if known is None:
        known = _ONLY_LINEAR[lifted] = _looks_linear(lifted.module, layout, input_shape) and _products_agree(
            lifted, layout, input_shape
        )
    return known


_ONLY_LINEAR: WeakKeyDictionary[Lifted, bool] = WeakKeyDictionary()


def _products_agree(lifted: Lifted, layout: Layout, input_shape: tuple[int, ...]) -> bool:
    """Whether the products are the gradients, tried on a few examples. What a module does beside its layers (a weight
    that is used by a function too, a hook that changes an output) cannot be seen from outside."""
    device = next(lifted.module.parameters()).device
    theta = layout.flatten({name: p.detach() for name, p in lifted.module.named_parameters() if p.requires_grad})
    x = torch.linspace(-1, 1, 3 * math.prod(input_shape), device=device).reshape(3, *input_shape)
    summed = Objective(lambda outputs, labels, mask: outputs.square().sum(), lambda outputs, labels, mask: 2 * outputs)
    nothing = torch.zeros(3, device=device)
    try:
        mine = _by_products(lifted, layout, summed, torch.square)(theta, x, nothing, nothing)
        theirs = _looped(lifted, layout, summed, torch.square)(theta, x, nothing, nothing)
    except Exception:  # whatever the user's network makes of it: it goes the general way
        return False
    return bool((mine - theirs).norm() <= 1e-3 * theirs.norm())


def _looks_linear(module: nn.Module, layout: Layout, input_shape: tuple[int, ...]) -> bool:
    layers = {name: child for name, child in module.named_modules() if type(child) is nn.Linear}
    owned = {f"{name}.{p}" for name, child in layers.items() for p, _ in child.named_parameters(recurse=False)}
    if owned != {e.name for e in layout.entries}:
        return False
    calls: list[int] = []
    handles = [
        child.register_forward_hook(lambda _m, args, _out: calls.append(args[0].dim())) for child in layers.values()
    ]
    try:
        with torch.no_grad():
            device = next(module.parameters()).device
            module(torch.zeros(2, *input_shape, device=device))
    except Exception:  # whatever the user's network makes of it: it goes the general way
        return False
    finally:
        for handle in handles:
            handle.remove()
    return calls == [2] * len(layers)
