"""The penalties by hand, and against one example at a time, on models of all kinds."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from cfsweep.errors import InputError
from cfsweep.modules import EWCPenalty, L2SPPenalty, MASPenalty, SIPenalty
from tests.modules.models import MODELS, N_IN, N_OUT, made, moved, plain, some_examples

MASK = torch.tensor([True, False, True, True])


def one_weight(*values: float) -> nn.Module:
    """Outputs w·x, each of one weight."""
    model = nn.Sequential(nn.Linear(1, len(values), bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor(values).unsqueeze(1))
    return model


def test_ewc_by_hand() -> None:
    """At w = (0, 0) both classes have p = 1/2; at x = 2 and label 0 the gradient of log p is 2·(1/2, -1/2) = (1, -1):
    F = (1, 1). At w = (1, 2) and λ = 10: 5·(1·1 + 1·4) = 25, gradient 10·(1, 2). A second task that leaves the weights
    there sees p = 1/(1 + e) at x = 1 and label 0: F' = (1 - p)² = (e/(1 + e))² for both, and no pull beside the old."""
    model = one_weight(0.0, 0.0)
    ewc = EWCPenalty(model, strength=10.0, fisher="empirical")
    ewc.consolidate((torch.tensor([[2.0]]), torch.tensor([0])))
    assert ewc.state_dict()["curvature.0.weight"].tolist() == [[1.0], [1.0]]
    assert ewc.state_dict()["centre.0.weight"].tolist() == [[0.0], [0.0]]
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0], [2.0]]))
    penalty = ewc.penalty()
    penalty.backward()
    assert penalty.item() == 25.0
    assert model[0].weight.grad.tolist() == [[10.0], [20.0]]
    ewc.consolidate((torch.tensor([[1.0]]), torch.tensor([0])))
    e = torch.tensor(1.0).exp()
    torch.testing.assert_close(ewc.state_dict()["curvature.0.weight"], 1 + (e / (1 + e)).square().expand(2, 1))
    model.zero_grad()
    ewc.penalty().backward()
    torch.testing.assert_close(model[0].weight.grad, torch.tensor([[10.0], [20.0]]))


def test_mas_and_l2_sp_by_hand() -> None:
    """‖f‖² = (1·2)² + (3·2)² at x = 2; its gradient is (2·2·2, 2·6·2) = (8, 24), at x = -1 (2, 6): Ω = (5, 15). Under a
    mask the first output has no say. At the distance (1, -1) and λ = 2: 2·(5 + 15) = 40."""
    x, y = torch.tensor([[2.0], [-1.0]]), torch.tensor([0, 0])
    for mask, importance in ((None, [[5.0], [15.0]]), (torch.tensor([False, True]), [[0.0], [15.0]])):
        model = one_weight(1.0, 3.0)
        mas, l2_sp = MASPenalty(model, strength=2.0), L2SPPenalty(model, strength=3.0)
        mas.consolidate((x, y), mask)
        l2_sp.consolidate()
        assert mas.state_dict()["importance.0.weight"].tolist() == importance
        with torch.no_grad():
            model[0].weight.add_(torch.tensor([[1.0], [-1.0]]))
        assert mas.penalty().item() == 2 * sum(value for (value,) in importance)
        assert l2_sp.penalty().item() == 0.5 * 3 * 2


def test_si_by_hand() -> None:
    """ξ = 0.1875. A weight moves by -0.5 against the slope 2, then by -0.25 along the slope -1: ω = 1 - 0.25 = 0.75,
    Δ² = 0.5625, Ω = 0.75/0.75 = 1. At the distance 2 and c = 3: 3·1·4 = 12, gradient 2·3·1·2 = 12. The gradient that is
    there when `before_step` is called counts, not what is added to it later."""
    model = one_weight(0.0)
    si = SIPenalty(model, strength=3.0, damping=0.1875)
    for slope, step in ((2.0, -0.5), (-1.0, -0.25)):
        model[0].weight.grad = torch.tensor([[slope]])
        si.before_step()
        model[0].weight.grad.add_(7.0)
        with torch.no_grad():
            model[0].weight.add_(step)
        si.after_step()
    assert si.state_dict()["path.0.weight"].item() == 0.75
    si.consolidate()
    assert si.state_dict()["importance.0.weight"].item() == 1.0
    assert si.state_dict()["path.0.weight"].item() == 0.0
    with torch.no_grad():
        model[0].weight.add_(2.0)
    model.zero_grad()
    penalty = si.penalty()
    penalty.backward()
    assert penalty.item() == 12.0
    assert model[0].weight.grad.item() == 12.0


