"""Streaming LDA: its updates one example at a time, by hand, its limits, and a whole run against a plain loop."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cfsweep.config import SCENARIOS, Scenario
from cfsweep.errors import InputError
from cfsweep.testing import small_stream, twins_agree, values_of
from cfsweep.training.engine.randomness import generator
from cfsweep.training.ingredients import registry
from cfsweep.training.spec import RunSpec
from tests.training.ingredients.closed_forms import Array, PlainClosedForm, examples, ingredient, tensors


class OneByOne:
    """Section 3 of Hayes & Kanan 2020, word for word: a mean and a count for each class, Σ and t."""

    def __init__(self, d: int) -> None:
        self.mean: dict[int, Array] = {}
        self.count: dict[int, int] = {}
        self.sigma, self.t = np.zeros((d, d)), 0

    def update(self, z: Array, y: int) -> None:
        if y in self.mean:
            delta = self.t / (self.t + 1) * np.outer(z - self.mean[y], z - self.mean[y])
        else:
            delta = np.zeros_like(self.sigma)
        self.sigma = (self.t * self.sigma + delta) / (self.t + 1)
        c = self.count.get(y, 0)
        self.mean[y] = (c * self.mean.get(y, 0 * z) + z) / (c + 1)
        self.count[y] = c + 1
        self.t += 1

    def outputs(self, z: Array, epsilon: float) -> dict[int, float]:
        precision = np.linalg.inv((1 - epsilon) * self.sigma + epsilon * np.eye(len(z)))
        return {y: float(z @ precision @ mu - 0.5 * mu @ precision @ mu) for y, mu in self.mean.items()}


def in_order(x: Array, y: NDArray[np.int64], seed: int) -> zip[tuple[Array, int]]:
    order = generator(seed, "projection").permutation(len(y))
    return zip(x[order], y[order].tolist(), strict=True)


def test_by_hand() -> None:
    """One dimension of features, all else 0; one class: 1, 5 and 3. Σ is 0; then (½·4²)/2 = 4; then the third is at its
    mean: (2·4 + 0)/3 = 8/3. In whatever order they come, by these lines."""
    slda, state = ingredient("slda")
    x = torch.zeros(3, 36)
    x[:, 0] = torch.tensor([1.0, 5.0, 3.0])
    order = generator(0, "projection").permutation(3)
    come = x[torch.from_numpy(np.argsort(order))]  # so that they come as written
    state = slda.accumulate(state, come, torch.zeros(3, dtype=torch.int64), generator(0, "projection"))
    assert float(state["scatter"][0, 0]) == pytest.approx(8.0)
    held = slda.solve(state, {"slda_shrinkage": 0.5})
    weight = 3 / (0.5 * 8 / 3 + 0.5)
    assert float(held["weights"][0, 0]) == pytest.approx(weight)
    assert float(held["bias"][0]) == pytest.approx(-0.5 * 3 * weight)


@pytest.mark.parametrize("seed", range(5))
def test_it_is_what_one_example_after_the_other_comes_to(seed: int) -> None:
    slda, state = ingredient("slda")
    slow = OneByOne(36)
    for task, labels in enumerate([(0, 1), (1, 2, 3), (4,)]):
        x, y = examples(10 * seed + task, n=25, labels=labels)
        state = slda.accumulate(state, *tensors(x, y), generator(seed, "projection"))
        for z, label in in_order(x, y, seed):
            slow.update(z, label)
    np.testing.assert_allclose(state["scatter"].numpy() / slow.t, slow.sigma, rtol=1e-9, atol=1e-9)
    at, _ = examples(seed + 100, n=20)
    for epsilon in (1e-2, 0.3, 1.0):
        found = slda.outputs_for(torch.from_numpy(at).float(), slda.solve(state, {"slda_shrinkage": epsilon}))
        for row, z in zip(found.double().numpy(), at, strict=True):
            for label, output in slow.outputs(z, epsilon).items():
                assert row[label] == pytest.approx(output, rel=1e-3, abs=1e-2)


def test_with_many_examples_it_is_the_covariance_about_the_final_means() -> None:
    x, y = examples(0, n=4000)
    slda, state = ingredient("slda")
    state = slda.accumulate(state, *tensors(x, y), generator(0, "projection"))
    about = np.concatenate([x[y == label] - x[y == label].mean(0) for label in range(3)])
    np.testing.assert_allclose(state["scatter"].numpy() / 4000, about.T @ about / 4000, rtol=0.02, atol=0.02)


def test_wholly_shrunk_it_is_the_nearest_class_mean() -> None:
    (x, y), (slda, one), (ncm, two) = examples(1), ingredient("slda"), ingredient("ncm")
    rng = generator(0, "projection")
    held = slda.solve(slda.accumulate(one, *tensors(x, y), rng), {"slda_shrinkage": 1.0})
    means = ncm.solve(ncm.accumulate(two, *tensors(x, y), rng), {})
    torch.testing.assert_close(held, means)


class PlainSlda(PlainClosedForm):
    def start(self) -> None:
        self.slow = OneByOne(9)

    def learn(self, x: Array, y: NDArray[np.int64]) -> None:
        for z, label in in_order(x, y, self.run.seed):
            self.slow.update(z, label)

    def say(self, x: Array) -> dict[int, float]:
        return self.slow.outputs(x, float(self.values["slda_shrinkage"]))


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("seed", [0, 4])
def test_a_whole_run_is_that_of_a_plain_loop(scenario: Scenario, seed: int) -> None:
    run = RunSpec(0, seed, values_of(("slda",), slda_shrinkage=0.05))
    pack, _ = twins_agree(("slda",), PlainSlda, small_stream(seed=seed), run, scenario)
    assert pack.records[0].stored_bytes == 8 * (pack.context.outputs.n_outputs * (9 + 1) + 9 * 9)


@pytest.mark.parametrize("value", [-0.1, 1.5])
def test_values_outside_the_rules_are_refused(value: float) -> None:
    hyper, _ = registry["slda"].hypers
    with pytest.raises(InputError, match=r"`0 <= slda_shrinkage <= 1` must hold, but got slda_shrinkage="):
        hyper.check(value, "space.yaml")
