"""PackNet's masks: frozen weights do not move by a bit, and what is pruned, owned and answered is as by hand."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from cfsweep.errors import InputError
from cfsweep.modules import Capacity, PackNetMasks
from cfsweep.training.ingredients.packnet import capacity_shares
from tests.modules.models import N_OUT, Tied, TiedHead, batch_norm, frozen, made, moved, plain, some_examples

TASKS = [0, 0, 1, 2]


def test_by_hand() -> None:
    """Of the weights (1, -3, 2, 4, 0.5) round(0.6·5) = 3 are kept: -3, 2 and 4. Then of the two that are free, moved
    to (0.1, -0.2), round(0.6·2) = 1: the -0.2. The output layer's weights belong to the tasks of their outputs."""
    model = nn.Sequential(nn.Linear(5, 1, bias=False), nn.Linear(1, 2))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, -3.0, 2.0, 4.0, 0.5]]))
    masks = PackNetMasks(model, [0, 1], rate=0.4)
    masks.prune()
    assert model[0].weight.tolist() == [[0.0, -3.0, 2.0, 4.0, 0.0]]
    masks.consolidate()
    assert masks.capacity_report() == [Capacity(0, 3, 0.6), Capacity(1, 0, 0.0), Capacity(None, 2, 0.4)]
    with torch.no_grad():
        model[0].weight += torch.tensor([[0.1, 0.0, 0.0, 0.0, -0.2]])
    masks.prune()
    masks.consolidate()
    assert masks.capacity_report() == [Capacity(0, 3, 0.6), Capacity(1, 1, 0.2), Capacity(None, 1, 0.2)]
    whole = torch.tensor([[0.0, -3.0, 2.0, 4.0, -0.2]])
    assert torch.equal(model[0].weight, whole)
    assert masks.state_dict()["owner.1.weight"].tolist() == [[0], [1]]
    with masks.apply_for(0):
        assert model[0].weight.tolist() == [[0.0, -3.0, 2.0, 4.0, 0.0]]
        assert not model[1].weight[1].any()
    with masks.apply_for(1):
        assert torch.equal(model[0].weight, whole)
    assert torch.equal(model[0].weight, whole)


@pytest.mark.parametrize("schedule", ["constant", "equal"])
def test_capacity_is_shared_as_planned(schedule: str) -> None:
    model = nn.Sequential(nn.Linear(20, 50), nn.Linear(50, N_OUT))
    masks = PackNetMasks(model, TASKS, rate=0.7, schedule=schedule)
    for _ in range(3):
        moved(model)
        masks.prune()
        masks.consolidate()
    report, shares = masks.capacity_report(), capacity_shares(0.7, 3, schedule)
    assert [capacity.task for capacity in report] == [0, 1, 2, None]
    assert sum(capacity.n_weights for capacity in report) == 1000
    for capacity, share in zip(report, shares, strict=True):
        assert capacity.frac == capacity.n_weights / 1000 == pytest.approx(share, abs=1e-3)


def answers(masks: PackNetMasks, model: nn.Module, task: int, x: Tensor) -> Tensor:
    """The outputs of a task's own classes, in evaluation mode."""
    model.eval()
    with masks.apply_for(task), torch.no_grad():
        outputs: Tensor = model(x)[:, [k for k, own in enumerate(TASKS) if own == task]]
    masks.train_mode()
    return outputs


@pytest.mark.parametrize("factory", [plain, batch_norm, frozen, Tied], ids=lambda factory: factory.__name__)
@pytest.mark.parametrize(
    "optimizer",
    [
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1),
        lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.5),
    ],
    ids=["sgd", "adamw"],
)
def test_old_answers_stay_to_the_last_bit(
    factory: Callable[[], nn.Module], optimizer: Callable[[list[nn.Parameter]], torch.optim.Optimizer]
) -> None:
    """One optimizer for all tasks, whose momentum and decay would move what is frozen; batch statistics too."""
    model = made(factory)
    masks = PackNetMasks(model, TASKS, rate=0.5)
    steps = optimizer(list(model.parameters()))
    seen = some_examples(9, seed=9)[0]
    kept: list[Tensor] = []
    for task in range(3):
        masks.train_mode()
        for step in range(6):
            if step == 4:
                masks.prune()
            free = masks.trainable()
            before = masks.one.theta().detach().clone()
            x, y = some_examples(seed=10 * task + step)
            steps.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            with masks.hold():
                steps.step()
            after = masks.one.theta().detach()
            assert torch.equal(before[~free], after[~free])
            assert (before != after)[free].any()
        masks.consolidate()
        kept.append(answers(masks, model, task, seen))
        for old in range(task + 1):
            assert torch.equal(answers(masks, model, old, seen), kept[old])


