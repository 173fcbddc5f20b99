"""Adapters: the bottleneck by hand, where it sits, and what it promises."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from cfsweep.config import NetworkConfig
from cfsweep.errors import InputError
from cfsweep.hypers import Value
from cfsweep.testing.packs import (
    CNN,
    MLP,
    SHAPE,
    assert_same,
    finish,
    make_pack,
    small_stream,
    values_of,
    varied_runs,
)
from cfsweep.training.batches import orders
from cfsweep.training.ingredients import hypers_of, registry
from cfsweep.training.ingredients.adapters import SLOT, Adapters, Bottleneck
from cfsweep.training.networks import build
from cfsweep.training.pack import Pack
from cfsweep.training.spec import RunSpec
from cfsweep.training.streams import Stream, Task

RESNET = NetworkConfig(name="resnet18-slim", args={"width": 4})
COMPOSED: tuple[tuple[str, ...], ...] = (("adapters",), ("adapters", "ewc", "replay"))


def late_head(input_shape: tuple[int, ...], n_outputs: int) -> nn.Module:
    """A network of one's own: its output layer has no name that says so, and attention that must be left alone."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.answer = nn.Linear(8, n_outputs)
            self.first = nn.Linear(int(np.prod(input_shape)), 8)
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            hidden = self.first(x.flatten(1)).relu().unsqueeze(1)
            out: Tensor = self.answer(self.attention(hidden, hidden, hidden, need_weights=False)[0].squeeze(1))
            return out

    return Net()


OWN = NetworkConfig(name="tests.training.ingredients.test_adapters:late_head")


def slots(pack: Pack) -> Tensor:
    """(P,) bool: the weights of the adapters."""
    inside = torch.zeros(pack.context.layout.size, dtype=torch.bool)
    for entry in pack.context.layout.entries:
        inside[entry.where] = SLOT in entry.name
    return inside


def test_a_bottleneck_worked_out_by_hand() -> None:
    """out = (1, 2, -1), down = ((1, 1, 0), (0, 0, 2)), b = (0.5, 1): relu(3.5, -1) = (3.5, 0).

    up = ((1, 9), (-2, 9), (0, 9)), c = (0, 0, 1): the correction is (3.5, -7, 1), at every pixel of an image too.
    """
    bottleneck = Bottleneck(3, 2, -1)
    assert bottleneck(torch.randn(5, 3)).abs().max() == 0, "at first it corrects nothing"
    given = {
        "down": torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 2.0]]),
        "down_bias": torch.tensor([0.5, 1.0]),
        "up": torch.tensor([[1.0, 9.0], [-2.0, 9.0], [0.0, 9.0]]),
        "up_bias": torch.tensor([0.0, 0.0, 1.0]),
    }
    bottleneck.load_state_dict(given)
    out = torch.tensor([[1.0, 2.0, -1.0]])
    assert bottleneck(out).tolist() == [[3.5, -7.0, 1.0]]
    over_channels = Bottleneck(3, 2, -3)
    over_channels.load_state_dict(given)
    image = out[:, :, None, None].expand(1, 3, 4, 5)
    assert torch.equal(over_channels(image), torch.tensor([3.5, -7.0, 1.0])[None, :, None, None].expand(1, 3, 4, 5))


@pytest.mark.parametrize("seed", range(3))
def test_over_channels_it_is_two_1x1_convolutions(seed: int) -> None:
    torch.manual_seed(seed)
    bottleneck = Bottleneck(6, 4, -3)
    for parameter in bottleneck.parameters():
        nn.init.normal_(parameter)
    out = torch.randn(2, 6, 5, 7)
    hidden = functional.conv2d(out, bottleneck.down[:, :, None, None], bottleneck.down_bias).relu()
    expected = functional.conv2d(hidden, bottleneck.up[:, :, None, None], bottleneck.up_bias)
    torch.testing.assert_close(bottleneck(out), expected, rtol=1e-4, atol=1e-5)


