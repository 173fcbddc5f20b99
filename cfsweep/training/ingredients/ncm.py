"""Nearest class mean: an example is of the class whose mean feature is nearest."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from cfsweep.hypers import Hyper
from cfsweep.training.ingredients._base import Context, Settings, State
from cfsweep.training.ingredients._closed_form import (
    ClassSums,
    adapts_hyper,
    class_sums,
    linear_answers,
    linear_outputs,
    n_features,
)
from cfsweep.training.ingredients._pieces import ClosedForm


class NearestClassMean(ClosedForm):
    """The class c with the smallest |x - μ_c|, where x is what goes into the output layer and μ_c the mean of all
    training examples of c so far, whichever task they came with.

    |x - μ_c|² = |x|² - 2 (μ_c·x - ½|μ_c|²), so the outputs are μ_c·x - ½|μ_c|², linear in x. The distance is Euclid's,
    on features as they are. With an encoder, or the network `linear`, the features are what the
    network sees; else the network is trained on the first task by its output layer, and stays as it is from then on, so
    that means of old classes stay right (`ncm_adapts`).

    References:
        Mensink et al. 2013 (TPAMI 35(11)), eq. 1 and 2; Rebuffi et al. 2017 (arXiv 1611.07725), section 2.1, on class
        means in continual learning.
    """

    name = "ncm"
    summary = "answers by the nearest class mean of features, which stay as they are after the first task"
    paper = "Mensink et al. 2013, TPAMI 35(11)"
    hypers = (
        Hyper("ncm_answers", "int", 1, "1: nearest means answer; 0: the output layer does", low=0, high=1, off=0),
        adapts_hyper("ncm"),
    )
    needs_classes = True

    def __init__(self, context: Context, settings: Settings) -> None:
        super().__init__(context, settings)
        self._n_outputs = context.outputs.n_outputs

    def initial_state(self, theta: Tensor) -> State:
        shape = (self._n_outputs, n_features(self.context, self.name))
        counts = theta.new_zeros(shape[0], 1).double()
        return {"counts": counts, "sums": theta.new_zeros(shape).double()}

    def adapts(self) -> bool:
        return self.settings["ncm_adapts"] == "first-task"

    def accumulate(self, state: State, features: Tensor, labels: Tensor, rng: np.random.Generator) -> State:
        new = class_sums(features, labels, self._n_outputs)
        return {"counts": state["counts"] + new.counts, "sums": state["sums"] + new.sums}

    def solve(self, state: State, values: Mapping[str, float]) -> State:
        means = ClassSums(state["counts"], state["sums"]).means
        return linear_answers(means, -0.5 * means.square().sum(1), state["counts"])

    def outputs_for(self, features: Tensor, held: State) -> Tensor:
        return linear_outputs(features, held)
