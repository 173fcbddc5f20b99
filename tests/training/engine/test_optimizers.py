"""The update rules do what torch.optim does, run by run."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from cfsweep.config import Scenario
from cfsweep.testing.packs import finish, make_pack, small_stream
from cfsweep.training.engine import optimizers
from cfsweep.training.engine.optimizers import STATE_NAMES, Rates, update

TWINS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


def rates_of(lr: list[float], momentum: list[float], decay: list[float]) -> Rates:
    columns = (torch.tensor(values).unsqueeze(1) for values in (lr, momentum, decay))
    return Rates(*columns, decays=any(decay))


@pytest.fixture(params=["row by row", "all rows at once"], autouse=True)
def _both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "all rows at once":  # as on a GPU
        monkeypatch.setattr(optimizers, "_row_by_row", optimizers._all_rows_at_once)


@pytest.mark.parametrize("decays", [True, False])
@pytest.mark.parametrize("name", sorted(TWINS))
def test_many_steps_agree_with_torch(name: str, decays: bool) -> None:
    torch.manual_seed(1)
    lr, momentum = [0.1, 0.01, 0.001, 0.03], [0.0, 0.9, 0.5, 0.99]
    decay = [0.0, 0.1, 0.01, 0.3] if decays else [0.0] * 4
    theta = torch.randn(4, 50)
    twins = [row.clone().requires_grad_() for row in theta]
    theirs = []
    for k, twin in enumerate(twins):
        extra = {"momentum": momentum[k]} if name == "sgd" else {}
        theirs.append(TWINS[name]([twin], lr=lr[k], weight_decay=decay[k], **extra))
    state = {key: torch.zeros_like(theta) for key in STATE_NAMES[name]}
    for step in range(1, 101):
        gradient = torch.randn(4, 50) * (10.0 ** torch.randint(-6, 2, (4, 50)))
        for twin, optimizer, row in zip(twins, theirs, gradient, strict=True):
            twin.grad = row.clone()
            optimizer.step()
        update(name, theta, gradient.clone(), state, rates_of(lr, momentum, decay), step, [])
    torch.testing.assert_close(theta, torch.stack([t.detach() for t in twins]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", sorted(TWINS))
def test_a_held_weight_does_not_move_by_a_bit_and_the_others_move_as_ever(name: str) -> None:
    torch.manual_seed(2)
    start = torch.randn(3, 40)
    factor = (torch.rand(3, 25) > 0.5).float()
    rates = rates_of([0.1] * 3, [0.9] * 3, [0.1] * 3)

    def walk(keep: list[tuple[slice, Tensor]]) -> Tensor:
        theta, state = start.clone(), {key: torch.zeros_like(start) for key in STATE_NAMES[name]}
        torch.manual_seed(3)
        for step in range(1, 30):
            update(name, theta, torch.randn(3, 40), state, rates, step, keep)
        return theta

    free, held = walk([]), walk([(slice(5, 30), factor)])
    moves = torch.ones(3, 40)
    moves[:, 5:30] = factor
    assert torch.equal(held, torch.where(moves == 1, free, start))


@pytest.mark.parametrize("scenario", ["task-il", "class-il"])
@pytest.mark.parametrize("name", sorted(TWINS))
def test_inactive_outputs_get_no_update_of_any_kind(name: str, scenario: Scenario) -> None:
    pack = make_pack(small_stream(), scenario=scenario, optimizer=name, weight_decay=0.1)
    before = pack.context.layout.unflatten(pack.stack.theta.clone())
    for task in range(3):
        pack.train_next_task()
        after = pack.context.layout.unflatten(pack.stack.theta.clone())
        mine = range(2 * task, 2 * task + 2) if scenario == "task-il" else range(2 * task + 2)
        for output, part in itertools.product(range(6), ("head.weight", "head.bias")):
            stays = torch.equal(before[part][0, output], after[part][0, output])
            assert stays == (output not in mine), (task, output, part)
        before = after


def test_in_domain_il_every_output_moves() -> None:
    pack = make_pack(small_stream(), scenario="domain-il")
    before = pack.context.layout.unflatten(pack.stack.theta.clone())["head.bias"]
    assert before.shape == (1, 2)
    assert (pack.context.layout.unflatten(finish(pack).stack.theta)["head.bias"] != before).all()
