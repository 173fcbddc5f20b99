"""PackNet's masks against loops over layers, and what they promise."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cfsweep.errors import InputError
from cfsweep.hypers import Value
from cfsweep.training.ingredients.packnet import FREE
from cfsweep.training.pack import Pack
from cfsweep.training.streams import Stream, Task
from tests.training.conformance import CNN, MLP, make_pack, tiny_stream

COMPOSED: tuple[tuple[str, ...], ...] = (("packnet",), ("packnet", "ewc", "replay"))


def owners(pack: Pack) -> dict[str, torch.Tensor]:
    return pack.layout.unflatten(pack.stack.states["packnet"]["owner"][0])


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.77, 0.99])
@pytest.mark.parametrize("network", [MLP, CNN], ids=lambda network: network.name)
def test_the_cut_is_a_sorted_list_per_layer(network: object, rate: float) -> None:
    pack = make_pack(tiny_stream(), ("packnet",), network=network, packnet_rate=rate)  # type: ignore[arg-type]
    (packnet,) = pack.ingredients
    layout, state = pack.layout, packnet.initial_state(pack.stack.theta[0])
    values = {"packnet_rate": torch.tensor(rate)}
    torch.manual_seed(0)
    for task in range(3):
        theta = torch.randn(layout.size).round(decimals=2)  # with ties
        expected = {name: value.clone() for name, value in layout.unflatten(state["owner"]).items()}
        weights = layout.unflatten(theta)
        new_theta, state = packnet.mid_task(theta, state, values, task)
        cut = layout.unflatten(state["owner"])
        for entry in layout.entries:
            if rate == 0 or not entry.prunable:
                assert torch.equal(cut[entry.name], expected[entry.name])
                continue
            places = [tuple(place) for place in (expected[entry.name] == FREE).nonzero().tolist()]
            sizes = sorted((abs(weights[entry.name][place].item()) for place in places), reverse=True)
            n_kept = round((1 - float(np.float32(rate))) * len(places))
            mine = [place for place in places if cut[entry.name][place] == task]
            assert len(mine) == n_kept
            assert sorted((abs(weights[entry.name][p].item()) for p in mine), reverse=True) == sizes[:n_kept]
            assert all(cut[entry.name][place] in (task, FREE) for place in places)
            elsewhere = expected[entry.name] != FREE
            assert torch.equal(cut[entry.name][elsewhere], expected[entry.name][elsewhere])
        free = state["owner"] == FREE
        assert torch.equal(new_theta, theta if rate == 0 else torch.where(free, 0.0, theta))


def test_capacity_shrinks_by_the_rate_and_outputs_belong_to_their_task() -> None:
    pack = make_pack(tiny_stream(n_tasks=4), ("packnet",), packnet_rate=0.5)
    prunable = {entry.name: np.prod(entry.shape) for entry in pack.layout.entries if entry.prunable}
    left = dict(prunable)
    for task in range(4):
        pack.step()
        owner = owners(pack)
        for name in prunable:
            left[name] -= round(0.5 * left[name])
            assert (owner[name] == FREE).sum() == left[name]
            assert left[name] == pytest.approx(prunable[name] * 0.5 ** (task + 1), abs=1)
        assert owner["head.weight"].unique(dim=1).flatten().tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
        assert owner["head.bias"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
        assert (owner["body.1.bias"] == 0).all()


@pytest.mark.parametrize("retrain", [0.0, 1 / 3, 0.99])
@pytest.mark.parametrize("names", COMPOSED, ids="+".join)
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_frozen_weights_do_not_move_by_a_bit(optimizer: str, names: tuple[str, ...], retrain: float) -> None:
    given: dict[str, Value] = {"optimizer": optimizer, "weight_decay": 0.1, "packnet_retrain_frac": retrain}
    if "ewc" in names:
        given |= {"ewc_lambda": 100.0}
    pack = make_pack(tiny_stream(), names, **given)
    stream = pack.stream
    frozen, predicted = [], []
    for task in range(3):
        pack.step()
        owner = pack.stack.states["packnet"]["owner"][0]
        frozen.append((owner == task, pack.stack.theta[0][owner == task].clone()))
        predicted.append(pack.predictions(task))
        assert (pack.stack.theta[0][owner == FREE] == 0).all()
        for k, (where, value) in enumerate(frozen):
            assert torch.equal(pack.stack.theta[0][where], value), (task, k)
            assert torch.equal(pack.predictions(k), predicted[k])
        biases = [e.where for e in pack.layout.entries if e.name.startswith("body") and e.name.endswith("bias")]
        assert all(frozen[0][0][where].all() for where in biases)
    matrix = np.array(pack.records[0].test)[1:]
    assert all(len(set(matrix[i:, i])) == 1 for i in range(len(stream.tasks)))


def test_free_weights_stay_at_zero_while_a_task_is_retrained() -> None:
    """The cut weights are zero at the end, so the retraining ran without them; they move again in the next task."""
    pack = make_pack(tiny_stream(), ("packnet",), curves=0)
    pack.step()
    free = pack.stack.states["packnet"]["owner"][0] == FREE
    assert (pack.stack.theta[0][free] == 0).all()
    pack.step()
    taken = free & (pack.stack.states["packnet"]["owner"][0] == 1)
    assert (pack.stack.theta[0][taken] != 0).any()


def test_tasks_that_share_a_class_are_refused() -> None:
    tasks = [Task(str(k), (0, 1), *(np.arange(6 * k + 2 * p, 6 * k + 2 * p + 2) for p in range(3))) for k in range(2)]
    stream = Stream("shared", torch.randn(12, 4), torch.arange(12) % 2, tuple(tasks))
    with pytest.raises(InputError, match="each class must belong to one task"):
        make_pack(stream, ("packnet",))
