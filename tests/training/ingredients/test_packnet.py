"""PackNet's masks against loops over layers, and what they promise."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from cfsweep.config import NetworkConfig
from cfsweep.errors import InputError
from cfsweep.hypers import Value
from cfsweep.testing.packs import CNN, MLP, assert_same, finish, make_pack, outcomes, small_stream, weights
from cfsweep.training.ingredients.packnet import FREE, SCHEDULES, capacity_shares
from cfsweep.training.pack import Pack
from cfsweep.training.streams import Stream, Task

COMPOSED: tuple[tuple[str, ...], ...] = (("packnet",), ("packnet", "ewc", "replay"))


def owners(pack: Pack) -> dict[str, torch.Tensor]:
    return pack.context.layout.unflatten(pack.stack.states["packnet"]["owner"][0])


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.77, 0.99])
@pytest.mark.parametrize("network", [MLP, CNN], ids=lambda network: network.name)
def test_the_cut_is_a_sorted_list_per_layer(network: NetworkConfig, rate: float, schedule: str) -> None:
    pack = make_pack(small_stream(), ("packnet",), network=network, packnet_rate=rate, packnet_schedule=schedule)
    (packnet,) = pack.context.ingredients
    layout, state = pack.context.layout, packnet.initial_state(pack.stack.theta[0])
    values = {"packnet_rate": torch.tensor(rate)}
    torch.manual_seed(0)
    for task in range(3):
        theta = torch.randn(layout.size).round(decimals=2)  # with ties
        expected = {name: value.clone() for name, value in layout.unflatten(state["owner"]).items()}
        sized = layout.unflatten(theta)
        new_theta, state = packnet.cut(theta, state, values, task)
        cut = layout.unflatten(state["owner"])
        for entry in layout.entries:
            if rate == 0 or not entry.prunable:
                assert torch.equal(cut[entry.name], expected[entry.name])
                continue
            sizes, before, after = (v[entry.name].flatten().tolist() for v in (sized, expected, cut))
            places = [place for place, owner in enumerate(before) if owner == FREE]
            largest_first = sorted((abs(sizes[place]) for place in places), reverse=True)
            kept_frac = 1 / (3 - task) if schedule == "equal" else 1 - float(np.float32(rate))
            n_kept = round(kept_frac * len(places))
            mine = [place for place in places if after[place] == task]
            assert len(mine) == n_kept
            assert sorted((abs(sizes[place]) for place in mine), reverse=True) == largest_first[:n_kept]
            assert all(after[place] in (task, FREE) for place in places)
            assert all(now == then for now, then in zip(after, before, strict=True) if then != FREE)
        free = state["owner"] == FREE
        assert torch.equal(new_theta, theta if rate == 0 else torch.where(free, 0.0, theta))


def test_capacity_shrinks_by_the_rate_and_outputs_belong_to_their_task() -> None:
    pack = make_pack(small_stream(n_tasks=4), ("packnet",), packnet_rate=0.5)
    prunable = {entry.name: np.prod(entry.shape) for entry in pack.context.layout.entries if entry.prunable}
    left = dict(prunable)
    for task in range(4):
        pack.train_next_task()
        owner = owners(pack)
        for name in prunable:
            left[name] -= round(0.5 * left[name])
            assert (owner[name] == FREE).sum() == left[name]
            assert left[name] == pytest.approx(prunable[name] * 0.5 ** (task + 1), abs=1)
        assert owner["head.weight"].unique(dim=1).flatten().tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
        assert owner["head.bias"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
        assert (owner["body.1.bias"] == 0).all()


def test_shares_worked_out_by_hand() -> None:
    # p = 3/4: a quarter of all, a quarter of the 3/4 left, a quarter of the 9/16 left; 27/64 stay.
    assert capacity_shares(0.75, 3) == (1 / 4, 3 / 16, 9 / 64, 27 / 64)
    assert capacity_shares(0.75, 5, "equal") == (0.2, 0.2, 0.2, 0.2, 0.2, 0.0)
    # The rule of thumb "prune 1/T" leaves the fifth task 4/5 · (1/5)^4; to keep 1/T leaves it 1/5 · (4/5)^4.
    assert capacity_shares(1 / 5, 5)[4] == pytest.approx(4 / 3125, rel=1e-12)
    assert capacity_shares(4 / 5, 5)[4] == pytest.approx(256 / 3125, rel=1e-12)


def test_the_table_of_the_documentation_is_what_the_function_says(project_root: Path) -> None:
    text = (project_root / "docs" / "packnet.md").read_text()
    rows = re.findall(r"^\| (?:rate ([\d.]+)|schedule equal) \|(.*)\|$", text, flags=re.MULTILINE)
    assert [rate for rate, _ in rows] == ["0.2", "0.5", "0.8", "0.9", ""]
    for rate, cells in rows:
        shares = capacity_shares(float(rate or 0.5), 5, "constant" if rate else "equal")
        assert [cell.strip() for cell in cells.split("|")] == [f"{100 * share:.3g} %" for share in shares]


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("n_tasks", [2, 5, 11])
def test_shares_are_what_is_left_of_what_is_left(n_tasks: int, schedule: str) -> None:
    for rate in np.random.default_rng(n_tasks).uniform(0.01, 0.99, 20):
        left, shares = 1.0, capacity_shares(rate, n_tasks, schedule)
        for task in range(n_tasks):
            given_up = rate if schedule == "constant" else 1 - 1 / (n_tasks - task)
            assert shares[task] == pytest.approx(left * (1 - given_up), rel=1e-9)
            left *= given_up
        assert shares[n_tasks] == pytest.approx(left, abs=1e-12)
        assert sum(shares) == pytest.approx(1)
        assert min(shares[:n_tasks]) == shares[n_tasks - 1]


@pytest.mark.parametrize(
    ("network", "schedule", "rate"),
    [
        *((MLP, schedule, rate) for schedule, rate in itertools.product(SCHEDULES, (0.3, 0.5, 0.9))),
        (CNN, "constant", 0.5),
        (CNN, "equal", 0.3),
    ],
    ids=lambda value: value.name if isinstance(value, NetworkConfig) else value,
)
def test_a_trained_network_is_shared_as_planned(network: NetworkConfig, schedule: str, rate: float) -> None:
    n_tasks = 5
    stream = small_stream(n_tasks=n_tasks)
    pack = make_pack(stream, ("packnet",), network=network, packnet_rate=rate, packnet_schedule=schedule)
    shares, owner = capacity_shares(rate, n_tasks, schedule), owners(finish(pack))
    for entry in pack.context.layout.entries:
        if not entry.prunable:
            continue
        n_weights = entry.stop - entry.start
        for task in range(n_tasks):  # rounding never adds up to more than one weight of a task
            assert (owner[entry.name] == task).sum().item() == pytest.approx(shares[task] * n_weights, abs=1)
        free = (owner[entry.name] == FREE).sum().item()
        assert free == pytest.approx(shares[n_tasks] * n_weights, abs=0 if schedule == "equal" else n_tasks / 2)


def test_equal_heeds_the_rate_only_where_it_is_0() -> None:
    stream = small_stream()
    low, high, off = (
        finish(make_pack(stream, ("packnet",), packnet_schedule="equal", packnet_rate=rate)) for rate in (0.2, 0.8, 0.0)
    )
    assert outcomes(low) == outcomes(high)
    assert torch.equal(weights(low), weights(high))
    assert_same(off, finish(make_pack(stream)))


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("retrain", [0.0, 1 / 3, 0.99])
@pytest.mark.parametrize("names", COMPOSED, ids="+".join)
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_frozen_weights_do_not_move_by_a_bit(
    optimizer: str, names: tuple[str, ...], retrain: float, schedule: str
) -> None:
    given: dict[str, Value] = {"optimizer": optimizer, "weight_decay": 0.1}
    given |= {"packnet_retrain_frac": retrain, "packnet_schedule": schedule}
    if "ewc" in names:
        given |= {"ewc_lambda": 100.0}
    pack = make_pack(small_stream(), names, **given)
    stream = pack.stream
    frozen, predicted = [], []
    for task in range(3):
        pack.train_next_task()
        owner = pack.stack.states["packnet"]["owner"][0]
        frozen.append((owner == task, pack.stack.theta[0][owner == task].clone()))
        predicted.append(pack.predictions(task))
        assert (pack.stack.theta[0][owner == FREE] == 0).all()
        for k, (where, value) in enumerate(frozen):
            assert torch.equal(pack.stack.theta[0][where], value), (task, k)
            assert torch.equal(pack.predictions(k), predicted[k])
        biases = [e.where for e in pack.context.layout.entries if e.name.startswith("body") and e.name.endswith("bias")]
        assert all(frozen[0][0][where].all() for where in biases)
    matrix = np.array(pack.records[0].test)[1:]
    assert all(len(set(matrix[i:, i])) == 1 for i in range(len(stream.tasks)))


def test_free_weights_stay_at_zero_while_a_task_is_retrained() -> None:
    """The cut weights are zero at the end, so the retraining ran without them; they move again in the next task."""
    pack = make_pack(small_stream(), ("packnet",), curves=0)
    pack.train_next_task()
    free = pack.stack.states["packnet"]["owner"][0] == FREE
    assert (pack.stack.theta[0][free] == 0).all()
    pack.train_next_task()
    taken = free & (pack.stack.states["packnet"]["owner"][0] == 1)
    assert (pack.stack.theta[0][taken] != 0).any()


def test_tasks_that_share_a_class_are_refused() -> None:
    tasks = [Task(str(k), (0, 1), *(np.arange(6 * k + 2 * p, 6 * k + 2 * p + 2) for p in range(3))) for k in range(2)]
    stream = Stream("shared", torch.randn(12, 4), torch.arange(12) % 2, tuple(tasks))
    with pytest.raises(InputError, match="each class must belong to one task"):
        make_pack(stream, ("packnet",))
