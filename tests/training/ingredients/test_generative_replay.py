"""The autoencoder against the formula and against torch's own Adam; and what is made up from it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import vmap
from torch.nn import functional

from cfsweep.config import SCENARIOS, NetworkConfig, Scenario, StreamConfig
from cfsweep.errors import InputError
from cfsweep.hypers import Value
from cfsweep.metrics import average_accuracy
from cfsweep.testing.packs import (
    CNN,
    MLP,
    SHAPE,
    UNLIFTABLE,
    assert_same,
    finish,
    make_pack,
    restored,
    small_stream,
    varied_runs,
)
from cfsweep.training.engine.randomness import generator
from cfsweep.training.ingredients import Drawn, registry
from cfsweep.training.ingredients._vae import LR, Vae
from cfsweep.training.ingredients.generative_replay import GenerativeReplay
from cfsweep.training.loop import TaskLoop
from cfsweep.training.pack import Pack
from cfsweep.training.replay_draws import ReplayDraws
from cfsweep.training.spec import score_rows
from cfsweep.training.streams import load_stream


class Twin(nn.Module):
    """The same autoencoder in plain PyTorch, with torch's own distributions."""

    def __init__(self, vae: Vae, weights: Tensor) -> None:
        super().__init__()
        sizes = [shape for shape in vae.shapes if len(shape) == 2]
        self.layers = nn.ModuleList(nn.Linear(*size) for size in sizes)
        at = 0
        with torch.no_grad():
            for layer in self.layers:
                assert isinstance(layer, nn.Linear)
                n = layer.weight.numel()
                layer.weight.copy_(weights[at : at + n].view(layer.in_features, layer.out_features).T)
                layer.bias.copy_(weights[at + n : at + n + layer.out_features])
                at += n + layer.out_features
        assert at == len(weights) == vae.size

    def loss(self, x: Tensor, noise: Tensor) -> Tensor:
        first, code, third, last = self.layers
        mean, log_variance = code(first(x).relu()).chunk(2, -1)
        posterior = torch.distributions.Normal(mean, (log_variance / 2).exp())
        prior = torch.distributions.Normal(torch.zeros_like(mean), torch.ones_like(mean))
        inputs = torch.distributions.Normal(last(third(mean + posterior.stddev * noise).relu()), 1.0)
        bound = inputs.log_prob(x).sum(-1) - torch.distributions.kl_divergence(posterior, prior).sum(-1)
        return -bound.mean() - 0.5 * x.shape[1] * math.log(2 * math.pi)

    def weights(self) -> Tensor:
        pieces = [p for layer in self.layers for p in (layer.weight.T.flatten(), layer.bias)]  # type: ignore[union-attr, operator]
        return torch.cat(pieces).detach()