def test_the_network_computes_what_a_loop_over_layers_does() -> None:
    torch.manual_seed(0)
    plain = build(MLP, SHAPE, 6)
    extended = Adapters.extend(copy.deepcopy(plain), {"adapter_width": 3}, "head")
    for parameter in extended.parameters():
        nn.init.normal_(parameter, std=0.3)
    weight = dict(extended.named_parameters())
    x = torch.randn(4, *SHAPE)
    hidden = x.flatten(1)
    for name in ("body.1", "body.3"):
        out = hidden @ weight[f"{name}.weight"].T + weight[f"{name}.bias"]
        slot = f"{name}.{SLOT}"
        narrow = (out @ weight[f"{slot}.down"].T + weight[f"{slot}.down_bias"]).relu()
        hidden = (out + narrow @ weight[f"{slot}.up"].T + weight[f"{slot}.up_bias"]).relu()
    torch.testing.assert_close(extended(x), hidden @ weight["head.weight"].T + weight["head.bias"])


@pytest.mark.parametrize("network", [MLP, CNN, RESNET, OWN], ids=["mlp", "cnn", "resnet", "own"])
def test_the_trunk_begins_as_the_plain_network(network: NetworkConfig) -> None:
    stream = small_stream()
    for seed in range(2):
        runs = (RunSpec(0, seed, values_of(("adapters",), adapter_width=6)),)  # as wide as there are outputs
        extended, naive = (
            make_pack(stream, ("adapters",), runs, network=network),
            make_pack(stream, (), runs, network=network),
        )
        mine = extended.context.layout.unflatten(extended.stack.theta[0])
        for name, value in naive.context.layout.unflatten(naive.stack.theta[0]).items():
            assert torch.equal(mine[name], value), name
        assert naive.context.layout.head == extended.context.layout.head
        x = naive.context.store[torch.arange(5)]
        logits = naive.context.lifted.one(naive.context.layout.unflatten(naive.stack.theta[0]), x)
        assert torch.equal(extended.context.lifted.one(mine, x), logits)


def test_every_hidden_layer_has_one_and_the_output_layer_none() -> None:
    for network, expected in (
        (MLP, {"body.1", "body.3"}),
        (CNN, {"body.0", "body.2", "body.6"}),
        (OWN, {"first"}),  # what attention calls is no plain layer
    ):
        pack = make_pack(small_stream(), ("adapters",), network=network, adapter_width=6)
        found = {e.layer.removesuffix(f".{SLOT}") for e in pack.context.layout.entries if SLOT in e.name}
        assert found == expected
        assert pack.context.layout.head == ("answer" if network is OWN else "head")


@pytest.mark.parametrize("names", COMPOSED, ids="+".join)
@pytest.mark.parametrize(
    ("optimizer", "network"),
    [("sgd", MLP), ("adamw", MLP), ("adamw", CNN), ("adamw", OWN)],
    ids=["sgd-mlp", "adamw-mlp", "adamw-cnn", "adamw-own"],
)
def test_a_finished_task_is_answered_the_same_for_ever(
    optimizer: str, network: NetworkConfig, names: tuple[str, ...]
) -> None:
    given: dict[str, Value] = {"optimizer": optimizer, "weight_decay": 0.1}
    pack = make_pack(small_stream(), names, network=network, **given)
    inside, fresh = slots(pack), pack.stack.theta[0].clone()
    trunk = ~inside
    for entry in pack.context.layout.entries:
        trunk[entry.where] &= entry.layer != pack.context.layout.head
    own = torch.tensor(pack.context.ingredients[0].context.output_tasks)
    predicted, after_first = [], torch.empty(0)
    for task in range(3):
        before = pack.stack.theta[0].clone()
        pack.train_next_task()
        theta = pack.stack.theta[0]
        predicted.append(pack.predictions(task))
        if task == 0:
            after_first = theta.clone()
            assert torch.equal(theta[inside], fresh[inside]), "task 0 leaves the adapters at the identity"
            assert not torch.equal(theta[trunk], fresh[trunk])
        else:
            assert torch.equal(theta[trunk], after_first[trunk])
            assert not torch.equal(theta[inside], before[inside])
        for where, owner in pack.context.layout.head_rows(own):
            assert torch.equal(theta[where][owner != task], before[where][owner != task])
            assert not torch.equal(theta[where][owner == task], before[where][owner == task])
        for k in range(task + 1):
            assert torch.equal(pack.predictions(k), predicted[k]), (task, k)
    matrix = np.array(pack.records[0].test)[1:]
    assert all(len(set(matrix[i:, i])) == 1 for i in range(3))


