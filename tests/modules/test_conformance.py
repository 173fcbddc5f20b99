"""What each module does, whatever the remedy: it leaves the model alone, and keeps its state by parameters' names."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

from cfsweep import modules
from cfsweep.errors import InputError
from cfsweep.modules import (
    DistillationLoss,
    EWCPenalty,
    L2SPPenalty,
    MASPenalty,
    PackNetMasks,
    ReservoirBuffer,
    SIPenalty,
)
from cfsweep.modules._saved import Saved
from tests.modules.loops import saved
from tests.modules.models import MODELS, N_OUT, made, moved, plain, some_examples

MAKERS: dict[type[Saved], Callable[[nn.Module], Saved]] = {
    EWCPenalty: EWCPenalty,
    MASPenalty: MASPenalty,
    SIPenalty: SIPenalty,
    L2SPPenalty: L2SPPenalty,
    DistillationLoss: DistillationLoss,
    PackNetMasks: lambda model: PackNetMasks(model, [0, 0, 1, 1]),
    ReservoirBuffer: lambda model: ReservoirBuffer(5),
}
PENALTIES = (EWCPenalty, MASPenalty, SIPenalty, L2SPPenalty)
OF_A_MODEL = [kind for kind in MAKERS if kind is not ReservoirBuffer]


def end_task(module: Saved, model: nn.Module) -> None:
    """Two steps of a task, and its end."""
    dtype = next(model.parameters()).dtype
    x, y = some_examples(dtype=dtype)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        if isinstance(module, SIPenalty):
            module.before_step()
        optimizer.step()
        if isinstance(module, SIPenalty):
            module.after_step()
    match module:
        case EWCPenalty() | MASPenalty():
            module.consolidate((x, y))
        case SIPenalty() | L2SPPenalty():
            module.consolidate()
        case DistillationLoss():
            module.remember()
        case PackNetMasks():
            module.prune()
            module.consolidate()
        case ReservoirBuffer():
            module.add_task(x, y)


def test_every_module_is_here() -> None:
    public = {getattr(modules, name) for name in modules.__all__}
    assert {kind for kind in public if isinstance(kind, type) and issubclass(kind, Saved)} == MAKERS.keys()


@pytest.mark.parametrize("factory", MODELS, ids=lambda factory: factory.__name__)
@pytest.mark.parametrize("kind", MAKERS, ids=lambda kind: kind.__name__)
def test_it_leaves_the_model_as_it_was(kind: type[Saved], factory: Callable[[], nn.Module]) -> None:
    """But for what PackNet prunes: weights, statistics, and which parts are in which mode; and it brings no parameter
    of its own, nor the model's."""
    model = made(factory)
    last = list(model.modules())[-1]
    last.eval()
    module = MAKERS[kind](model)
    assert not list(module.parameters())
    assert not list(module.children())
    before, modes = copy.deepcopy(model.state_dict()), [part.training for part in model.modules()]
    match module:
        case EWCPenalty() | MASPenalty():
            module.consolidate(some_examples(dtype=next(model.parameters()).dtype))
        case SIPenalty() | L2SPPenalty():
            module.consolidate()
        case DistillationLoss():
            x, _ = some_examples(dtype=next(model.parameters()).dtype)
            module.remember()
            module.loss(x, x.new_zeros(len(x), N_OUT))
        case PackNetMasks():
            module.prune()
            module.consolidate()
            before = copy.deepcopy(model.state_dict())
            with module.apply_for(0):
                pass
    assert [part.training for part in model.modules()] == modes
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


@pytest.mark.parametrize("factory", MODELS, ids=lambda factory: factory.__name__)
@pytest.mark.parametrize("kind", OF_A_MODEL, ids=lambda kind: kind.__name__)
def test_its_state_is_kept_by_the_names_of_parameters(kind: type[Saved], factory: Callable[[], nn.Module]) -> None:
    model = made(factory)
    module = MAKERS[kind](model)
    end_task(module, model)
    trained = {name: tuple(p.shape) for name, p in model.named_parameters() if p.requires_grad}
    found: dict[str, dict[str, tuple[int, ...]]] = {}
    for key, value in module.state_dict().items():
        entry, dot, name = key.partition(".")
        if dot:
            found.setdefault(entry, {})[name] = tuple(value.shape)
    assert found
    for shapes in found.values():
        assert trained.items() <= shapes.items()  # the old network of a distillation has its frozen ones too


