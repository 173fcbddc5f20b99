"""Networks that compute with weights which nobody can put in their place from outside."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from cfsweep.training.networks import ties_weights, unreplaceable_reason
from cfsweep.training.networks._replaceable import _answers


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 2)

    def middle(self, h: Tensor) -> Tensor:
        return self.b(h)  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.middle(torch.relu(self.a(x)))))  # type: ignore[no-any-return]


class InAList(Base):
    def __init__(self) -> None:
        super().__init__()
        self.kept = [self.b.weight, self.b.bias]

    def middle(self, h: Tensor) -> Tensor:
        return nn.functional.linear(h, *self.kept)


class InADict(Base):
    def __init__(self) -> None:
        super().__init__()
        self.kept = {"w": self.b.weight}

    def middle(self, h: Tensor) -> Tensor:
        return nn.functional.linear(h, self.kept["w"])


class InAClosure(Base):
    def __init__(self) -> None:
        super().__init__()
        weight = self.b.weight
        self.function = lambda h: nn.functional.linear(h, weight)

    def middle(self, h: Tensor) -> Tensor:
        return self.function(h)


class AsksForALeaf(Base):
    def middle(self, h: Tensor) -> Tensor:
        return super().middle(h) if self.b.weight.is_leaf else super().middle(h).detach()


def with_a_hook() -> nn.Module:
    module = Base()
    module.b.weight.register_hook(lambda gradient: gradient * 0)
    return module


def with_a_late_hook() -> nn.Module:
    module = Base()
    module.b.weight.register_post_accumulate_grad_hook(lambda parameter: None)
    return module


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (InAList, "its outputs differ"),
        (InADict, "its outputs differ"),
        (InAClosure, "its outputs differ"),
        (AsksForALeaf, "the gradient of `a.weight` differ"),
        (with_a_hook, "`b.weight` has a hook on its gradient"),
        (with_a_late_hook, "`b.weight` has a hook on its gradient"),
    ],
)
def test_what_would_train_otherwise_than_in_a_plain_loop_is_told(build: Callable[[], nn.Module], said: str) -> None:
    torch.manual_seed(0)
    module = build()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    draws = torch.random.get_rng_state()
    assert said in str(unreplaceable_reason(module, (4,)))
    assert torch.equal(draws, torch.random.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def tied() -> nn.Module:
    module = Base()
    module.b.weight = nn.Parameter(module.b.weight.detach())
    other = nn.Linear(8, 8)
    other.weight = module.b.weight
    return nn.Sequential(nn.Linear(4, 8), module.b, nn.ReLU(), other, nn.Linear(8, 2))


def twice() -> nn.Module:
    again = nn.Linear(8, 8)
    return nn.Sequential(nn.Linear(4, 8), again, nn.ReLU(), again, nn.Linear(8, 2))


def sound() -> list[nn.Module]:
    dropout = nn.Sequential(nn.Linear(4, 8), nn.Dropout(), nn.BatchNorm1d(8), nn.Linear(8, 2))
    normed = Base()
    nn.utils.parametrizations.weight_norm(normed.b)
    hooked = Base()
    hooked.b.register_forward_hook(lambda _m, _a, output: 2 * output)
    frozen = Base()
    frozen.a.requires_grad_(False)
    return [Base(), tied(), twice(), dropout, normed, hooked, frozen]


@pytest.mark.parametrize("module", sound(), ids=lambda module: type(module).__name__)
def test_what_is_sound_is_let_through(module: nn.Module) -> None:
    assert unreplaceable_reason(module, (4,)) is None
    assert module.training


def test_a_weight_is_tied_where_two_modules_share_it() -> None:
    assert ties_weights(tied())
    assert not ties_weights(twice())
    module = twice()
    x = torch.randn(3, 4)
    trained = dict(module.named_parameters())
    assert torch.equal(_answers(module, trained, x, trained)[""], module(x))
