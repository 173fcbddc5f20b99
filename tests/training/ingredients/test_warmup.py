"""The warm-up against torch's LinearLR."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch

from cfsweep.errors import InputError
from cfsweep.testing import PlainLoop, make_pack, small_stream, values_of
from cfsweep.testing.packs import weights
from cfsweep.testing.plain import OPTIMIZERS
from cfsweep.training.ingredients.warmup import Warmup
from cfsweep.training.spec import RunSpec

NAMES = ("warmup",)


@cache
def scheduled() -> Warmup:
    (ingredient,) = make_pack(small_stream(), NAMES).context.ingredients
    assert isinstance(ingredient, Warmup)
    return ingredient


def factors(frac: float, n_steps: int) -> list[float]:
    ingredient = scheduled()
    values = {"warmup_frac": torch.tensor(frac)}
    return [float(ingredient.rate(values, step, n_steps)) for step in range(1, n_steps + 1)]


def by_torch(n: int, n_steps: int, lr: float = 1.0) -> list[float]:
    """The rates of LinearLR over `n` steps, from lr/n on."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 1 / max(n, 1), 1.0, max(n - 1, 0))
    rates = []
    for _ in range(n_steps):
        rates.append(float(scheduler.get_last_lr()[0]))
        optimizer.step()
        scheduler.step()
    return rates


def test_by_hand() -> None:
    """A share of 0.4 of 10 steps is 4 steps: 1/4, 2/4, 3/4, 4/4, and the full rate from then on."""
    assert factors(0.4, 10) == [0.25, 0.5, 0.75] + [1.0] * 7
    assert factors(0.0, 3) == [1.0] * 3
    assert factors(0.1, 3) == [1.0] * 3, "less than half a step is none"
    assert factors(0.1, 30) == pytest.approx([1 / 3, 2 / 3] + [1.0] * 28), "0.1 · 30 is 3, whatever the rounding"


def test_it_is_linear_lr() -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        n_steps = int(rng.integers(1, 60))
        n = int(rng.integers(0, n_steps))
        np.testing.assert_allclose(factors(n / n_steps, n_steps), by_torch(n, n_steps), rtol=1e-5)


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_whole_runs_agree_with_torch(optimizer: str) -> None:
    stream = small_stream()
    for seed in range(2):
        run = RunSpec(0, seed, values_of(NAMES, optimizer=optimizer, warmup_frac=0.4))
        pack, plain = make_pack(stream, NAMES, (run,)), PlainLoop(stream, run)
        for task in range(3):
            pack.train_next_task()
            twin = plain.optimizer()
            scheduler = torch.optim.lr_scheduler.LinearLR(twin, 1 / 6, 1.0, 5)  # 0.4 of 15 steps
            for _ in plain.steps(task, twin):
                scheduler.step()
            torch.testing.assert_close(weights(pack)[0], plain.theta(), rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize("value", [-0.1, 1, float("inf")])
def test_a_share_outside_0_to_1_is_refused(value: float) -> None:
    with pytest.raises(InputError, match=r"0 <= warmup_frac < 1.*0 is off") as caught:
        Warmup.hypers[0].check(value, "space.yaml")
    assert "\n" not in str(caught.value)
