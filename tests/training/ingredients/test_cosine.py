"""The cosine against torch's CosineAnnealingLR, alone and with the warm-up."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch

from cfsweep.errors import InputError
from cfsweep.testing import PlainLoop, make_pack, small_stream, values_of
from cfsweep.testing.packs import weights
from cfsweep.testing.plain import OPTIMIZERS
from cfsweep.training.ingredients.cosine import Cosine
from cfsweep.training.spec import RunSpec
from tests.training.ingredients.test_warmup import by_torch as warmup_by_torch

NAMES = ("cosine",)


@cache
def scheduled() -> Cosine:
    (ingredient,) = make_pack(small_stream(), NAMES).context.ingredients
    assert isinstance(ingredient, Cosine)
    return ingredient


def factors(floor: float, n_steps: int) -> list[float]:
    ingredient = scheduled()
    values = {"cosine_floor": torch.tensor(floor)}
    return [float(ingredient.rate(values, step, n_steps)) for step in range(1, n_steps + 1)]


def by_torch(floor: float, n_steps: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_steps, floor)
    rates = []
    for _ in range(n_steps):
        rates.append(float(scheduler.get_last_lr()[0]))
        optimizer.step()
        scheduler.step()
    return rates


def test_by_hand() -> None:
    """Of six steps the third has T_cur/T_i = 1/3 and cos(π/3) = 1/2, the fourth cos(π/2) = 0: with a floor of 0.2
    0.2 + 0.4·1.5 = 0.8 and 0.2 + 0.4 = 0.6; the first has 1."""
    assert factors(0.2, 6)[:4] == pytest.approx([1.0, 0.2 + 0.4 * (1 + 3**0.5 / 2), 0.8, 0.6])
    assert factors(0.0, 2) == pytest.approx([1.0, 0.5])
    assert factors(1.0, 7) == [1.0] * 7


def test_it_is_cosine_annealing_lr() -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        n_steps, floor = int(rng.integers(1, 60)), float(rng.random())
        np.testing.assert_allclose(factors(floor, n_steps), by_torch(floor, n_steps), rtol=1e-5)


@pytest.mark.parametrize("names", [("cosine",), ("cosine", "warmup"), ("warmup", "cosine")], ids="+".join)
@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_whole_runs_agree_with_torch_restarting_with_each_task(optimizer: str, names: tuple[str, ...]) -> None:
    stream = small_stream()
    warm = {"warmup_frac": 0.2} if "warmup" in names else {}
    run = RunSpec(0, len(names), values_of(names, optimizer=optimizer, cosine_floor=0.1, **warm))
    pack, plain = make_pack(stream, names, (run,)), PlainLoop(stream, run)
    rates = 0.01 * np.array(by_torch(0.1, 15)) * (np.array(warmup_by_torch(3, 15)) if warm else 1.0)
    for task in range(3):
        pack.train_next_task()
        twin = plain.optimizer()
        scheduler = torch.optim.lr_scheduler.LambdaLR(twin, lambda s, r=rates: r[min(s, 14)] / 0.01)
        for _ in plain.steps(task, twin):
            scheduler.step()
        torch.testing.assert_close(weights(pack)[0], plain.theta(), rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_a_floor_outside_0_to_1_is_refused(value: float) -> None:
    with pytest.raises(InputError, match=r"0 <= cosine_floor <= 1.*1 is off") as caught:
        Cosine.hypers[0].check(value, "space.yaml")
    assert "\n" not in str(caught.value)
