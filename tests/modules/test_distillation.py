"""The distillation by hand, with an old network that leaves no trace, and what is no input for it."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import nn

from cfsweep.errors import InputError
from cfsweep.modules import DistillationLoss
from tests.modules.models import MODELS, N_OUT, batch_norm, made, moved, plain, some_examples


def outputs(*values: float) -> nn.Module:
    """A model that answers so, whatever it is asked."""
    model = nn.Sequential(nn.Linear(1, len(values)))
    with torch.no_grad():
        model[0].weight.zero_()
        model[0].bias.copy_(torch.tensor(values))
    return model


def test_by_hand() -> None:
    """At T = 2 the old answers of task 0, (2 log 3, 0), are (3/4, 1/4), and those of task 1 (1/2, 1/2); all answers of
    now are even. task-il: the cross-entropies are log 2 and log 2, their mean times T² is 4 log 2; t = 2 old tasks at
    α = 0.5 have the share 1/2. class-il after both: even among six, log 6, where `seen`; among the old four, log 4."""
    x, now = torch.ones(3, 1), torch.zeros(3, 6)
    first, both = (torch.arange(6) < n for n in (2, 4))
    for scenario, classes, expected in (
        ("task-il", "seen", math.log(2)),
        ("class-il", "seen", math.log(6)),
        ("class-il", "old", math.log(4)),
        ("domain-il", "seen", math.log(6)),
    ):
        given: dict[str, Any] = {"scenario": scenario, "classes": classes}
        lwf = DistillationLoss(outputs(2 * math.log(3), 0, 5, 5, -9, 9), temperature=2.0, alpha=0.5, **given)
        assert lwf.batch_share().item() == 1
        assert lwf.loss(x, now).item() == 0
        lwf.remember(first)
        lwf.remember(both & ~first if scenario == "task-il" else both)
        assert lwf.batch_share().item() == 0.5
        assert lwf.loss(x, now).item() == pytest.approx(0.5 * 4 * expected, rel=1e-6)


def test_only_the_old_answers_matter_and_autograd_follows_those_of_now() -> None:
    """The gradient of T²·H(p, softmax(z/T)) by z is T (q - p) for each example: with p = (3/4, 1/4) and q = (1/2, 1/2)
    at T = 2 that is (-1/2, 1/2), over two examples, times the share 1/2."""
    model = outputs(2 * math.log(3), 0.0)
    lwf = DistillationLoss(model, temperature=2.0)
    lwf.remember()
    with torch.no_grad():
        model[0].bias.zero_()
    now = torch.zeros(2, 2, requires_grad=True)
    lwf.loss(torch.ones(2, 1), now).backward()
    assert now.grad is not None
    torch.testing.assert_close(now.grad, torch.tensor([[-0.125, 0.125]] * 2))


@pytest.mark.parametrize("factory", MODELS, ids=lambda factory: factory.__name__)
def test_the_old_network_answers_as_it_did_statistics_included(factory: Any) -> None:
    model = made(factory)
    lwf = DistillationLoss(model, temperature=1.0, weighting="constant", scenario="domain-il")
    lwf.remember()
    old = copy.deepcopy(model).eval()
    dtype = next(model.parameters()).dtype
    moved(model)
    for seed in range(3):
        model(some_examples(seed=seed, dtype=dtype)[0])  # its statistics move
    before = copy.deepcopy(model.state_dict())
    x, _ = some_examples(seed=5, dtype=dtype)
    now = torch.randn(len(x), N_OUT, generator=torch.Generator().manual_seed(0)).to(dtype)
    expected = nn.functional.cross_entropy(now, torch.softmax(old(x).detach(), 1))
    torch.testing.assert_close(lwf.loss(x, now), expected)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_layer_may_be_frozen_on_the_way() -> None:
    model = made(plain)
    lwf = DistillationLoss(model)
    lwf.remember()
    x, _ = some_examples()
    before = lwf.loss(x, torch.zeros(len(x), N_OUT))
    model[1].requires_grad_(False)
    assert torch.equal(lwf.loss(x, torch.zeros(len(x), N_OUT)), before)


def test_off_adds_nothing() -> None:
    model = made(batch_norm)
    lwf = DistillationLoss(model, alpha=0.0)
    lwf.remember()
    moved(model)
    x, _ = some_examples()
    assert lwf.batch_share().item() == 1
    assert lwf.loss(x, model(x)).item() == 0


def test_bad_input() -> None:
    def said(call: Any) -> str:
        with pytest.raises(InputError) as error:
            call()
        assert "\n" not in str(error.value)
        return str(error.value)

    model = made(plain)
    assert "`0 < lwf_temperature` must hold" in said(lambda: DistillationLoss(model, temperature=0.0))
    assert "unknown scenario `class`" in said(lambda: DistillationLoss(model, scenario="class"))  # type: ignore[arg-type]
    lwf = DistillationLoss(model)
    x, _ = some_examples(3)
    assert "the mask must be bool, (4,)" in said(lambda: lwf.remember(torch.ones(4)))
    assert "the outputs must be (3, 4), a row for each example" in said(lambda: lwf.loss(x, torch.zeros(3, 2)))
