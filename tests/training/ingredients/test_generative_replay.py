"""The autoencoder against the formula and against torch's own Adam; what is made up from it; whole runs against a plain
loop."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import vmap
from torch.nn import functional

from cfsweep.config import SCENARIOS, NetworkConfig, Scenario, StreamConfig
from cfsweep.errors import InputError
from cfsweep.hypers import Value
from cfsweep.metrics import average_score
from cfsweep.testing import PlainLoop, twins_agree, values_of
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
)
from cfsweep.training.engine.randomness import generator
from cfsweep.training.ingredients import Drawn, registry
from cfsweep.training.ingredients._shares import loss_shares
from cfsweep.training.ingredients._vae import LR, Vae
from cfsweep.training.ingredients.generative_replay import GenerativeReplay
from cfsweep.training.pack import Pack
from cfsweep.training.spec import RunSpec, score_rows
from cfsweep.training.streams import Task, load_stream

# ------------------------------------------------------------------------------------------------- the autoencoder


class Twin(nn.Module):
    """The same autoencoder in plain PyTorch, with torch's own distributions."""

    def __init__(self, vae: Vae, weights: Tensor) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(*shape) for shape in vae.shapes if len(shape) == 2)
        at = 0
        with torch.no_grad():
            for layer in self.layers:
                assert isinstance(layer, nn.Linear)
                n = layer.weight.numel()
                layer.weight.copy_(weights[at : at + n].view(layer.in_features, layer.out_features).T)
                layer.bias.copy_(weights[at + n : at + n + layer.out_features])
                at += n + layer.out_features
        assert at == len(weights) == vae.size

    def through(self, half: int, x: Tensor) -> Tensor:
        n = len(self.layers) // 2
        *hidden, last = self.layers[half * n : (half + 1) * n]
        for layer in hidden:
            x = layer(x).relu()
        out: Tensor = last(x)
        return out

    def loss(self, x: Tensor, noise: Tensor) -> Tensor:
        mean, log_variance = self.through(0, x).chunk(2, -1)
        posterior = torch.distributions.Normal(mean, (log_variance / 2).exp())
        prior = torch.distributions.Normal(torch.zeros_like(mean), torch.ones_like(mean))
        inputs = torch.distributions.Normal(self.through(1, mean + posterior.stddev * noise), 1.0)
        bound = inputs.log_prob(x).sum(-1) - torch.distributions.kl_divergence(posterior, prior).sum(-1)
        return -bound.mean() - 0.5 * x.shape[1] * math.log(2 * math.pi)

    def learn(self, x: Tensor, share: float, noise: Tensor, epochs: int, batch_size: int) -> None:
        """Epochs of torch's Adam; of the loss `share` is that of x, the rest that of as many examples that a copy of
        what it is now makes up."""
        optimizer, teacher = torch.optim.Adam(self.parameters(), lr=LR), copy.deepcopy(self)
        width = noise.shape[1] // epochs
        for epoch in range(epochs):
            columns = noise[:, epoch * width : (epoch + 1) * width]
            keys, half = columns[:, -1].tolist(), width // 2
            order = sorted(range(len(noise)), key=keys.__getitem__)
            for at in range(0, len(order), batch_size):
                chosen = order[at : at + batch_size]
                to_encode, codes = columns[chosen, :half], columns[chosen, half:-1]
                optimizer.zero_grad()
                total = share * self.loss(x[chosen], to_encode)
                if share < 1:
                    made_up = teacher.through(1, codes).detach()
                    total = total + (1 - share) * self.loss(made_up, to_encode)
                total.backward()  # type: ignore[no-untyped-call]
                optimizer.step()

    def weights(self) -> Tensor:
        pieces = [p for layer in self.layers for p in (layer.weight.T.flatten(), layer.bias)]  # type: ignore[union-attr, operator]
        return torch.cat(pieces).detach()


def test_the_loss_worked_out_by_hand() -> None:
    """One input, one hidden unit, one number as code; x = 2, noise = 0.5.

    Encoder: relu(1·2 + 1) = 3; mean = 0.5·3 - 1 = 0.5, log variance = 0·3 + log 4, so the deviation is 2.
    Code: 0.5 + 2·0.5 = 1.5. Decoder: relu(2·1.5 - 1) = 2; 3·2 - 1 = 5. Error: ½·(2 - 5)² = 4.5.
    Divergence: ½·(0.25 + 4 - 1 - log 4).
    """
    vae = Vae(1, 1, 1, 1)
    weights = torch.tensor([1.0, 1.0, 0.5, 0.0, -1.0, math.log(4.0), 2.0, -1.0, 3.0, -1.0])
    assert vae.size == 10
    assert vae.decoder_size == 4
    assert vae.decode(weights, torch.tensor([[1.5]])).item() == 5.0
    mean, log_variance = vae.encode(weights, torch.tensor([[2.0]]))
    assert (mean.item(), log_variance.item()) == (0.5, pytest.approx(math.log(4.0)))
    expected = 4.5 + 0.5 * (0.25 + 4 - 1 - math.log(4.0))
    assert vae.losses(weights, torch.tensor([[2.0]]), torch.tensor([[0.5]])).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("n_layers", [1, 2, 3])
