"""Can `torch.func.vmap` train several copies of a network as one?"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap

from cfsweep.errors import first_line
from cfsweep.training.networks.mlp import Mlp
from cfsweep.training.precision import matmul_precision

_COPIES, _EXAMPLES = 2, 4
# Batched and single kernels round differently (about 5e-7 in either norm); where rounding turns a ReLU over, the
# gradient jumps (3e-4 seen). A copy that gets another one's weights is off by far more. With tf32, which torch takes
# for a GPU's convolutions unless it is told not to, a ResNet's gradients are off by more than that, too.
_OUTPUT_TOLERANCE, _GRADIENT_TOLERANCE = 1e-3, 1e-2

# What torch says, and what it means for the author of the network.
_REASONS = (
    (
        "randomness",
        "it draws random numbers while training (as dropout does), and stacked copies cannot each draw their own",
    ),
    ("data-dependent control flow", "its control flow depends on the values of tensors, which differ from run to run"),
    (".item()", "it reads the value of a tensor (`.item()`), which differs from run to run"),
    ("dynamic shape", "the shape of one of its tensors depends on values, which differ from run to run"),
    ("inplace", "it changes a tensor in place that is smaller than what is written into it (a buffer, say)"),
    ("broadcast shape", "it changes a tensor in place that is smaller than what is written into it (a buffer, say)"),
)

State = dict[str, Tensor]


def unliftable_reason(module: nn.Module, input_shape: tuple[int, ...]) -> str | None:
    """None if copies of `module` can be stacked and trained as one; else why not, in one line.

    Tries it: outputs (2 copies, 4 examples, n_outputs) and gradients of stacked copies, in train mode, must be those
    of each copy alone. A network that cannot be lifted trains in packs of one. Neither `module` nor the state of
    torch's random numbers changes.

    >>> unliftable_reason(nn.Linear(3, 2), (3,)) is None
    True
    >>> unliftable_reason(nn.Sequential(nn.Dropout(), nn.Linear(3, 2)), (3,))
    'it draws random numbers while training (as dropout does), and stacked copies cannot each draw their own'
    """
    if _is_plain_mlp(module):
        return None
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # where torch has no rule for several copies, it warns that it loops
        torch.manual_seed(0)
        x = torch.randn(_COPIES, _EXAMPLES, *input_shape).to(device)
        try:
            copies = [copy.deepcopy(module).train() for _ in range(_COPIES)]
            with torch.no_grad():
                for parameter in copies[1].parameters():  # so that a mix-up of the copies would show
                    parameter.add_(0.1 * torch.randn_like(parameter))
            with matmul_precision("float32"):
                return _reason(copies, x)
        except Exception as error:  # whatever the user's network and vmap make of each other
            return _in_words(error)


def seeded_constants(make: Callable[[], nn.Module], made: nn.Module, input_shape: tuple[int, ...]) -> str | None:
    """None if what `made`, a network that `make` gives, does not train is the same whatever the seed; else what is not,
    in one line: a tensor, or something that shows in the outputs alone. Runs of several seeds cannot share it. The
    state of torch's random numbers does not change."""
    if _is_plain_mlp(made) and all(p.requires_grad for p in made.parameters()):
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        other, x = make(), torch.randn(_EXAMPLES, *input_shape)
        held, others = _constants(made), _constants(other)
        name = next((name for name, value in held.items() if not torch.equal(value.cpu(), others[name])), None)
        if name is not None:
            return f"`{name}`, which is not trained, differs from seed to seed, and stacked copies share it"
        try:
            other.load_state_dict({name: value.cpu() for name, value in made.state_dict().items()})
            here = copy.deepcopy(made).cpu().eval()
            with torch.no_grad():
                alike = torch.allclose(here(x), other.eval()(x), atol=1e-4, equal_nan=True)
        except Exception:
            return None  # what fails here fails in training, and is told there
    return None if alike else "what it draws when it is built, beside its weights, differs from seed to seed"


def _constants(module: nn.Module) -> State:
    frozen = {name: p.detach() for name, p in module.named_parameters() if not p.requires_grad}
    return frozen | dict(module.named_buffers())


def _is_plain_mlp(module: nn.Module) -> bool:
    """Whether it is known to lift, so that no trial is needed, for which torch would load its compiler for a second."""
    return type(module) is Mlp and all(
        type(m) in (Mlp, nn.Sequential, nn.Flatten, nn.Linear, nn.ReLU) and not m._forward_hooks
        for m in module.modules()
    )


def _reason(copies: list[nn.Module], x: Tensor) -> str | None:
    if not torch.equal(*(_with_seed(copies[0], x[0]) for _ in range(2))):
        return "its answers to the same examples change from call to call (does it count, or keep something?)"
    alone = []
    for each, examples in zip(copies, x, strict=True):
        before = {name: buffer.clone() for name, buffer in each.named_buffers()}
        alone.append(_alone(each, examples))
        for name, buffer in each.named_buffers():
            if not torch.equal(buffer, before[name]):
                return (
                    f"its forward pass changes the buffer `{name}` while training (running statistics, as BatchNorm "
                    "keeps them), and stacked copies keep none; GroupNorm or LayerNorm can be lifted"
                )
    parameters, buffers = stack_module_state(copies)
    lifted = vmap(grad(_loss, has_aux=True), in_dims=(0, 0, 0, None), randomness="error")
    gradients, outputs = lifted(parameters, buffers, x, copies[0])
    for run, (outputs_alone, gradients_alone) in enumerate(alone):
        if _distance({"": outputs[run]}, {"": outputs_alone}) > _OUTPUT_TOLERANCE:
            return "the outputs of stacked copies differ from those of each copy alone"
        if _distance({name: gradients[name][run] for name in gradients_alone}, gradients_alone) > _GRADIENT_TOLERANCE:
            return "the gradients of stacked copies differ from those of each copy alone"
    return None


def _with_seed(module: nn.Module, x: Tensor) -> Tensor:
    torch.manual_seed(1)
    outputs: Tensor = module(x)
    return outputs.detach()


def _loss(parameters: State, buffers: State, x: Tensor, module: nn.Module) -> tuple[Tensor, Tensor]:
    outputs = functional_call(module, (parameters, buffers), (x,))
    return outputs.square().mean(), outputs


def _alone(module: nn.Module, x: Tensor) -> tuple[Tensor, State]:
    """Outputs and gradients in the plain way, without torch.func."""
    trained = {name: p for name, p in module.named_parameters() if p.requires_grad}
    outputs = module(x)
    gradients = torch.autograd.grad(outputs.square().mean(), list(trained.values()), materialize_grads=True)
    return outputs.detach(), dict(zip(trained, gradients, strict=True))


def _distance(together: State, alone: State) -> float:
    """The norm of the difference over the norm of `alone`, all tensors taken as one vector."""
    difference = sum(float((together[name] - alone[name]).detach().double().square().sum()) for name in alone)
    norm = sum(float(tensor.double().square().sum()) for tensor in alone.values())
    return math.sqrt(difference / norm) if norm else math.sqrt(difference)


def _in_words(error: Exception) -> str:
    message = str(error).lower()
    for sign, reason in _REASONS:
        if sign in message:
            return reason
    return f"torch.func cannot lift it ({first_line(error)})"
