"""Nearest class mean by hand, by its definition, and as a whole run against a plain loop."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cfsweep.config import SCENARIOS, Scenario
from cfsweep.testing import small_stream, twins_agree, values_of
from cfsweep.training.engine.randomness import generator
from cfsweep.training.ingredients._closed_form import UNSEEN
from cfsweep.training.spec import RunSpec
from tests.training.ingredients.closed_forms import Array, PlainClosedForm, examples, ingredient, tensors

RNG = generator(0, "projection")


def test_by_hand() -> None:
    """Class 0 has the mean (2, 0), class 2 (0, 4), of two tasks: at (1, 1) the outputs are 2 - 2 and 4 - 8."""
    ncm, state = ingredient("ncm")
    x = torch.zeros(5, 36)
    x[:, :2] = torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 3.0], [0.0, 6.0], [0.0, 3.0]])
    state = ncm.accumulate(state, x[:3], torch.tensor([0, 0, 2]), RNG)
    state = ncm.accumulate(state, x[3:], torch.tensor([2, 2]), RNG)
    at = torch.zeros(1, 36)
    at[0, :2] = 1.0
    outputs = ncm.outputs_for(at, ncm.solve(state, {"ncm_answers": 1.0}))
    assert outputs.tolist() == [[0.0, UNSEEN, -4.0, UNSEEN, UNSEEN, UNSEEN]]


@pytest.mark.parametrize("seed", range(4))
def test_it_is_the_nearest_of_the_means_of_all_examples(seed: int) -> None:
    (x, y), ncm_and_state = examples(seed), ingredient("ncm")
    ncm, state = ncm_and_state
    for part in np.array_split(np.arange(len(x)), 3):
        state = ncm.accumulate(state, *tensors(x[part], y[part]), RNG)
    at, _ = examples(seed + 100, n=40)
    outputs = ncm.outputs_for(torch.from_numpy(at).float(), ncm.solve(state, {})).double().numpy()
    for row, one in zip(outputs, at, strict=True):
        apart = {label: np.linalg.norm(one - np.mean([x[i] for i in range(len(x)) if y[i] == label], 0)) for label in y}
        nearest = min(apart, key=lambda label: apart[label])
        assert row.argmax() == nearest
        for label, distance in apart.items():  # they differ from -½ distance² by what all classes share
            shared = -0.5 * (distance**2 - apart[nearest] ** 2)
            assert row[label] - row[nearest] == pytest.approx(shared, abs=1e-4)


class PlainNcm(PlainClosedForm):
    def start(self) -> None:
        self.seen: dict[int, list[Array]] = {}

    def learn(self, x: Array, y: NDArray[np.int64]) -> None:
        for one, label in zip(x, y.tolist(), strict=True):
            self.seen.setdefault(label, []).append(one)

    def say(self, x: Array) -> dict[int, float]:
        return {label: -float(np.linalg.norm(x - np.mean(of, axis=0))) for label, of in self.seen.items()}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_whole_run_is_that_of_a_plain_loop(scenario: Scenario) -> None:
    stream = small_stream(seed=2)
    pack, _ = twins_agree(("ncm",), PlainNcm, stream, RunSpec(0, 3, values_of(("ncm",))), scenario)
    n_outputs = pack.context.outputs.n_outputs
    assert pack.records[0].stored_bytes == 8 * n_outputs * (9 + 1)
    assert pack.records[0].steps == 3 * 5, "of the first task alone"