@pytest.mark.parametrize("seed", range(3))
def test_the_loss_is_the_bound_of_torch_distributions(seed: int, n_layers: int) -> None:
    torch.manual_seed(seed)
    vae = Vae(12, n_layers, 7, 3)
    weights = 0.5 * torch.randn(vae.size)
    x, noise = torch.randn(9, 12), torch.randn(9, 3)
    expected = Twin(vae, weights).loss(x, noise)
    torch.testing.assert_close(vae.losses(weights, x, noise).mean(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("batch_size", [4, 10, 64])
@pytest.mark.parametrize("share", [1.0, 0.25])
@pytest.mark.parametrize("seed", range(2))
def test_training_is_that_of_torch_optim_adam(seed: int, share: float, batch_size: int) -> None:
    torch.manual_seed(seed)
    vae, epochs = Vae(12, 2, 7, 3), 5
    x, noise = torch.randn(10, 12), torch.randn(10, epochs * 7)
    assert vae.n_noise(epochs) == noise.shape[1]
    shares = None if share == 1 else (torch.tensor(share), torch.tensor(1 - share))
    begin = vae.initial + 0.1 * torch.randn(vae.size)
    kept = begin.clone()
    twin = Twin(vae, begin)
    twin.learn(x, share, noise, epochs, batch_size)
    trained = vae.trained(begin, x, shares, noise, epochs, batch_size)
    assert torch.equal(begin, kept), "the weights to begin with are left as they are"
    assert not torch.allclose(trained, begin, atol=1e-3)
    torch.testing.assert_close(trained, twin.weights(), rtol=1e-3, atol=1e-5)
    given = (begin[None], x[None], noise[None])
    lifted = vmap(lambda w, x, noise: vae.trained(w, x, shares, noise, epochs, batch_size))(*given)[0]
    torch.testing.assert_close(lifted, trained, rtol=1e-3, atol=1e-5)


def test_it_begins_as_linear_layers_do() -> None:
    vae = Vae(30, 2, 20, 4)
    at = 0
    for n_in, n_out in ((30, 20), (20, 20), (20, 8), (4, 20), (20, 20), (20, 30)):
        piece = vae.initial[at : at + (n_in + 1) * n_out]
        assert 0.9 / n_in**0.5 < piece.abs().max() <= 1 / n_in**0.5
        assert abs(piece.mean()) < 0.1 / n_in**0.5
        at += (n_in + 1) * n_out
    assert at == vae.size
    assert torch.equal(Vae(30, 2, 20, 4).initial, vae.initial)


# ------------------------------------------------------------------------------------------- made-up examples


@pytest.mark.parametrize(("weight", "task", "new"), [(1.0, 1, 1 / 2), (1.0, 4, 0.2), (0.5, 2, 1 / 2), (2.0, 3, 1 / 7)])
def test_shares_by_hand(weight: float, task: int, new: float) -> None:
    found = [share.item() for share in loss_shares(torch.tensor(weight), task)]
    assert found == [pytest.approx(new, rel=1e-6), pytest.approx(1 - new, rel=1e-6)]


def generative(pack: Pack) -> GenerativeReplay:
    (ingredient,) = pack.context.ingredients
    assert isinstance(ingredient, GenerativeReplay)
    return ingredient


@pytest.mark.parametrize("labels", ["hard", "distilled"])
@pytest.mark.parametrize("network", [MLP, CNN, UNLIFTABLE], ids=["mlp", "cnn", "unliftable"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_what_is_made_up_and_how_it_is_labelled(scenario: Scenario, network: NetworkConfig, labels: str) -> None:
    pack = make_pack(
        small_stream(), ("generative-replay",), scenario=scenario, network=network, generative_labels=labels
    )
    ingredient = generative(pack)
    pack.train_next_task()
    pack.train_next_task()
    pack.context.lifted.module.eval()
    theta, state = pack.stack.theta[0], {k: v[0] for k, v in pack.stack.states["generative-replay"].items()}
    noise = torch.randn(22, ingredient.n_codes())
    with torch.no_grad():
        made_up = ingredient.generate(theta, state, {"generative_weight": torch.ones(())}, 2, noise)
    assert made_up.x.shape == (22, *SHAPE)
    masks, heads = pack.context.outputs.masks, 2 if scenario == "task-il" else 1
    for k, head in np.ndindex(22, heads):
        alone = ingredient._vae.decode(state["generators"][0], noise[k : k + 1]).view(1, *SHAPE)
        torch.testing.assert_close(made_up.x[k : k + 1], alone, rtol=1e-4, atol=1e-5)
        logits = pack.context.lifted.one(pack.context.layout.unflatten(theta), made_up.x[k : k + 1])[0].detach()
        before = masks[1, head].nonzero().flatten().tolist()
        if labels == "hard":
            assert logits[made_up.labels[k, head]] >= max(logits[c].item() for c in before) - 1e-5
            assert made_up.labels[k, head] in before
        else:
            expected = torch.zeros(len(logits))
            expected[before] = torch.softmax(logits[before] / 2, 0)
            torch.testing.assert_close(made_up.labels[k, head], expected, rtol=1e-4, atol=1e-5)
        assert torch.equal(made_up.mask[k, head], masks[2, head])


def of(labels: str) -> GenerativeReplay:
    return generative(make_pack(small_stream(), ("generative-replay",), generative_labels=labels))


def test_hard_loss_by_hand() -> None:
    """Two examples, two old tasks with the outputs {0, 1} and {2, 3}. The first: log(1 + e²) - 2 for its label 1 among
    (0, 2), log 2 among (5, 5). The other: log 2 and log 2. The mean is a quarter of the sum; no weight is in it."""
    logits = torch.tensor([[0.0, 2.0, 5.0, 5.0], [1.0, 1.0, 7.0, 7.0]])
    mask = torch.tensor([[[True, True, False, False], [False, False, True, True]]]).expand(2, -1, -1)
    drawn = Drawn(torch.tensor([[1, 2], [0, 3]]), mask, logits, logits)
    loss = of("hard").replay_loss(drawn, {"generative_weight": torch.tensor(3.0)})
    assert loss.item() == pytest.approx(0.25 * (math.log(1 + math.e**2) - 2 + 3 * math.log(2)), rel=1e-6)


def test_distilled_loss_by_hand() -> None:
    """p = (3/4, 1/4, 0) and now, at T = 2, (1/4, 1/4, 1/2): 4 · (log 4), as both old outputs have 1/4."""
    logits = torch.tensor([[0.0, 0.0, 2 * math.log(2.0)]])
    drawn = Drawn(torch.tensor([[[0.75, 0.25, 0.0]]]), torch.ones(1, 1, 3, dtype=torch.bool), logits, logits)
    loss = of("distilled").replay_loss(drawn, {"generative_weight": torch.tensor(3.0)})
    assert loss.item() == pytest.approx(4 * math.log(4), rel=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_loss_is_torch_s_cross_entropy_among_the_active_outputs(seed: int) -> None:
    torch.manual_seed(seed)
    logits, mask = torch.randn(8, 6), torch.tensor([True, True, True, False, True, False]).expand(8, 1, 6)
    labels = torch.tensor([0, 1, 2, 4])[torch.randint(4, (8, 1))]
    among = logits.masked_fill(~mask[:, 0], -torch.inf)
    found = of("hard").replay_loss(Drawn(labels, mask, logits, logits), {})
    torch.testing.assert_close(found, functional.cross_entropy(among, labels[:, 0]))
    p = torch.softmax(torch.randn(8, 6).masked_fill(~mask[:, 0], -torch.inf), 1)
    apart = functional.cross_entropy(logits[:, [0, 1, 2, 4]] / 2, p[:, [0, 1, 2, 4]])
    found = of("distilled").replay_loss(Drawn(p.unsqueeze(1), mask, logits, logits), {})
    torch.testing.assert_close(found, 4 * apart)


# ------------------------------------------------------------------------------------------------- whole runs


class PlainGenerativeReplay(PlainLoop):
    """One autoencoder, which learns on when a task has ended; each step makes up new examples, which the network labels
    as it was before the task."""

    def start(self) -> None:
        v = {name: int(self.values[f"generative_{name}"]) for name in ("layers", "hidden", "latent", "epochs")}
        self.latent, self.passes = v["latent"], v["epochs"]
        self.vae = Vae(math.prod(self.stream.input_shape), v["layers"], v["hidden"], v["latent"])
        self.shared = self.values["generative_generator"] == "shared"
        self.twins = [Twin(self.vae, self.vae.initial) for _ in ([0] if self.shared else self.stream.tasks[1:])]

    def share(self, n_old: int) -> float:
        return 1 / (1 + float(self.values["generative_weight"]) * n_old)

    def train_task(self, number: int) -> None:
        self.number, self.step, self.before = number, 0, copy.deepcopy(self.network)
        super().train_task(number)

    def made_up(self) -> list[tuple[int, Tensor]]:
        """The examples of the next step, each with the task whose decoder made it: of one epoch's codes the k-th lot,
        which goes to the decoders in equal parts."""
        size = int(self.values["batch_size"])
        per_epoch = self.n_steps(self.number) // int(self.values["epochs"])
        epoch, step = divmod(self.step, per_epoch)
        self.step += 1
        n, number, seed = per_epoch * size, self.number, self.run.seed
        codes = torch.from_numpy(
            generator(seed, "noise", number, 1 + epoch).standard_normal((n, self.latent), np.float32)
        )
        # Of the codes, in the order of the decoders that they go to, each is taken once.
        of = [0] * n if self.shared else [k % number for k in range(n)]
        by_decoder = sorted(range(n), key=of.__getitem__)
        order = generator(seed, "draw", number, epoch).permutation(n)
        taken = [by_decoder[place] for place in order[step * size : (step + 1) * size]]
        with torch.no_grad():
            return [(of[k], self.twins[of[k]].through(1, codes[k : k + 1])) for k in taken]

    def end_task(self, number: int, task: Task) -> None:
        if number == len(self.stream.tasks) - 1:
            return
        x = self.x[task.train].flatten(1)
        width = self.passes * (2 * self.latent + 1)
        noise = torch.from_numpy(generator(self.run.seed, "noise", number).standard_normal((len(x), width), np.float32))
        twin, share = (self.twins[0], self.share(number)) if self.shared else (self.twins[number], 1.0)
        twin.learn(x, share, noise, self.passes, int(self.values["batch_size"]))

    def batch_loss(self, indices: NDArray[np.int64], learned: int) -> Tensor:
        loss, n_old = super().batch_loss(indices, learned), learned - 1
        if n_old == 0:
            return loss
        losses = []
        for source, example in self.made_up():
            x = example.view(1, *self.stream.input_shape)
            now, before = self.network(x)[0], self.before(x)[0].detach()
            heads = list(range(n_old)) if self.shared else [source]
            for head in heads if self.scenario == "task-il" else [0]:
                old, among = self.active(head, learned - 1), self.active(head, learned)
                assert among[: len(old)] == old
                if self.values["generative_labels"] == "hard":
                    losses.append(functional.cross_entropy(now[among], before[old].argmax()))
                else:
                    p = torch.zeros(len(among))
                    p[: len(old)] = torch.softmax(before[old] / 2, 0)
                    losses.append(4 * functional.cross_entropy(now[among] / 2, p))
        share = self.share(n_old)
        return share * loss + (1 - share) * torch.stack(losses).mean()


@pytest.mark.parametrize("kind", ["shared", "per-task"])
@pytest.mark.parametrize("labels", ["hard", "distilled"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_whole_run_is_that_of_a_plain_loop(scenario: Scenario, labels: str, kind: str) -> None:
    given: dict[str, Value] = {"optimizer": "sgd", "lr": 0.02, "generative_weight": 0.7, "generative_layers": 2}
    given |= {"generative_labels": labels, "generative_generator": kind}
    run = RunSpec(0, 3, values_of(("generative-replay",), **given))
    pack, plain = twins_agree(("generative-replay",), PlainGenerativeReplay, small_stream(n_tasks=4), run, scenario)
    assert isinstance(plain, PlainGenerativeReplay)
    found = pack.stack.states["generative-replay"]["generators"][0]
    kept = plain.vae.size if kind == "shared" else plain.vae.decoder_size
    expected = torch.stack([twin.weights()[-kept:] for twin in plain.twins])
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)
    assert not torch.allclose(found, plain.vae.initial[-kept:], atol=1e-3)
    labeller = pack.context.layout.size  # the previous network
    assert pack.records[0].stored_bytes == 4 * (kept * (1 if kind == "shared" else 3) + labeller)


def test_a_task_is_learned_beside_the_old_ones_and_the_last_one_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first task alone, the second one beside the first with shares of 1/2; nobody replays the last one."""
    seen: list[list[float]] = []
    original = Vae.trained

    def spy(self: Vae, weights: Tensor, x: Tensor, shares: Any, *rest: Any) -> Tensor:
        seen.append([float(share) for share in shares or ()])
        return original(self, weights, x, shares, *rest)

    monkeypatch.setattr(Vae, "trained", spy)
    finish(make_pack(small_stream(), ("generative-replay",), network=UNLIFTABLE))  # called as it is, without vmap
    assert seen == [[], [0.5, 0.5]]


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
        "generative_generator": ("one", True),
        "generative_labels": ("soft", 1),
        "generative_epochs": (0, 2.5, True),
        "generative_layers": (0, 1.5),
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
    defaults["generative_epochs"] = 60  # of 250 examples each
    averages = []
    for names, own in (((), {}), (("generative-replay",), defaults)):
        pack = finish(make_pack(stream, names, scenario="class-il", network=network, **{**given, **own}))
        averages.append(average_score(score_rows(pack.records[0].test, len(stream.tasks))[1:]))
    naive, lifted = averages
    assert naive < 0.25
    assert lifted > 0.75
