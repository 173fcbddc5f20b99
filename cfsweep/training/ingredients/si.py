"""Synaptic intelligence: a weight matters as much as it lowered the loss on its way through the old tasks."""

from __future__ import annotations

import torch
from torch import Tensor

from cfsweep.hypers import Hyper
from cfsweep.training.ingredients._arguments import Examples
from cfsweep.training.ingredients._base import Context, Conventions, Settings, State, Values
from cfsweep.training.ingredients._pieces import Penalty, StepObserver, TaskStart
from cfsweep.training.ingredients._quadratic import quadratic_gradient


class SI(Penalty, StepObserver, TaskStart):
    """Penalty c·Σ_j Ω_j (θ_j - θ*_j)², with θ* the weights after the latest task.

    ω_j = -Σ_steps g_j Δθ_j is a task's path integral: how much of the fall of the losses weight j brought about. g is
    the gradient of the losses alone, without penalties and weight decay; Δθ is all that the step did, penalties
    included. After each task Ω_j ← max(0, Ω_j + ω_j / (Δ_j² + ξ)), with Δ_j the way from the anchor before to the one
    after it. Ω waits for the next task to begin, as nothing earlier depends on ξ.

    The maximum is not in eq. 5, but in the authors' own code: where ω is negative, Ω could be too, and the penalty
    would drive the weight away without bound. `si_cut: none` leaves it out: that is eq. 5 to the letter, and what
    FACIL and the code beside van de Ven & Tolias 2019 do. Other libraries differ more: Avalanche takes λ/2 and cuts Ω
    off at 0.001, and Mammoth replaces ω by lr·Σg², with the penalty's gradient in g. Their c are not those here.

    Whether the cut has a say depends on what moves a weight beside g. Plain gradient descent with momentum μ from rest
    has ω = lr·Σ_t g_t Σ_{s<=t} μ^(t-s) g_s, which is never negative, as the kernel μ^|t-s| is positive definite; and a
    penalty that pulls back to where the task began hardly changes that. Weight decay does.

    References:
        Zenke, Poole & Ganguli 2017, eq. 3 (ω), eq. 4 (the penalty, with c as there and no ½), eq. 5 (Ω).
    """

    name = "si"
    summary = "quadratic penalty toward old weights, weighted by how much each lowered the loss along its path"
    paper = "Zenke, Poole & Ganguli 2017, ICML, arXiv 1703.04200"
    hypers = (
        Hyper("si_c", "float", 1.0, "strength of the penalty", low=0.0, off=0.0, takes_effect="later"),
        Hyper(
            "si_damping",
            "float",
            1e-3,
            "bounds the importance of weights that hardly moved (the paper's xi)",
            low=0.0,
            low_open=True,
            takes_effect="later",
        ),
        Hyper(
            "si_cut",
            "choice",
            "zero",
            "below what an importance is cut off: at zero, or not at all, so that it may be negative",
            choices=("zero", "none"),
            static=True,
            takes_effect="later",
        ),
    )

    def __init__(self, context: Context, settings: Settings) -> None:
        super().__init__(context, settings)
        self._cut = settings["si_cut"] == "zero"

    @staticmethod
    def conventions(settings: Settings) -> Conventions:
        cut = "kept >= 0" if settings["si_cut"] == "zero" else "also where negative"
        return Conventions(f"c * sum Omega (theta - theta*)^2, Omega summed over tasks and {cut}, latest weights")

    def initial_state(self, theta: Tensor) -> State:
        zero = torch.zeros_like(theta)
        return {"importance": zero, "anchor": theta.clone(), "path": zero, "moved": zero}

    def kept(self, state: State) -> State:
        return {"importance": state["importance"], "anchor": state["anchor"]}  # what the others leave is in Ω

    def start_task(self, theta: Tensor, state: State, values: Values, task: int) -> tuple[Tensor, State]:
        importance = state["importance"] + state["path"] / (state["moved"].square() + values["si_damping"])
        importance = importance.clamp(min=0.0) if self._cut else importance
        return theta, {**state, "importance": importance, "path": torch.zeros_like(theta)}

    def gradient(self, theta: Tensor, state: State, values: Values) -> Tensor:
        return quadratic_gradient(theta, state["anchor"], state["importance"], 2 * values["si_c"])

    def observe_step(self, gradient: Tensor, before: Tensor, after: Tensor, state: State, values: Values) -> State:
        return {"path": state["path"] - gradient * (after - before)}

    def consolidate(self, theta: Tensor, state: State, values: Values, task: int, examples: Examples) -> State:
        return {**state, "anchor": theta.clone(), "moved": theta - state["anchor"]}
