"""One model of the user's, as an ingredient sees it: a flat vector of weights, and what can be asked of the network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from cfsweep.config import Scenario
from cfsweep.errors import InputError, few
from cfsweep.training.engine.layout import Layout
from cfsweep.training.engine.lift import Lifted
from cfsweep.training.engine.per_example import SQUARED_NORM, Objective, log_likelihood_of, mean_gradient_size
from cfsweep.training.ingredients import Context
from cfsweep.training.networks import unliftable_reason
from cfsweep.training.targets import Outputs
from cfsweep.training.targets.classification import Classification


class OneModel:
    """The parameters of `model` that are trained as one flat vector, and its output layer, which is the attribute
    `head` if that is an `nn.Linear`, else the last `nn.Linear` in it. `where` begins the error messages.

    Raises:
        InputError: there is no such layer or nothing to train, or the parameters differ in type or device.
    """

    def __init__(self, model: nn.Module, where: str) -> None:
        self.model, self.where = model, where
        self.n_outputs = _output_layer(model, where).out_features
        self.layout = Layout(model, self.n_outputs)
        kinds = {(p.dtype, p.device) for p in model.parameters() if p.requires_grad}
        if len(kinds) > 1:
            raise InputError(
                f"{where}: all parameters that are trained must have one type and lie on one device, but they have "
                f"{few(sorted(f'{dtype} on {device}' for dtype, device in kinds))}. Move the model to one device."
            )

    @property
    def device(self) -> torch.device:
        """Where the model is now."""
        return next(self.model.parameters()).device

    def trained(self) -> dict[str, nn.Parameter]:
        """The parameters that are trained, by name.

        Raises:
            InputError: others are trained than when this was made.
        """
        trained = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        known = {entry.name for entry in self.layout.entries}
        changed = sorted(known ^ trained.keys())
        if changed:
            raise InputError(
                f"{self.where}: the parameters that are trained must stay those that it was made with, but "
                f"requires_grad has changed, or the model, at {few(changed)}. Make it anew, or put it back."
            )
        return trained

    def theta(self) -> Tensor:
        """The weights (P,) as they are now, as a copy; autograd can follow them back to the parameters.

        Raises:
            InputError: as `trained`.
        """
        return self.layout.flatten(self.trained())

    def gradient(self) -> Tensor:
        """The gradients (P,) that the parameters hold now; zero where there is none.

        Raises:
            InputError: no parameter has any; or as `trained`.
        """
        trained = self.trained()
        if all(p.grad is None for p in trained.values()):
            raise InputError(
                f"{self.where}: the parameters must hold the gradient of the loss, but none has any. Call "
                "`loss.backward()` first."
            )

        return self.layout.flatten({n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in trained.items()})

    def write(self, theta: Tensor) -> None:
        """Takes the weights (P,), in place."""
        with torch.no_grad():
            for name, piece in self.layout.unflatten(theta).items():
                self.model.get_parameter(name).copy_(piece)

    def context(
        self, outputs: Outputs, scenario: Scenario = "class-il", n_tasks: int = 1, output_tasks: tuple[int, ...] = ()
    ) -> Context:
        """What an ingredient may know. There is no stream: `input_shape` is that of the examples which it is shown,
        and here left empty, as none of those used here asks for it before; `classes` is empty."""
        target = Classification()
        sensitivity = self._mean_gradient_size(SQUARED_NORM, torch.abs)
        return Context(
            layout=self.layout,
            target=target,
            n_tasks=n_tasks,
            scenario=scenario,
            input_shape=(),
            forward=self._outputs,
            squared_gradients=self._mean_gradient_size(log_likelihood_of(target), torch.square),
            output_sensitivity=lambda theta, x, mask: sensitivity(theta, x, torch.zeros_like(mask[:, 0]), mask),
            outputs=outputs,
            classes=np.empty(0, np.int64),
            output_tasks=output_tasks,
        )

    def _lifted(self, input_shape: tuple[int, ...]) -> Lifted:
        """Made for each use, so that it is about the model as it is now."""
        reason = unliftable_reason(self.model, input_shape)
        return Lifted(self.model, reason is None, self.layout.head)

    def _outputs(self, theta: Tensor, x: Tensor) -> Tensor:
        outputs = Lifted(self.model, False, self.layout.head).one(self.layout.unflatten(theta), x)
        if outputs.shape != (len(x), self.n_outputs):
            raise InputError(
                f"{self.where}: the model must give the outputs of its last nn.Linear, ({len(x)}, {self.n_outputs}), "
                f"but gives {tuple(outputs.shape)}. Make its output layer the attribute `head`."
            )
        return outputs

    def _mean_gradient_size(
        self, objective: Objective, size: Callable[[Tensor], Tensor]
    ) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
        def run(theta: Tensor, x: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
            shape = tuple(x.shape[1:])
            return mean_gradient_size(self._lifted(shape), self.layout, shape, objective, size)(theta, x, labels, mask)

        return run


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Where `model` is in evaluation mode and nothing is noted for autograd; each of its parts is in its own mode again
    afterwards."""
    modes = {part: part.training for part in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, training in modes.items():
            part.training = training


def without_stream(masks: Tensor) -> Outputs:
    """The outputs of a loop of one's own, in which no example has a number: the `masks` (T + 1, T, n_outputs) bool."""
    empty = torch.empty(0, dtype=torch.int64, device=masks.device)
    return Outputs(masks.shape[-1], empty, empty, masks)


def _output_layer(model: nn.Module, where: str) -> nn.Linear:
    linear = {name: part for name, part in model.named_modules() if name and isinstance(part, nn.Linear)}
    if not linear:
        raise InputError(
            f"{where}: the output layer must be an nn.Linear inside the model, but {type(model).__name__} has none. "
            "Make it the attribute `head`."
        )
    return linear.get("head", list(linear.values())[-1])
