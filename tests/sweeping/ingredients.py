"""Ingredients of the user's own that do nothing to the weights, but show something."""

from __future__ import annotations

import torch
from torch import Tensor

from cfsweep.hypers import Hyper
from cfsweep.training.ingredients import Conventions, Penalty, Settings, State, Values


class Halting(Penalty):
    """Its code stops at a breakpoint in each step from the second task on."""

    name = "halting"
    summary = "a breakpoint"
    paper = "none"
    hypers = (Hyper("halting_strength", "float", 1.0, "nothing", low=0.0, off=0.0, takes_effect="later"),)

    def gradient(self, theta: Tensor, state: State, values: Values) -> Tensor:
        breakpoint()  # noqa: T100
        return torch.zeros_like(theta)

    def consolidate(self, theta: Tensor, state: State, values: Values, task: int, examples: object) -> State:
        return state


class Broken(Halting):
    """It raises in each step from the second task on."""

    name = "broken"

    def gradient(self, theta: Tensor, state: State, values: Values) -> Tensor:
        raise ValueError("it never works")


class Scaled(Halting):
    """What its strength means depends on the optimizer."""

    name = "scaled"

    @staticmethod
    def conventions(settings: Settings) -> Conventions:
        return Conventions(penalty=f"nothing, with {settings['optimizer']}")


class Fragile(Halting):
    """It raises where `fragile` says so: after the first task, or later than anyone tries it."""

    name = "fragile"
    hypers = (
        Hyper("fragile", "choice", "whole", "whether it raises", choices=("whole", "broken", "tired"), static=True),
    )

    def gradient(self, theta: Tensor, state: State, values: Values) -> Tensor:
        return torch.zeros_like(theta)

    def consolidate(self, theta: Tensor, state: State, values: Values, task: int, examples: object) -> State:
        if {"broken": 0, "tired": 2}.get(str(self.settings["fragile"])) == task:
            raise RuntimeError("it is broken")
        return state