def test_without_the_hold_momentum_moves_what_is_frozen() -> None:
    """What `freeze_gradients` alone would not do."""
    model = made(plain)
    masks = PackNetMasks(model, TASKS)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    x, y = some_examples()
    for cut in (False, True):
        if cut:
            masks.prune()
        model.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        masks.freeze_gradients()
        before, still = masks.one.theta().detach().clone(), ~masks.trainable()
        assert not masks.one.gradient()[still].any()
        optimizer.step()
        assert torch.equal(before[still], masks.one.theta().detach()[still]) is not cut


def test_a_gradient_that_is_no_number_is_zero_where_frozen() -> None:
    """0 times NaN would be NaN, and so would be the norm by which somebody clips."""
    model = made(plain)
    masks = PackNetMasks(model, TASKS)
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, float("nan"))
    masks.freeze_gradients()
    assert torch.equal(masks.one.gradient().isnan(), masks.trainable())


def test_the_weights_of_now_answer_for_a_task_that_has_not_ended() -> None:
    model = made(plain)
    masks = PackNetMasks(model, TASKS)
    before = copy.deepcopy(model.state_dict())
    for task in range(3):
        with masks.apply_for(task):
            assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_what_is_called_out_of_order_is_refused() -> None:
    model = made(batch_norm)
    masks = PackNetMasks(model, TASKS)

    def said(call: Callable[[], object]) -> str:
        with pytest.raises(InputError) as error:
            call()
        assert "\n" not in str(error.value)
        return str(error.value)

    assert said(masks.consolidate).startswith("PackNetMasks: a task must be cut before it ends, but task 0 was not")
    masks.prune()
    assert "each task is cut once, but `prune` came twice in task 0" in said(masks.prune)
    masks.consolidate()
    model.train()
    assert "statistics must stay those of the first, but `1` is in training mode. Call `masks.train_mode()`" in said(
        masks.freeze_gradients
    )
    masks.train_mode()
    assert [part.training for part in model] == [True, False, True, True, True]
    masks.freeze_gradients()
    for _ in range(2):
        masks.prune()
        masks.consolidate()
    assert "belong to 3 tasks, and all of them have ended" in said(masks.prune)
    assert "belong to 3 tasks, and all of them have ended" in said(lambda: masks.hold().__enter__())
    assert "`0 <= task < 3` must hold, but got task=3" in said(lambda: masks.apply_for(3).__enter__())


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: PackNetMasks(plain(), TASKS, rate=1.0), "`rate`: `0 <= packnet_rate < 1` must hold, but got"),
        (lambda: PackNetMasks(plain(), TASKS, rate=0.0), "`0 < rate < 1` must hold, but got rate=0"),
        (lambda: PackNetMasks(plain(), TASKS, schedule="even"), "`packnet_schedule` must be one of constant, equal"),
        (
            lambda: PackNetMasks(plain(), [0, 1]),
            "`output_tasks` must give each of the 4 outputs a task, from 0",
        ),
        (lambda: PackNetMasks(plain(), [0, 0, 2, 2]), "`output_tasks` must give each of the 4 outputs a task"),
        (lambda: PackNetMasks(TiedHead(), TASKS), "`head.weight` is shared with another layer. Untie them."),
    ],
)
def test_bad_values(make: Callable[[], object], said: str) -> None:
    with pytest.raises(InputError) as error:
        make()
    assert str(error.value).startswith("PackNetMasks: ")
    assert said in str(error.value)
    assert "\n" not in str(error.value)