def test_each_task_begins_at_the_identity_and_is_banked() -> None:
    runs = varied_runs(("adapters",), 4)
    pack = make_pack(small_stream(), ("adapters",), runs)
    (adapters,) = pack.context.ingredients
    inside, fresh = slots(pack), pack.stack.theta[:, slots(pack)].clone()
    assert not torch.equal(fresh[0], fresh[1]), "each seed draws its own"
    for task in range(3):
        pack.train_next_task()
        banked = pack.stack.states["adapters"]["bank"]
        for k, row in enumerate(pack.stack.row_of):
            assert torch.equal(banked[row, 0], fresh[k % 2])
            assert torch.equal(banked[row, task], pack.stack.theta[row][inside])
            assert (banked[row, task + 1 :] == 0).all()
            state = {"bank": banked[row]}
            started, _ = adapters.start_task(pack.stack.theta[row], state, {}, 1)
            assert torch.equal(started[inside], fresh[k % 2])
            assert torch.equal(started[~inside], pack.stack.theta[row][~inside])
    assert pack.records[0].stored_bytes == 3 * int(inside.sum()) * 4


def test_a_later_task_is_learned_with_the_trunk_held_still() -> None:
    """A twin: the trunk of the finished task 0 in plain PyTorch, with its own adapters, trained by torch's SGD."""
    stream = small_stream(n_tasks=2)
    pack = make_pack(stream, ("adapters",), optimizer="sgd", momentum=0.0, lr=0.05)
    pack.train_next_task()
    module, mask = copy.deepcopy(pack.context.lifted.module), pack.context.outputs.masks[1, 1]
    with torch.no_grad():
        for name, value in pack.context.layout.unflatten(pack.stack.theta[0]).items():
            module.get_parameter(name).copy_(value)
    moving = [p for name, p in module.named_parameters() if SLOT in name or name.startswith("head")]
    optimizer = torch.optim.SGD(moving, lr=0.05)
    for epoch in orders(pack.stack.representatives, stream.tasks[1].train, 1, 3, 5, [], {})[0]:
        for at in range(0, len(epoch), 5):
            chosen = torch.from_numpy(epoch[at : at + 5])
            optimizer.zero_grad()
            logits = module(pack.context.store[chosen]).masked_fill(~mask, -torch.inf)
            functional.cross_entropy(logits, pack.context.outputs.labels[chosen]).backward()
            optimizer.step()
    pack.train_next_task()
    expected = pack.context.layout.flatten({name: value.detach() for name, value in module.named_parameters()})
    torch.testing.assert_close(pack.stack.theta[0], expected, rtol=1e-4, atol=1e-5)


def test_width_0_and_a_network_without_hidden_layers() -> None:
    stream = small_stream()
    for network in (MLP, CNN, OWN):
        off = finish(make_pack(stream, ("adapters",), network=network, adapter_width=0))
        assert_same(off, finish(make_pack(stream, network=network)))
    linear = NetworkConfig(name="mlp", args={"hidden": []})
    assert finish(make_pack(stream, ("adapters",), network=linear)).records[0].stored_bytes == 0


def test_bad_values_are_refused() -> None:
    (width,) = registry["adapters"].hypers
    for bad in (-1, 1.5, "1", True):
        with pytest.raises(InputError, match="adapter_width"):
            width.check(bad, "here")
    for other, reason in (("packnet", "share them out"), ("freeze", "freezes every layer")):
        with pytest.raises(InputError, match=f"do not go together: .*{reason}"):
            hypers_of((other, "adapters"))


def test_tasks_that_share_a_class_are_refused() -> None:
    tasks = [Task(str(k), (0, 1), *(np.arange(6 * k + 2 * p, 6 * k + 2 * p + 2) for p in range(3))) for k in range(2)]
    stream = Stream("shared", torch.randn(12, 4), torch.arange(12) % 2, tuple(tasks))
    with pytest.raises(InputError, match="each class must belong to one task"):
        make_pack(stream, ("adapters",))