def test_the_loss_worked_out_by_hand() -> None:
    """One input, one hidden unit, one number as code; x = 2, noise = 0.5.

    Encoder: relu(1·2 + 1) = 3; mean = 0.5·3 - 1 = 0.5, log variance = 0·3 + log 4, so the deviation is 2.
    Code: 0.5 + 2·0.5 = 1.5. Decoder: relu(2·1.5 - 1) = 2; 3·2 - 1 = 5. Error: ½·(2 - 5)² = 4.5.
    Divergence: ½·(0.25 + 4 - 1 - log 4).
    """
    vae = Vae(1, 1, 1)
    weights = torch.tensor([1.0, 1.0, 0.5, 0.0, -1.0, math.log(4.0), 2.0, -1.0, 3.0, -1.0])
    assert vae.size == 10
    assert vae.decoder_size == 4
    assert vae.decode(weights[6:], torch.tensor([[1.5]])).item() == 5.0
    mean, log_variance = vae.encode(weights, torch.tensor([[2.0]]))
    assert (mean.item(), log_variance.item()) == (0.5, pytest.approx(math.log(4.0)))
    expected = 4.5 + 0.5 * (0.25 + 4 - 1 - math.log(4.0))
    assert vae.loss(weights, torch.tensor([[2.0]]), torch.tensor([[0.5]])).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_the_loss_is_the_bound_of_torch_distributions(seed: int) -> None:
    torch.manual_seed(seed)
    vae = Vae(12, 7, 3)
    weights = 0.5 * torch.randn(vae.size)
    x, noise = torch.randn(9, 12), torch.randn(9, 3)
    torch.testing.assert_close(vae.loss(weights, x, noise), Twin(vae, weights).loss(x, noise), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("batch_size", [4, 10, 64])
@pytest.mark.parametrize("seed", range(3))
def test_training_is_that_of_torch_optim_adam(seed: int, batch_size: int) -> None:
    torch.manual_seed(seed)
    vae, epochs = Vae(12, 7, 3), 5
    x, noise = torch.randn(10, 12), torch.randn(10, epochs * 4)
    twin = Twin(vae, vae.initial)
    optimizer = torch.optim.Adam(twin.parameters(), lr=LR)
    for epoch in range(epochs):
        codes, keys = noise[:, 4 * epoch : 4 * epoch + 3], noise[:, 4 * epoch + 3].tolist()
        order = sorted(range(10), key=keys.__getitem__)
        for at in range(0, 10, batch_size):
            chosen = order[at : at + batch_size]
            optimizer.zero_grad()
            twin.loss(x[chosen], codes[chosen]).backward()
            optimizer.step()
    trained = vae.trained(x, noise, epochs, batch_size)
    assert not torch.allclose(trained, vae.initial, atol=1e-3)
    torch.testing.assert_close(trained, twin.weights(), rtol=1e-3, atol=1e-5)
    lifted = vmap(lambda x, noise: vae.trained(x, noise, epochs, batch_size))(x[None], noise[None])[0]
    torch.testing.assert_close(lifted, trained, rtol=1e-3, atol=1e-5)


def test_it_begins_as_linear_layers_do() -> None:
    vae = Vae(30, 20, 4)
    at = 0
    for n_in, n_out in ((30, 20), (20, 8), (4, 20), (20, 30)):
        piece = vae.initial[at : at + (n_in + 1) * n_out]
        assert 0.9 / n_in**0.5 < piece.abs().max() <= 1 / n_in**0.5
        assert abs(piece.mean()) < 0.1 / n_in**0.5
        at += (n_in + 1) * n_out
    assert at == vae.size
    assert torch.equal(Vae(30, 20, 4).initial, vae.initial)


def generative(pack: Pack) -> GenerativeReplay:
    (ingredient,) = pack.context.ingredients
    assert isinstance(ingredient, GenerativeReplay)
    return ingredient


def test_decoders_are_those_of_each_task_alone() -> None:
    stream = small_stream()
    pack = make_pack(stream, ("generative-replay",), varied_runs(("generative-replay",), 2))
    ingredient = generative(pack)
    kept = torch.zeros(2, 3, ingredient._vae.decoder_size)
    for task in range(3):
        pack.train_next_task()
        for run in range(2):
            noise = noise_of(pack, run, task, epoch=0)
            x = pack.context.store[torch.from_numpy(stream.tasks[task].train)].flatten(1)
            trained = ingredient._vae.trained(x, noise, 2, 5)
            kept[run, task] = trained[-ingredient._vae.decoder_size :]
        found = pack.stack.states["generative-replay"]["decoders"][torch.from_numpy(pack.stack.row_of)]
        torch.testing.assert_close(found, kept, rtol=1e-3, atol=1e-5)
    on = [run.numbers["generative_weight"] > 0 for run in pack.spec.runs]
    assert [record.stored_bytes for record in pack.records] == [4 * kept[0].numel() * is_on for is_on in on]


def noise_of(pack: Pack, run: int, task: int, epoch: int) -> Tensor:
    shape = (len(pack.stream.tasks[task].train), generative(pack).n_noise())
    rng = generator(pack.spec.runs[run].seed, "noise", task, epoch)
    return torch.from_numpy(rng.standard_normal(shape, np.float32))


@pytest.mark.parametrize("network", [MLP, CNN, UNLIFTABLE], ids=["mlp", "cnn", "unliftable"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_what_is_made_up_and_how_it_is_labelled(scenario: Scenario, network: NetworkConfig) -> None:
    pack = make_pack(small_stream(), ("generative-replay",), scenario=scenario, network=network)
    ingredient = generative(pack)
    pack.train_next_task()
    pack.train_next_task()
    pack.context.lifted.module.eval()
    theta, decoders = pack.stack.theta[0], pack.stack.states["generative-replay"]["decoders"][0]
    noise = noise_of(pack, 0, 2, epoch=1)
    with torch.no_grad():
        values = {"generative_weight": torch.ones(())}
        x, labels, mask = ingredient.generate(theta, {"decoders": decoders}, values, 2, noise)
    assert x.shape == (22, *SHAPE)
    masks = pack.context.outputs.masks
    for k in range(22):  # the first half from task 0, the other from task 1
        old, code = (0, noise[2 * k, :3]) if k < 11 else (1, noise[2 * (k - 11) + 1, :3])
        alone = ingredient._vae.decode(decoders[old], code[None]).view(1, *SHAPE)
        torch.testing.assert_close(x[k : k + 1], alone, rtol=1e-4, atol=1e-5)
        logits = pack.context.lifted.one(pack.context.layout.unflatten(theta), x[k : k + 1])[0].detach()
        active_before = masks[1, old].nonzero().flatten().tolist()
        assert logits[labels[k]] >= max(logits[c].item() for c in active_before) - 1e-5
        assert labels[k] in active_before
        assert torch.equal(mask[k], masks[2, old])


def test_loss_by_hand() -> None:
    """Two examples, weight 3. The outputs 0 and 1 are active for the first: log(1 + e²) - 2 for its label 1, with the
    logits (0, 2, 50). The label of the other is 2, all are active and alike: log 3. The mean is half of the sum."""
    ingredient = generative(make_pack(small_stream(), ("generative-replay",)))
    logits = torch.tensor([[0.0, 2.0, 50.0], [1.0, 1.0, 1.0]])
    drawn = Drawn(torch.tensor([1, 2]), torch.tensor([[True, True, False], [True, True, True]]), logits, logits)
    loss = ingredient.replay_loss(drawn, {"generative_weight": torch.tensor(3.0)})
    assert loss.item() == pytest.approx(3 * 0.5 * (math.log(1 + math.e**2) - 2 + math.log(3)), rel=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_loss_is_torch_s_cross_entropy_among_the_active_outputs(seed: int) -> None:
    torch.manual_seed(seed)
    ingredient = generative(make_pack(small_stream(), ("generative-replay",)))
    logits, mask = torch.randn(8, 6), torch.tensor([True, True, True, False, True, False]).expand(8, 6)
    labels = torch.tensor([0, 1, 2, 4])[torch.randint(4, (8,))]
    expected = 0.7 * functional.cross_entropy(logits.masked_fill(~mask, -torch.inf), labels)
    found = ingredient.replay_loss(Drawn(labels, mask, logits, logits), {"generative_weight": torch.tensor(0.7)})
    torch.testing.assert_close(found, expected)


def test_a_task_with_made_up_examples_against_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Task 1 by torch's SGD on the batch's loss plus that of the examples drawn, one step after the other."""
    stream = small_stream(n_tasks=2)
    given = {"optimizer": "sgd", "momentum": 0.0, "lr": 0.02, "generative_weight": 0.6}
    pack = make_pack(stream, ("generative-replay",), scenario="class-il", **given)
    pack.train_next_task()
    seen: list[tuple[ReplayDraws, TaskLoop]] = []
    original = TaskLoop.run

    def spy(self: TaskLoop) -> None:
        seen.append((self.losses.replays["generative-replay"][1], self))
        original(self)

    monkeypatch.setattr(TaskLoop, "run", spy)
    leaf = {k: v.clone().requires_grad_() for k, v in pack.context.layout.unflatten(pack.stack.theta[0]).items()}
    pack.train_next_task()
    draws, loop = seen[0]
    mask, step = pack.context.outputs.masks[1, 1], 0
    for epoch in loop.orders[0]:
        for chosen in epoch.split(5):
            logits = pack.context.lifted.one(leaf, pack.context.store[chosen]).masked_fill(~mask, -torch.inf)
            old = draws.examples(step)
            assert old.labels.shape == (1, 5)
            again = pack.context.lifted.one(leaf, old.x[0]).masked_fill(~old.mask[0], -torch.inf)
            loss = functional.cross_entropy(logits, pack.context.outputs.labels[chosen])
            loss = loss + 0.6 * functional.cross_entropy(again, old.labels[0])
            gradients = torch.autograd.grad(loss, list(leaf.values()))
            leaf = {
                k: (v - 0.02 * g).detach().requires_grad_() for (k, v), g in zip(leaf.items(), gradients, strict=True)
            }
            step += 1
    expected = pack.context.layout.flatten({name: value.detach() for name, value in leaf.items()})
    torch.testing.assert_close(pack.stack.theta[0], expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_network_that_cannot_be_lifted(scenario: Scenario) -> None:
    stream = small_stream()
    whole = finish(make_pack(stream, ("generative-replay",), scenario=scenario, network=UNLIFTABLE))
    pack = make_pack(stream, ("generative-replay",), scenario=scenario, network=UNLIFTABLE)
    while not pack.done:
        pack.train_next_task()
        pack = restored(pack)
    assert_same(pack, whole)
    off = finish(
        make_pack(stream, ("generative-replay",), scenario=scenario, network=UNLIFTABLE, generative_weight=0.0)
    )
    assert_same(off, finish(make_pack(stream, scenario=scenario, network=UNLIFTABLE)))


def test_off_stays_off_when_the_autoencoder_breaks_down(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Vae.trained
    monkeypatch.setattr(Vae, "trained", lambda *a: original(*a) * torch.nan)
    stream = small_stream()
    off = finish(make_pack(stream, ("generative-replay",), generative_weight=0.0))
    assert_same(off, finish(make_pack(stream)))
    on = finish(make_pack(stream, ("generative-replay",)))
    assert on.records[0].failure is not None
    assert "the loss was not finite at task 1, step 1" in on.records[0].failure


def test_it_never_sees_old_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `consolidate` is shown is the ended task's training data, wholly and alone; batches are the task's own."""
    stream = small_stream()
    shown: list[Tensor] = []
    original = GenerativeReplay.consolidate

    def spy(self: GenerativeReplay, *given: Any) -> dict[str, Tensor]:
        shown.append(given[-1].x)
        return original(self, *given)

    monkeypatch.setattr(GenerativeReplay, "consolidate", spy)
    pack = make_pack(stream, ("generative-replay",), network=UNLIFTABLE)  # called as it is, so that tensors can be kept
    finish(pack)
    for task, x in enumerate(shown):
        assert torch.equal(x, pack.context.store[torch.from_numpy(stream.tasks[task].train)])
    assert pack.stack.buffers["generative-replay"][0].indices.size == 0


def test_bad_values_are_refused() -> None:
    hypers = {hyper.name: hyper for hyper in registry["generative-replay"].hypers}
    bad = {
        "generative_weight": (-0.1, float("inf"), float("nan"), "1"),
        "generative_epochs": (0, 2.5, True),
        "generative_hidden": (0, -3),
        "generative_latent": (0, 0.5),
    }
    assert bad.keys() == hypers.keys()
    for name, values in bad.items():
        for value in values:
            with pytest.raises(InputError, match=name):
                hypers[name].check(value, "here")


def test_it_holds_what_plain_training_forgets() -> None:
    stream = load_stream(StreamConfig(name="split-digits"))
    network = NetworkConfig(name="mlp", args={"hidden": [64]})
    given: dict[str, Value] = {"epochs": 6, "batch_size": 32, "lr": 1e-3}
    defaults: dict[str, Value] = {hyper.name: hyper.default for hyper in registry["generative-replay"].hypers}
    averages = []
    for names, own in (((), {}), (("generative-replay",), defaults)):
        pack = finish(make_pack(stream, names, scenario="class-il", network=network, **{**given, **own}))
        averages.append(average_accuracy(score_rows(pack.records[0].test, len(stream.tasks))[1:]))
    naive, lifted = averages
    assert naive < 0.25
    assert lifted > 0.75
