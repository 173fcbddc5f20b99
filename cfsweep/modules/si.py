"""Synaptic intelligence for a training loop of one's own."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cfsweep.bundle.continued import Opened
from cfsweep.errors import InputError
from cfsweep.modules._penalty import QuadraticPenalty, no_examples
from cfsweep.training.ingredients.si import SI


class SIPenalty(QuadraticPenalty):
    """strength·Σ Ω (θ - θ*)², Ω how much each weight lowered the loss: the ingredient `si` for one `model`.

    It has to see each step, from the first task on, and the gradient of the loss without the penalty:

        loss.backward()
        si.before_step()
        si.penalty().backward()
        optimizer.step()
        si.after_step()

    Gradients that are clipped or scaled are to be so after `before_step`. It is made before the first step: the path
    begins at the weights of then. `strength` is the paper's c, `damping` its ξ, `cut` where Ω is cut off.

    Raises:
        InputError: a value is not legal, or the model has no output layer, or nothing to train.

    References:
        Zenke, Poole & Ganguli 2017, eq. 3, 4 and 5; see the ingredient.
    """

    kind = SI

    def __init__(self, model: nn.Module, strength: float = 1.0, damping: float = 1e-3, cut: str = "zero") -> None:
        super().__init__(
            model, {"strength": ("si_c", strength), "damping": ("si_damping", damping), "cut": ("si_cut", cut)}
        )
        self._noted: tuple[Tensor, Tensor] | None = None

    @property
    def _si(self) -> SI:
        assert isinstance(self.ingredient, SI)
        return self.ingredient

    def before_step(self) -> None:
        """Notes the gradient that the parameters hold, that of the loss alone, and the weights.

        Raises:
            InputError: no parameter has a gradient.
        """
        self._noted = self.one.gradient(), self.one.theta().detach()

    def after_step(self) -> None:
        """Adds the step that the optimizer has taken to the path.

        Raises:
            InputError: `before_step` was not called before it.
        """
        if self._noted is None:
            raise InputError(
                f"{self.where}: each step must be noted before it is taken, but `after_step` came without "
                "`before_step`. Call `before_step` after `loss.backward()`."
            )
        with torch.no_grad():
            theta = self.one.theta().detach()
            self._follow()
            self.state |= self._si.observe_step(*self._noted, theta, self.state, self._numbers())
        self._noted = None

    def consolidate(self) -> None:
        """Takes in a task that has ended: its path becomes importance, its weights what is held on to. (A sweep's run
        does the former when the next task begins: there the damping may still differ.)"""
        self._end_task(no_examples(self.one.theta()))
        self._begin_task()

    def take_kept(self, start: Opened) -> None:
        super().take_kept(start)
        self._begin_task()
        self._noted = None

    def _begin_task(self) -> None:
        """Makes the path of the task that has ended importance."""
        with torch.no_grad():
            theta = self.one.theta().detach()
            self._follow()
            _, self.state = self._si.start_task(theta, self.state, self._numbers(), self.tasks_ended)