@pytest.mark.parametrize("kind", MAKERS, ids=lambda kind: kind.__name__)
def test_it_is_saved_within_a_larger_module(kind: type[Saved]) -> None:
    model = made(plain)
    whole = nn.ModuleDict({"model": model, "remedy": MAKERS[kind](model)})
    remedy = whole["remedy"]
    assert isinstance(remedy, Saved)
    end_task(remedy, model)
    other = made(plain, seed=3)
    fresh = nn.ModuleDict({"model": other, "remedy": MAKERS[kind](other)})
    state = saved(whole)
    fresh.load_state_dict(state)
    for name, value in state.items():
        if name.startswith("remedy."):
            value.zero_()  # what was loaded is a copy
    again = fresh.state_dict()
    assert again.keys() == whole.state_dict().keys()
    assert all(torch.equal(value, again[name]) for name, value in whole.state_dict().items())
    end_task(remedy, model)
    assert not all(torch.equal(value, again[name]) for name, value in whole.state_dict().items()), "a copy, no view"


@pytest.mark.parametrize("kind", MAKERS, ids=lambda kind: kind.__name__)
def test_the_state_of_another_model_or_module_is_refused(kind: type[Saved]) -> None:
    model = made(plain)
    module = MAKERS[kind](model)
    end_task(module, model)
    with pytest.raises(InputError, match=rf"^{kind.__name__}: a saved state must "):
        module.load_state_dict({"strange": torch.zeros(1)})
    if kind is not ReservoirBuffer:
        larger = nn.Sequential(nn.Flatten(), nn.Linear(6, 7), nn.ReLU(), nn.Linear(7, 4))
        other = MAKERS[kind](larger)
        end_task(other, larger)
        with pytest.raises(InputError, match=r"`\w+\.1\.weight` must be torch.\w+ of shape \(5, 6\), but "):
            module.load_state_dict(saved(other))


@pytest.mark.parametrize("kind", [*PENALTIES, PackNetMasks], ids=lambda kind: kind.__name__)
def test_what_is_trained_may_not_change(kind: type[Saved]) -> None:
    model = made(plain)
    module = MAKERS[kind](model)
    end_task(module, model)
    model[1].bias.requires_grad_(False)
    with pytest.raises(InputError, match=r"must stay those that it was made with, but .* at 1.bias"):
        end_task(module, model)


@pytest.mark.parametrize("kind", OF_A_MODEL, ids=lambda kind: kind.__name__)
def test_models_that_it_cannot_work_on(kind: type[Saved]) -> None:
    def said(model: nn.Module) -> str:
        with pytest.raises(InputError) as error:
            MAKERS[kind](model)
        assert "\n" not in str(error.value)
        return str(error.value)

    assert said(nn.Conv2d(1, 4, 3)) == (
        f"{kind.__name__}: the output layer must be an nn.Linear inside the model, but Conv2d has none. Make it the "
        "attribute `head`."
    )
    mixed = nn.Sequential(nn.Linear(3, 3).double(), nn.Linear(3, 4))
    assert "must have one type and lie on one device, but they have torch.float32 on cpu, torch.float64" in said(mixed)
    assert "has no parameter to train" in said(plain().requires_grad_(False))


@pytest.mark.parametrize("kind", PENALTIES, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("factory", MODELS, ids=lambda factory: factory.__name__)
def test_the_gradient_of_a_penalty_is_the_ingredients_to_the_last_bit(
    kind: type[Saved], factory: Callable[[], nn.Module]
) -> None:
    model = made(factory)
    module = MAKERS[kind](model)
    assert isinstance(module, PENALTIES)
    for seed in range(2):
        end_task(module, model)
        moved(model, seed=seed)
        model.zero_grad()
        module.penalty().backward()
        theta = module.one.theta().detach()
        values = {name: torch.tensor(value) for name, value in module.values.items() if isinstance(value, float)}
        expected = module.ingredient.gradient(theta, module.state, values)
        assert expected.abs().max() > 0
        for name, piece in module.one.layout.unflatten(expected).items():
            gradient = model.get_parameter(name).grad
            assert gradient is not None
            assert torch.equal(gradient, piece), name
        (3 * module()).backward()  # as part of a larger loss
        for name, piece in module.one.layout.unflatten(expected).items():
            torch.testing.assert_close(model.get_parameter(name).grad, 4 * piece)


@pytest.mark.parametrize("kind", PENALTIES, ids=lambda kind: kind.__name__)
def test_a_penalty_is_zero_in_the_first_task_and_can_go_backward(kind: type[Saved]) -> None:
    model = made(plain)
    module = MAKERS[kind](model)
    assert isinstance(module, PENALTIES)
    moved(model)
    penalty = module.penalty()
    assert penalty.item() == 0
    penalty.backward()
    assert all(p.grad is not None and not p.grad.any() for p in model.parameters())
