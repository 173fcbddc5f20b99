"""L2-SP by hand, and against a plain loop."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import Tensor

from cfsweep.config import Scenario
from cfsweep.errors import InputError
from cfsweep.hypers import Value
from cfsweep.testing import PlainLoop
from cfsweep.testing.packs import finish, make_pack, small_stream, weights
from cfsweep.training.ingredients import Ingredient
from cfsweep.training.ingredients.l2_sp import L2SP
from cfsweep.training.streams import Task
from tests.training.helpers import assert_agrees, random_examples


@cache
def l2_sp() -> Ingredient:
    return make_pack(small_stream(), ("l2-sp",)).context.ingredients[0]


def test_gradient_by_hand() -> None:
    """θ* = (1, 2), λ = 4, θ = (0, 5): ½·4·((θ₁-1)² + (θ₂-2)²) has the gradient (4·(0-1), 4·(5-2)) = (-4, 12)."""
    values = {"l2_sp_lambda": torch.tensor(4.0)}
    state = l2_sp().consolidate(torch.tensor([1.0, 2.0]), {"anchor": torch.zeros(2)}, values, 0, random_examples(1))
    assert l2_sp().gradient(torch.tensor([0.0, 5.0]), state, values).tolist() == [-4.0, 12.0]


@pytest.mark.parametrize("seed", range(3))
def test_gradient_is_that_of_the_penalty(seed: int) -> None:
    torch.manual_seed(seed)
    anchor, strength = torch.randn(50), torch.rand(())
    theta = torch.randn(50, requires_grad=True)
    (expected,) = torch.autograd.grad(0.5 * strength * (theta - anchor).square().sum(), theta)
    found = l2_sp().gradient(theta.detach(), {"anchor": anchor}, {"l2_sp_lambda": strength})
    torch.testing.assert_close(found, expected)


class PlainL2SP(PlainLoop):
    def penalty(self) -> Tensor:
        return 0.5 * float(self.values["l2_sp_lambda"]) * self.quadratic(self.ones, self.centre)

    def end_task(self, number: int, task: Task) -> None:
        self.ones = {name: torch.ones_like(p) for name, p in self.weights().items()}
        self.centre = self.weights()


@pytest.mark.parametrize(
    ("scenario", "seed", "given"),
    [
        ("task-il", 0, {"optimizer": "sgd", "lr": 0.02, "l2_sp_lambda": 2.0}),
        ("class-il", 1, {"optimizer": "sgd", "lr": 0.02, "l2_sp_lambda": 0.3}),
        ("domain-il", 2, {"optimizer": "adam", "lr": 3e-3, "l2_sp_lambda": 0.1}),
    ],
)
def test_a_whole_run_is_that_of_a_plain_loop(scenario: Scenario, seed: int, given: dict[str, Value]) -> None:
    assert_agrees(PlainL2SP, "l2-sp", scenario, seed, **given)


def test_the_first_task_is_free_and_a_strong_penalty_holds_the_later_ones() -> None:
    """With plain gradient descent each step goes down λ·lr of the way back to the anchor."""
    given: dict[str, Value] = {"optimizer": "sgd", "momentum": 0.0, "lr": 0.01}
    naive = make_pack(small_stream(), **given)
    held = make_pack(small_stream(), ("l2-sp",), l2_sp_lambda=90.0, **given)
    naive.train_next_task()
    held.train_next_task()
    assert torch.equal(weights(naive), weights(held))
    start = weights(held)
    moved, free = ((weights(finish(pack)) - start).norm() for pack in (held, naive))
    assert 0 < moved < 0.2 * free


def test_what_it_keeps_and_says() -> None:
    pack = finish(make_pack(small_stream(), ("l2-sp",)))
    assert pack.records[0].stored_bytes == 4 * pack.context.layout.size
    assert pack.report().penalty_convention == "0.5 * lambda * sum (theta - theta*)^2, latest weights"


@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf"), "strong", True])
def test_a_bad_strength_is_refused(value: object) -> None:
    (hyper,) = L2SP.hypers
    with pytest.raises(InputError, match=r"^here: `0 <= l2_sp_lambda` must hold, but got l2_sp_lambda="):
        hyper.check(value, "here")
    assert hyper.check(0, "here") == 0.0