def one_by_one(model: nn.Module, x: Tensor, y: Tensor | None, size: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    """By name the mean over examples of `size` of the gradient of log p(y), or without y of the squared norm of the
    outputs, among those of MASK; in evaluation mode, on a copy of the model."""
    model = copy.deepcopy(model).eval()
    total = {name: torch.zeros_like(p) for name, p in model.named_parameters() if p.requires_grad}
    for k in range(len(x)):
        model.zero_grad()
        outputs = model(x[k : k + 1])[0]
        if y is None:
            outputs[MASK].square().sum().backward()
        else:
            log_p = torch.log_softmax(outputs[MASK], 0)
            log_p[int(MASK[: int(y[k])].sum())].backward()
        for name in total:
            gradient = model.get_parameter(name).grad
            assert gradient is not None
            total[name] += size(gradient) / len(x)
    return total


@pytest.mark.parametrize("factory", MODELS, ids=lambda factory: factory.__name__)
def test_importances_are_means_of_single_gradients(factory: Callable[[], nn.Module]) -> None:
    """Whatever the model: batch norm in evaluation mode, weights that two layers share, weights that are frozen."""
    model = made(factory)
    dtype = next(model.parameters()).dtype
    for seed in range(2):
        x, y = some_examples(seed=seed, dtype=dtype)
        y = torch.where(y == 1, 3, y)  # 1 is not active
        ewc, mas = EWCPenalty(model, fisher="empirical", examples=0), MASPenalty(model, examples=0)
        ewc.consolidate((x, y), MASK)
        mas.consolidate((x, y), MASK.expand(len(x), -1))
        for name, expected in one_by_one(model, x, y, torch.square).items():
            torch.testing.assert_close(ewc.state_dict()[f"curvature.{name}"], expected, rtol=2e-4, atol=1e-7)
        for name, expected in one_by_one(model, x, None, torch.abs).items():
            torch.testing.assert_close(mas.state_dict()[f"importance.{name}"], expected, rtol=2e-4, atol=1e-6)
        moved(model, seed=seed)


@pytest.mark.parametrize("fisher", ["true", "predicted"])
def test_the_fisher_of_the_models_own_labels(fisher: str) -> None:
    """`predicted` is that of the likeliest labels; `true`, over many examples, the mean of all labels by how likely
    they are. Neither looks at the data's."""
    model = made(plain)
    x, _ = some_examples(1)
    x, y = x.expand(4000, -1), torch.zeros(4000, dtype=torch.int64)
    p = torch.softmax(model(x[:1])[0].masked_fill(~MASK, -torch.inf), 0).detach()
    weights = p if fisher == "true" else torch.nn.functional.one_hot(p.argmax(), N_OUT)
    expected = {name: torch.zeros_like(value) for name, value in model.named_parameters()}
    for label in MASK.nonzero().flatten():
        for name, value in one_by_one(model, x[:1], label.unsqueeze(0), torch.square).items():
            expected[name] += weights[label] * value
    ewc = EWCPenalty(model, fisher=fisher, examples=0)
    ewc.consolidate((x, y), MASK)
    for name, value in expected.items():
        found = ewc.state_dict()[f"curvature.{name}"]
        torch.testing.assert_close(found, value, rtol=0.1 if fisher == "true" else 1e-4, atol=1e-6)


def test_batches_are_as_good_as_tensors_and_the_seed_chooses() -> None:
    model = made(plain)
    x, y = some_examples(50)

    def importance(data: object, seed: int = 0, examples: int = 20) -> Tensor:
        ewc = EWCPenalty(model, fisher="empirical", examples=examples, seed=seed)
        ewc.consolidate(data)  # type: ignore[arg-type]
        found: Tensor = ewc.state_dict()["curvature.1.weight"]
        return found

    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=8)
    assert torch.equal(importance((x, y)), importance(loader))
    assert torch.equal(importance((x, y)), importance([(x[:7], y[:7]), (x[7:], y[7:])]))
    assert not torch.equal(importance((x, y)), importance((x, y), seed=1))
    assert torch.equal(importance((x, y), examples=0), importance((x, y), seed=1, examples=0))


