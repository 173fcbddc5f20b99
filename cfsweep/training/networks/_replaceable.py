"""Does a network compute with the weights that it is given, as a plain training loop's would?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call

TOLERANCE = 1e-3


def unreplaceable_reason(module: nn.Module, input_shape: tuple[int, ...]) -> str | None:
    """None if other weights can be put in the place of those of `module` from outside; else why not, in one line.

    cfsweep keeps weights in stacks, and calls the network with them (`torch.func.functional_call`). A plain loop
    changes them in place instead. The two differ where the network uses a reference of its own to a weight (a list, a
    closure), or asks whether one is a leaf, and where a weight has a hook on its gradient. Tried in evaluation, with
    the same random numbers; the weights are what they were afterwards.
    """
    trained = {name: p for name, p in module.named_parameters() if p.requires_grad}
    hooked = [n for n, p in trained.items() if p._backward_hooks or getattr(p, "_post_accumulate_grad_hooks", None)]
    if hooked:
        return f"`{hooked[0]}` has a hook on its gradient, which is never called. Freeze it, or change it in `forward`"
    kept = {name: p.detach().clone() for name, p in trained.items()}
    was_training = module.training
    module.eval()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        x = torch.randn(3, *input_shape)
        other = {name: value + 0.1 * torch.randn_like(value) for name, value in kept.items()}
        try:
            given = {name: value.clone().requires_grad_(True) for name, value in other.items()}
            there = _answers(module, {name: 1 * value for name, value in given.items()}, x, given)
            with torch.no_grad():
                for name, p in trained.items():
                    p.copy_(other[name])
            here = _answers(module, {}, x, trained)
        except Exception:
            return None  # what fails here fails in training, and is told there
        finally:
            with torch.no_grad():
                for name, p in trained.items():
                    p.copy_(kept[name])
            module.train(was_training)
    apart = [name for name in ("", *trained) if _distance(here[name], there[name]) > TOLERANCE]
    if not apart:
        return None
    said = "its outputs" if apart[0] == "" else f"the gradient of `{apart[0]}`"
    return (
        f"with weights put in the place of its own, {said} differ from those of the same weights in the network itself "
        "(does `forward` use a list or closure that holds weights?). Look each weight up by its attribute"
    )


def ties_weights(module: nn.Module) -> bool:
    """Whether two modules share a weight. (Where one module stands in two places, `functional_call` must not tie it to
    itself, or it leaves the weights of a call in it.)"""
    owned = Counter(id(p) for part in module.modules() for p in part._parameters.values() if p is not None)
    return any(n > 1 for n in owned.values())


def _answers(
    module: nn.Module, parameters: Mapping[str, Tensor], x: Tensor, by: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The outputs, as "", and the gradients of a loss by each of `by`; without `parameters` with the module's own."""
    torch.manual_seed(1)
    outputs = (
        functional_call(module, dict(parameters), (x,), tie_weights=ties_weights(module)) if parameters else module(x)
    )
    gradients = torch.autograd.grad(outputs.square().mean(), list(by.values()), materialize_grads=True)
    return {"": outputs.detach(), **dict(zip(by, gradients, strict=True))}


def _distance(one: Tensor, other: Tensor) -> float:
    size = float(one.double().norm())
    return float((one - other).double().norm()) / (size or 1.0)
