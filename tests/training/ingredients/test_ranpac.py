"""RanPAC: by hand, against ridge regression on all examples at once, its choice of λ, and a whole run."""

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
from cfsweep.training.ingredients._closed_form import UNSEEN
from cfsweep.training.ingredients.ranpac import RIDGES, chosen_ridge, held_out_errors
from cfsweep.training.spec import RunSpec
from tests.training.ingredients.closed_forms import Array, PlainClosedForm, examples, ingredient, tensors

GIVEN = {"ranpac_ridge_by": "given", "ranpac_projection": 30}


def drawn(seed: int, d: int, m: int, n: int) -> tuple[Array, NDArray[np.int64]]:
    """The run's projection, and the order in which the n examples of a task come."""
    rng = generator(seed, "projection")
    return rng.standard_normal((d, m), np.float32).astype(np.float64), rng.permutation(n)


def ridge(h: Array, y: Array, strength: float) -> Array:
    """(M, C): the minimum of |h w - y|² + λ|w|², as least squares with √λ I beneath h."""
    rows = np.concatenate([h, np.sqrt(strength) * np.eye(h.shape[1])])
    right = np.concatenate([y, np.zeros((h.shape[1], y.shape[1]))])
    found: Array = np.linalg.lstsq(rows, right, rcond=None)[0]
    return found


def test_by_hand() -> None:
    """One random feature, whose projection is w > 0 or < 0: of x = 1/|w| it makes 1 for the sign of w, else 0. Two
    examples of class 0 with h = 1 and 1, one of class 1 with h = 2: G = 6, C = (2, 2), λ = 2: weights 1/4 and 1/4."""
    ranpac, state = ingredient("ranpac", **{**GIVEN, "ranpac_projection": 1})
    projection, _ = drawn(0, 36, 1, 3)
    x = torch.zeros(3, 36)
    x[:, 0] = torch.tensor([1.0, 1.0, 2.0]) / float(projection[0, 0])
    state = ranpac.accumulate(state, x, torch.tensor([0, 0, 1]), generator(0, "projection"))
    assert float(state["gram"]) == pytest.approx(6.0)
    held = ranpac.solve(state, {"ranpac_ridge": 2.0})
    assert held["weights"][:3, 0].tolist() == pytest.approx([0.25, 0.25, 0.0])
    outputs = ranpac.outputs_for(torch.stack([2 * x[0], -x[0]]), held)
    assert outputs[:, :2].flatten().tolist() == pytest.approx([0.5, 0.5, 0.0, 0.0])
    assert outputs[0, 2:].tolist() == [UNSEEN] * 4


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("strength", [1e-3, 1.0, 1e4])
def test_sums_over_tasks_are_ridge_regression_on_all_examples(seed: int, strength: float) -> None:
    ranpac, state = ingredient("ranpac", **GIVEN)
    projection, _ = drawn(seed, 36, 30, 0)
    hs, ys = [], []
    for task, labels in enumerate([(0, 1), (1, 2, 3)]):
        x, y = examples(10 * seed + task, n=40, labels=labels)
        state = ranpac.accumulate(state, *tensors(x, y), generator(seed, "projection"))
        hs.append(np.maximum(x @ projection, 0.0))
        ys.append(np.eye(6)[y])
    expected = ridge(np.concatenate(hs), np.concatenate(ys), strength)
    held = ranpac.solve(state, {"ranpac_ridge": strength})
    np.testing.assert_allclose(held["weights"].numpy(), expected.T, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("n", [50, 20])
def test_the_ridge_is_that_of_the_smallest_error_at_held_out_examples(seed: int, n: int) -> None:
    """With more examples than features, and with fewer."""
    x, y = examples(seed, n=n)
    fit = int(0.8 * n)
    h, labels = np.maximum(x @ np.random.default_rng(seed).normal(size=(36, 30)), 0.0), np.eye(6)[y]
    errors = []
    for strength in RIDGES:
        w = ridge(h[:fit], labels[:fit], strength)
        errors.append(sum(float(np.sum((w.T @ h[i] - labels[i]) ** 2)) for i in range(fit, n)))
    given = torch.from_numpy(h), torch.from_numpy(labels)
    np.testing.assert_allclose(held_out_errors(*given)[4:], errors[4:], rtol=1e-4)  # below it rounding has a say
    found = chosen_ridge(*given)
    assert errors[RIDGES.index(found)] <= min(errors) * (1 + 1e-4)


def test_each_task_chooses_by_its_own_examples_alone() -> None:
    ranpac, state = ingredient("ranpac", ranpac_projection=30)
    for task in range(2):
        x, y = examples(task, n=50, labels=(2 * task, 2 * task + 1))
        state = ranpac.accumulate(state, *tensors(x, y), generator(0, "projection"))
        projection, order = drawn(0, 36, 30, 50)
        h = np.maximum(x.astype(np.float32) @ projection.astype(np.float32), 0.0).astype(np.float64)
        assert float(state["ridge"]) == chosen_ridge(torch.from_numpy(h[order]), torch.from_numpy(np.eye(6)[y[order]]))


class PlainRanPAC(PlainClosedForm):
    """All examples so far, projected, and least squares on them."""

    def start(self) -> None:
        self.h, self.y = np.empty((0, 30)), np.empty((0, self.outputs.n_outputs))

    def learn(self, x: Array, y: NDArray[np.int64]) -> None:
        self.projection, _ = drawn(self.run.seed, 9, 30, 0)
        self.h = np.concatenate([self.h, np.maximum(x @ self.projection, 0.0)])
        self.y = np.concatenate([self.y, np.eye(self.outputs.n_outputs)[y]])
        self.w = ridge(self.h, self.y, float(self.values["ranpac_ridge"]))

    def say(self, x: Array) -> dict[int, float]:
        outputs = np.maximum(x @ self.projection, 0.0) @ self.w
        return {label: float(outputs[label]) for label in np.flatnonzero(self.y.any(0)).tolist()}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_whole_run_is_that_of_a_plain_loop(scenario: Scenario) -> None:
    run = RunSpec(0, 2, values_of(("ranpac",), ranpac_ridge_by="given", ranpac_ridge=3.0))
    pack, _ = twins_agree(("ranpac",), PlainRanPAC, small_stream(seed=1), run, scenario)
    n = pack.context.outputs.n_outputs
    assert pack.records[0].stored_bytes == 4 * 9 * 30 + 8 * (30 * 30 + n * (30 + 1) + 1)


@pytest.mark.parametrize(("name", "value"), [("ranpac_ridge", -1.0), ("ranpac_projection", 0)])
def test_values_outside_the_rules_are_refused(name: str, value: float) -> None:
    hyper = next(hyper for hyper in registry["ranpac"].hypers if hyper.name == name)
    with pytest.raises(InputError, match=rf"<= {name}.*` must hold, but got {name}="):
        hyper.check(value, "space.yaml")