def test_si_wants_its_order() -> None:
    model = made(plain)
    si = SIPenalty(model)
    with pytest.raises(InputError, match=r"^SIPenalty: each step must be noted .* Call `before_step` after"):
        si.after_step()
    model.zero_grad()
    with pytest.raises(InputError, match=r"^SIPenalty: the parameters must hold the gradient of the loss"):
        si.before_step()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda m: EWCPenalty(m, strength=-1.0), "EWCPenalty: `strength`: `0 <= ewc_lambda` must hold, but got"),
        (lambda m: EWCPenalty(m, mode="both"), "EWCPenalty: `mode`: `ewc_mode` must be one of separate, online"),
        (lambda m: EWCPenalty(m, fisher="exact"), "EWCPenalty: `fisher`: `ewc_fisher` must be one of true, predicted"),
        (lambda m: EWCPenalty(m, gamma=1.1), "EWCPenalty: `gamma`: `0 <= ewc_gamma <= 1` must hold"),
        (
            lambda m: EWCPenalty(m, examples=2.5),
            "EWCPenalty: `examples`: `0 <= ewc_examples, a whole number` must",
        ),
        (lambda m: EWCPenalty(m, seed=-1), "EWCPenalty: `seed` must be a whole number from 0 on, but got seed=-1"),
        (lambda m: MASPenalty(m, strength=float("nan")), "MASPenalty: `strength`: `0 <= mas_lambda` must hold"),
        (lambda m: SIPenalty(m, damping=0.0), "SIPenalty: `damping`: `0 < si_damping` must hold"),
        (lambda m: L2SPPenalty(m, strength="much"), "L2SPPenalty: `strength`: `0 <= l2_sp_lambda` must hold"),
    ],
)
def test_bad_values(make: Callable[[nn.Module], object], said: str) -> None:
    with pytest.raises(InputError) as error:
        make(plain())
    assert str(error.value).startswith(said)
    assert "\n" not in str(error.value)


X, Y = some_examples(3)


@pytest.mark.parametrize(
    ("data", "mask", "said"),
    [
        ((X, Y.float()), None, "the labels must be whole numbers (n,), one for each example of x (n, ...), but got y"),
        ((X, Y[:2]), None, "the labels must be whole numbers (n,)"),
        ([X, X, X], None, "the examples must be (x, y), two tensors, or batches of them, but got Tensor"),
        ([(X, Y, Y)], None, "the examples must be (x, y), two tensors, or batches of them, but got tuple"),
        ((X[:0], Y[:0]), None, "it needs examples of the task that has ended, but got none"),
        ((X, Y + N_OUT), None, f"each label must be the number of an active output of the {N_OUT}, but one is"),
        ((X, Y * 0), torch.tensor([False, True, True, True]), "each label must be the number of an active output"),
        ((X, Y), torch.ones(3, dtype=torch.bool), "the mask must be bool, (4,) or (3, 4): the outputs that are active"),
        ((X, Y), torch.ones(4), "the mask must be bool"),
        ((X, Y), torch.zeros(4, dtype=torch.bool), "the mask must leave each example an output, but one has none"),
    ],
)
def test_bad_examples(data: object, mask: Tensor | None, said: str) -> None:
    ewc = EWCPenalty(made(plain))
    with pytest.raises(InputError) as error:
        ewc.consolidate(data, mask)  # type: ignore[arg-type]
    assert str(error.value).startswith(f"EWCPenalty: {said}")
    assert "\n" not in str(error.value)
    assert ewc.tasks_ended == 0


def test_a_model_whose_outputs_are_not_those_of_its_last_layer() -> None:
    model = nn.Sequential(nn.Linear(N_IN, 3), nn.Linear(3, 4), nn.Unflatten(1, (2, 2)))
    with pytest.raises(
        InputError, match=r"the model must give the outputs of its last nn.Linear, \(1, 4\), but gives \(1, 2, 2\)"
    ):
        EWCPenalty(model, fisher="empirical").consolidate((X, Y))
