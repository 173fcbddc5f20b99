"""iCaRL: herding, loss and answers by hand and by the definition; a whole run against a plain loop."""

from __future__ import annotations

import copy
import math
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cfsweep.errors import InputError
from cfsweep.hypers import Value
from cfsweep.testing import PlainLoop, finish, make_pack, small_stream, twins_agree, values_of
from cfsweep.testing.packs import CNN, assert_same, restored
from cfsweep.training import batches
from cfsweep.training.engine.randomness import generator
from cfsweep.training.ingredients import EMPTY_BUFFER, Answers, Buffer, Comparison, Held, hypers_of, registry
from cfsweep.training.ingredients.early_stopping import EarlyStopping
from cfsweep.training.ingredients.icarl import (
    ICaRL,
    first_of_each,
    herding,
    nearness_to_means,
    sigmoid,
    sigmoid_cross_entropy,
)
from cfsweep.training.pack import Pack
from cfsweep.training.spec import RunSpec
from cfsweep.training.streams import Stream, Task
from tests.training.helpers import NETWORK, few_digits

ON, OFF = ({"icarl_budget": torch.tensor(n), "icarl_temperature": torch.tensor(1.0)} for n in (9.0, 0.0))
HUGE = torch.tensor([[3e38, -3e38, 1e30, 0.0, torch.inf, -torch.inf]])


def icarl(stream: Stream | None = None) -> ICaRL:
    (ingredient,) = make_pack(stream or small_stream(), ("icarl",)).context.ingredients
    assert isinstance(ingredient, ICaRL)
    return ingredient


# ------------------------------------------------------------------------------------------------------ herding


def test_herding_by_hand() -> None:
    """Three points on the circle at 0, 60 and 90 degrees. Their mean, (1.5, 1.866)/3, points to 51.2 degrees. The
    nearest is that at 60. With it the one at 0 gives a mean at 30, 21.2 away, that at 90 one at 75, 23.8 away."""
    degrees = np.array([0.0, 60.0, 90.0])
    points = np.stack([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], 1)
    scaled = points * np.array([[5.0], [0.1], [70.0]])  # lengths have no say
    assert herding(scaled.astype(np.float32), 3).tolist() == [1, 0, 2]
    assert herding(scaled.astype(np.float32), 2).tolist() == [1, 0]


def unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    length = math.sqrt(sum(x * x for x in vector))
    return vector / length if length else vector


def algorithm_4(features: NDArray[np.float64], m: int) -> tuple[list[int], list[list[float]]]:
    """One candidate at a time, every mean anew; returns the distances of each round too."""
    units = [unit(feature) for feature in features.astype(np.float64)]
    mu = unit(np.mean(units, axis=0))
    chosen: list[int] = []
    rounds = []
    for _ in range(min(m, len(units))):
        distances = []
        for x in range(len(units)):
            mean = unit(np.mean([units[p] for p in chosen] + [units[x]], axis=0))
            distances.append(math.inf if x in chosen else float(np.linalg.norm(mu - mean)))
        rounds.append(distances)
        chosen.append(distances.index(min(distances)))
    return chosen, rounds


@pytest.mark.parametrize("seed", range(20))
def test_herding_is_algorithm_4(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, d, m = int(rng.integers(1, 30)), int(rng.integers(2, 6)), int(rng.integers(1, 35))
    features = np.maximum(rng.normal(size=(n, d)), 0.0).astype(np.float32)  # as behind a ReLU: some are all zero
    chosen = herding(features, m).tolist()
    assert len(chosen) == len(set(chosen)) == min(m, n)
    for k, place in enumerate(chosen):  # among equals rounding decides, so compare how good the choice was
        units = [unit(f) for f in features.astype(np.float64)]
        mu = unit(np.mean(units, axis=0))
        distances = {
            x: float(np.linalg.norm(mu - unit(np.mean([units[p] for p in chosen[:k]] + [units[x]], axis=0))))
            for x in range(n)
            if x not in chosen[:k]
        }
        assert distances[place] <= min(distances.values()) + 1e-7
    expected, rounds = algorithm_4(features, m)
    if all(np.diff(np.sort([x for x in one if x < math.inf])[:2]).min(initial=1.0) > 1e-7 for one in rounds):
        assert chosen == expected


def test_of_equal_examples_the_first_is_chosen_and_each_once() -> None:
    assert herding(np.ones((4, 3), np.float32), 9).tolist() == [0, 1, 2, 3]
    assert herding(np.zeros((3, 2), np.float32), 2).tolist() == [0, 1]


def test_features_that_are_no_numbers_give_distinct_examples() -> None:
    """A run whose weights have run away is still evaluated within its task."""
    assert sorted(herding(np.full((4, 2), np.nan, np.float32), 3).tolist()) == [0, 1, 2]


# ------------------------------------------------------------------------------------------------------ the loss


def test_loss_by_hand() -> None:
    """Output 0: z = log 3, so σ = 3/4: with q = 1 the loss is log 4/3, with q = 1/2 it is -(log 3/4 + log 1/4)/2.
    Output 1 adds log 2 to both; output 2 has no say."""
    z = torch.tensor([[math.log(3), 0.0, 9.0]] * 2, requires_grad=True)
    q = torch.tensor([[1.0, 0.0, 0.0], [0.5, 1.0, 0.0]])
    loss = sigmoid_cross_entropy(z, q, torch.tensor([True, True, False]))
    first, second = math.log(4 / 3), (math.log(4 / 3) + math.log(4)) / 2
    assert loss.item() == pytest.approx((first + second) / 2 + math.log(2), rel=1e-6)
    (gradient,) = torch.autograd.grad(loss, z)
    torch.testing.assert_close(gradient, torch.tensor([[-0.125, 0.25, 0.0], [0.125, -0.25, 0.0]]))


@pytest.mark.parametrize("seed", range(3))
def test_loss_and_gradient_are_those_of_torch(seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    z = (20 * torch.randn(7, 5, generator=rng)).requires_grad_(True)
    q, among = torch.rand(7, 5, generator=rng), torch.rand(7, 5, generator=rng) > 0.4
    exact = z.detach().double().requires_grad_(True)
    losses = nn.functional.binary_cross_entropy_with_logits(exact, q.double(), reduction="none")
    expected = (losses * among).sum() / 7
    loss = sigmoid_cross_entropy(z, q, among)
    torch.testing.assert_close(loss.double(), expected, rtol=1e-6, atol=1e-6)
    (mine,), (theirs,) = torch.autograd.grad(loss, z), torch.autograd.grad(expected, exact)
    torch.testing.assert_close(mine, theirs.float(), rtol=1e-5, atol=1e-7)


def test_nothing_pulls_where_nothing_has_changed() -> None:
    z = (4 * torch.randn(50, 6)).requires_grad_(True)
    loss = sigmoid_cross_entropy(z, sigmoid(z.detach()), torch.ones(6, dtype=torch.bool))
    assert not torch.autograd.grad(loss, z)[0].any()


def test_sigmoid_rounds_alike_wherever_a_row_lies() -> None:
    z = 5 * torch.randn(6, 5, 7)
    torch.testing.assert_close(sigmoid(z), torch.sigmoid(z), rtol=1e-6, atol=1e-7)
    for kept in ([0], [5], [1, 3], [0, 2, 4, 5]):
        assert torch.equal(sigmoid(z[kept]), sigmoid(z)[kept])


def test_losses_of_new_and_old_outputs_by_hand() -> None:
    """While task 1 is trained its outputs are 2 and 3: an exemplar of class 0 is right at neither, log 2 each, and an
    example of class 3 with σ = 3/4 there has log 4/3 instead of one of them. Old outputs: q = 3/4 where now σ = 1/2."""
    ingredient, seen = icarl(), torch.tensor([[True] * 4 + [False] * 2] * 2)
    z = torch.tensor([[7.0, 7.0, 0.0, 0.0, 5.0, 5.0], [7.0, 7.0, 0.0, math.log(3), 5.0, 5.0]])
    loss = ingredient.batch_loss(z, torch.tensor([0, 3]), seen, ON, 1)
    assert loss.item() == pytest.approx((3 * math.log(2) + math.log(4 / 3)) / 2, rel=1e-6)
    now, before = torch.zeros(2, 6), torch.full((2, 6), math.log(3))
    compared = Comparison(torch.tensor([0, 3]), seen, Answers(now, {}), Answers(before, {}))
    assert ingredient.distillation_loss(compared, ON, 1).item() == pytest.approx(2 * math.log(2), rel=1e-6)
    softer = {**ON, "icarl_temperature": torch.tensor(2.0)}  # old outputs: q = √3/(1 + √3) where σ is 3/4
    now_too = Answers(torch.full((2, 6), math.log(3)), {})
    loss = ingredient.distillation_loss(compared._replace(now=now_too), softer, 1)
    q = math.sqrt(3) / (1 + math.sqrt(3))
    assert loss.item() == pytest.approx(2 * (q * math.log(4 / 3) + (1 - q) * math.log(4)), rel=1e-6)
    now.requires_grad_(True)
    (gradient,) = torch.autograd.grad(ingredient.distillation_loss(compared, ON, 1), now)
    torch.testing.assert_close(gradient, torch.tensor([[-0.125] * 2 + [0.0] * 4] * 2))
    first = ingredient.batch_loss(z, torch.tensor([0, 1]), torch.tensor([[True] * 2 + [False] * 4] * 2), ON, 0)
    assert first.item() == pytest.approx(7 + 2 * math.log1p(math.exp(-7)), rel=1e-6)


def test_a_class_that_comes_again_is_learned_by_its_label_and_not_distilled() -> None:
    """Task 0 has the classes 0 and 1, task 1 the classes 1, 2 and 3: 0 alone is older."""
    stream = small_stream(n_tasks=2)
    (first, second), y = stream.tasks, stream.y.clone()
    y[second.train[0]] = 1
    ingredient = icarl(replace(stream, y=y, tasks=(first, replace(second, classes=(1, 2, 3)))))
    seen, now, before = torch.ones(1, 4, dtype=torch.bool), torch.zeros(1, 4), torch.full((1, 4), math.log(3))
    compared = Comparison(torch.tensor([1]), seen, Answers(now, {}), Answers(before, {}))
    assert ingredient.distillation_loss(compared, ON, 1).item() == pytest.approx(math.log(2), rel=1e-6)
    loss = ingredient.batch_loss(now, torch.tensor([1]), seen, ON, 1)
    assert loss.item() == pytest.approx(3 * math.log(2), rel=1e-6)


def test_off_adds_nothing_to_any_logits() -> None:
    now, mask = HUGE.clone().requires_grad_(True), torch.ones(1, 6, dtype=torch.bool)
    compared = Comparison(torch.tensor([0]), mask, Answers(now, {}), Answers(HUGE.flip(1), {}))
    loss = icarl().distillation_loss(compared, OFF, 2)
    assert loss.item() == 0.0
    assert torch.equal(torch.autograd.grad(loss, now)[0], torch.zeros_like(now))


# ------------------------------------------------------------------------------------------------------ answers


def test_nearest_mean_by_hand() -> None:
    """Class 1 has exemplars at 0 and 90 degrees, of any length: its mean is at 45. Class 3 has one at 180. 80 degrees
    is 35 from the first, 100 from the second; squared distances are 2 - 2 cos."""
    held = Held(torch.tensor([[5.0, 0.0], [0.0, 0.2], [-3.0, 0.0]]), torch.tensor([1, 1, 3]))
    at = torch.tensor([[math.cos(math.radians(80)), math.sin(math.radians(80))], [-2.0, 0.1]])
    near = nearness_to_means(at, held, 5)
    assert near[0, 1].item() == pytest.approx(2 * math.cos(math.radians(35)) - 2, rel=1e-5)
    assert near[0, 3].item() == pytest.approx(2 * math.cos(math.radians(100)) - 2, rel=1e-5)
    assert near.argmax(1).tolist() == [1, 3]
    assert torch.isinf(near[:, [0, 2, 4]]).all()


@pytest.mark.parametrize("seed", range(5))
def test_nearest_mean_is_algorithm_1(seed: int) -> None:
    rng = np.random.default_rng(seed)
    features, kept = np.maximum(rng.normal(size=(9, 4)), 0), np.maximum(rng.normal(size=(20, 4)), 0)
    labels = rng.integers(6, size=20)
    held = Held(torch.from_numpy(kept).float(), torch.from_numpy(labels))
    near = nearness_to_means(torch.from_numpy(features).float(), held, 6).numpy()
    for x, feature in enumerate(features):
        for y in range(6):
            own = [unit(p) for p, label in zip(kept, labels, strict=True) if label == y]
            apart = unit(feature) - unit(np.mean(own, axis=0)) if own else np.array([np.inf])
            assert near[x, y] == pytest.approx(-float((apart**2).sum()), abs=1e-5)


# ------------------------------------------------------------------------------------------------------ exemplars


def test_first_of_each_by_hand() -> None:
    assert first_of_each(np.array([2, 0, 2, 2, 0]), 1).tolist() == [0, 1]
    assert first_of_each(np.array([2, 0, 2]), 0).tolist() == []
    assert first_of_each(np.array([2, 0, 2]), 9).tolist() == [0, 1, 2]


def features_of(stream: Stream) -> Any:
    """Each example is its own feature."""
    return lambda indices: stream.x[torch.from_numpy(indices)].flatten(1).numpy()


def updated(ingredient: ICaRL, stream: Stream, buffer: Buffer, examples: Any, budget: float) -> Buffer:
    values = {"icarl_budget": budget}
    offered = ingredient.rank(buffer, examples, features_of(stream), values)
    return ingredient.update_buffer(buffer, offered, values, generator(0, "buffer"))


@pytest.mark.parametrize("budget", [0, 1, 3, 5, 6, 13, 31, 1000])
def test_lists_are_cut_at_their_end(budget: int) -> None:
    """m = K/t per class: with each task the older lists lose their end, and the new ones are by herding."""
    stream = small_stream()
    ingredient, buffer, lists = icarl(stream), EMPTY_BUFFER, dict[int, list[int]]()
    for number, task in enumerate(stream.tasks):
        m = budget // (2 * number + 2)
        for label in task.classes:
            mine = task.train[stream.y[task.train] == label]
            lists[label] = mine[herding(features_of(stream)(mine), 99)].tolist()
        lists = {label: kept[:m] for label, kept in lists.items()}
        old = buffer.indices.copy()
        new = updated(ingredient, stream, buffer, task.train, budget)
        assert np.array_equal(buffer.indices, old)
        buffer = new
        assert buffer.indices.tolist() == [index for kept in lists.values() for index in kept]
        assert len(buffer.indices) <= budget


def test_a_class_that_comes_again_is_chosen_anew_from_both() -> None:
    stream = small_stream(n_tasks=1, n_classes=3, n_train=60)
    ingredient, examples = icarl(stream), stream.tasks[0].train
    first = updated(ingredient, stream, EMPTY_BUFFER, examples[:30], 9)
    again = examples[30:][stream.y[examples[30:]] == 1]
    second = updated(ingredient, stream, first, again, 9)
    kept, labels = second.indices, stream.y[second.indices].tolist()
    assert labels == [0, 0, 0, 2, 2, 2, 1, 1, 1]
    old = first.indices[stream.y[first.indices].numpy() == 1]
    candidates = np.union1d(old, again)
    assert kept[6:].tolist() == candidates[herding(features_of(stream)(candidates), 3)].tolist()
    assert np.array_equal(kept[:6], first.indices[stream.y[first.indices].numpy() != 1])


def test_an_epoch_is_drawn_from_the_union_without_repetition() -> None:
    """40 examples and 10 exemplars: each is in 4 of 5 epochs."""
    order, buffer, counts = np.arange(40), Buffer(np.arange(100, 110), 0), np.zeros(110)
    ingredient = icarl()
    for epoch in range(500):
        mixed = ingredient.mix_in(order, 8, buffer, {"icarl_budget": 10.0}, generator(0, "mix", 1, epoch))
        assert len(mixed) == len(set(mixed)) == 40
        counts[mixed] += 1
    shares = counts[np.r_[:40, 100:110]] / 500
    assert np.abs(shares - 0.8).max() < 4.5 * math.sqrt(0.8 * 0.2 / 500)
    assert ingredient.mix_in(order, 8, EMPTY_BUFFER, {"icarl_budget": 10.0}, generator(0, "mix")) is order


# ------------------------------------------------------------------------------------------------------ whole runs


class PlainICaRL(PlainLoop):
    """A list of exemplars per class, a copy of the network, torch's sigmoid cross-entropy, one example at a time."""

    def start(self) -> None:
        self.exemplars: dict[int, list[int]] = {}

    def batches_of(self, number: int) -> list[NDArray[np.int64]]:
        examples, size = self.stream.tasks[number].train, int(self.values["batch_size"])
        orders = batches.orders([self.run], examples, number, int(self.values["epochs"]), size, [], {})[0]
        kept = [index for of_class in self.exemplars.values() for index in of_class]
        found = []
        for epoch, order in enumerate(orders):
            if kept:
                union = np.array([*order.tolist(), *kept])
                order = generator(self.run.seed, "mix", number, epoch).permutation(union)[: len(order)]
            found += [order[at : at + size] for at in range(0, len(order), size)]
        return found

    def train_task(self, number: int) -> None:
        self.before = copy.deepcopy(self.network)
        super().train_task(number)

    def batch_loss(self, indices: NDArray[np.int64], learned: int) -> Tensor:
        total = torch.zeros(())
        for index in indices.tolist():
            now = self.network(self.x[index : index + 1])[0]
            with torch.no_grad():
                q = torch.sigmoid(self.before(self.x[index : index + 1])[0] / float(self.values["icarl_temperature"]))
            for output in self.stream.tasks[learned - 1].classes:
                q[output] = float(output == int(self.stream.y[index]))
            seen = self.active(0, learned)
            total = total + nn.functional.binary_cross_entropy_with_logits(now[seen], q[seen], reduction="sum")
        return total / len(indices)

    def features(self, index: int) -> NDArray[np.float64]:
        noted = []
        head = self.network.get_submodule("head")
        with torch.no_grad(), head.register_forward_pre_hook(lambda _, inputs: noted.append(inputs[0][0])):
            self.network(self.x[index : index + 1])
        return unit(noted[0].double().numpy())

    def end_task(self, number: int, task: Task) -> None:
        m = int(self.values["icarl_budget"]) // len(self.active(0, number + 1))
        for label in task.classes:
            mine = [index for index in task.train.tolist() if int(self.stream.y[index]) == label]
            chosen, _ = algorithm_4(np.stack([self.features(index) for index in mine]), m)
            self.exemplars[label] = [mine[place] for place in chosen]
        self.exemplars = {label: kept[:m] for label, kept in self.exemplars.items()}

    def accuracies(self, learned: int, part: str = "test") -> list[float]:
        if not learned:
            return super().accuracies(learned, part)
        means = {y: unit(np.mean([self.features(p) for p in kept], axis=0)) for y, kept in self.exemplars.items()}
        found = []
        for task in self.stream.tasks:
            indices = getattr(task, part).tolist()
            apart = [{y: np.linalg.norm(self.features(x) - mean) for y, mean in means.items()} for x in indices]
            nearest = [min(of.items(), key=lambda pair: pair[1])[0] for of in apart]
            found.append(sum(y == int(self.stream.y[x]) for y, x in zip(nearest, indices, strict=True)) / len(indices))
        return found


@pytest.mark.parametrize("seed", range(3))
def test_a_whole_run_is_that_of_a_plain_loop(seed: int) -> None:
    """With SGD: a task's first gradient of the old outputs is zero up to rounding, of which Adam makes whole steps."""
    given: dict[str, Value] = {"optimizer": "sgd", "lr": 0.02, "epochs": 2, "icarl_budget": 13 + 7 * seed}
    run = RunSpec(0, seed, values_of(("icarl",), **given, icarl_temperature=1.0 + seed / 2))
    pack, plain = twins_agree(("icarl",), PlainICaRL, small_stream(seed=seed), run, "class-il", atol=5e-6)
    assert isinstance(plain, PlainICaRL)
    kept = [index for of_class in plain.exemplars.values() for index in of_class]
    buffer = pack.stack.buffers["icarl"][0]
    assert buffer.indices.tolist() == kept
    assert pack.records[0].stored_bytes == len(kept) * 36 * 4 + pack.context.layout.size * 4
    m = (13 + 7 * seed) // 6
    after_the_last = [row[2:] for row in pack.records[0].buffers if row[1] == 2]
    assert after_the_last == [(label // 2, label, m) for label in range(6)]


def test_a_whole_run_on_digits_is_that_of_a_plain_loop() -> None:
    given: dict[str, Value] = {"optimizer": "sgd", "lr": 0.02, "epochs": 2, "batch_size": 16, "icarl_budget": 30}
    run = RunSpec(0, 1, values_of(("icarl",), **given))
    twins_agree(("icarl",), PlainICaRL, few_digits(), run, "class-il", NETWORK, atol=1e-5)


@pytest.mark.parametrize("network", [None, CNN], ids=["mlp", "cnn"])
def test_predictions_are_those_that_were_scored(network: Any) -> None:
    chosen = {} if network is None else {"network": network}
    pack = make_pack(small_stream(), ("icarl",), **chosen)
    while not pack.done:
        pack.train_next_task()
        for number, task in enumerate(pack.stream.tasks):
            for one in (pack, restored(pack)):
                right = one.predictions(number)[0] == one.context.outputs.labels[torch.from_numpy(task.test)]
                assert float(right.double().mean()) == pack.records[0].test[-1][number]


def test_within_a_task_it_answers_as_if_the_task_ended_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """So the last look of a stop rule is at the scores of the evaluation that follows."""
    looks: list[tuple[int, list[float]]] = []
    original = EarlyStopping.check

    def spy(self: Any, theta: Any, state: Any, values: Any, scores: Tensor, task: int, number: int) -> Any:
        looks.append((task, scores.tolist()))
        return original(self, theta, state, values, scores, task, number)

    monkeypatch.setattr(EarlyStopping, "check", spy)
    monkeypatch.setattr(EarlyStopping, "looks_at_old", True)
    runs = (RunSpec(0, 0, values_of(("icarl", "early-stopping"), patience=99, epochs=1)),)
    stream = small_stream()
    looked_at = replace(stream, tasks=tuple(replace(task, steering=task.validation) for task in stream.tasks))
    pack = make_pack(looked_at, ("icarl", "early-stopping"), runs, network=CNN)
    pack.stack.vmappable = False  # so that the spy sees numbers
    finish(pack)
    first, last = dict(reversed(looks)), dict(looks)
    for task in range(3):
        assert last[task][: task + 1] == pack.records[0].validation[task + 1][: task + 1]
        if task:  # before its first step it is as the task before left it
            assert first[task][:task] == pack.records[0].validation[task][:task]


def test_curves_within_the_first_task_have_its_classes() -> None:
    pack = finish(make_pack(small_stream(), ("icarl",), curves=2, epochs=6))
    in_first = [score for task, _, _, score in pack.records[0].curves if task == 0]
    assert min(in_first) > 0.5
    assert len(in_first) == 2


def test_with_fewer_exemplars_than_classes_the_output_layer_answers() -> None:
    pack = make_pack(small_stream(), ("icarl",), icarl_budget=5)
    for m in (2, 1, 0):
        pack.train_next_task()
        assert len(pack.stack.buffers["icarl"][0].indices) == m * 2 * (len(pack.records[0].validation) - 1)
    logits = pack.context.lifted(
        pack.context.layout.unflatten(pack.stack.theta),
        pack.context.store[torch.from_numpy(pack.stream.tasks[2].test)],
        shared=True,
    )
    assert torch.equal(pack.predictions(2), logits.argmax(-1))


def test_a_first_task_that_was_trained_elsewhere_ends_alike() -> None:
    left: dict[str, bytes] = {}

    class Kept:
        def get(self, keys: Any) -> dict[str, bytes]:
            return {key: left[key] for key in keys if key in left}

        def put(self, contents: Any) -> None:
            left.update(contents)

    spec = make_pack(small_stream(), ("icarl",)).spec
    one, other = (finish(Pack(spec, small_stream(), first_tasks=Kept())) for _ in range(2))
    assert len(left) == 1
    assert_same(one, other)


# ------------------------------------------------------------------------------------------------------ beside others


@pytest.mark.parametrize("other", sorted(ICaRL.excludes))
def test_what_it_excludes_is_refused_with_the_reason(other: str) -> None:
    said = f"`icarl` and `{other}` do not go together: {ICaRL.excludes[other]}. Remove one of them."
    with pytest.raises(InputError, match=re.escape(said)):
        hypers_of(("icarl", other))
    assert other in registry


@pytest.mark.parametrize("value", [0.0, -2.0, "hot"])
def test_bad_temperatures(value: Value) -> None:
    with pytest.raises(InputError, match="`0 < icarl_temperature` must hold, but got icarl_temperature="):
        ICaRL.hypers[1].check(value, "space.yaml")


@pytest.mark.parametrize("value", [-1, 0.5, "many"])
def test_bad_budgets(value: Value) -> None:
    with pytest.raises(InputError, match="`0 <= icarl_budget, a whole number` must hold, but got icarl_budget="):
        ICaRL.hypers[0].check(value, "space.yaml")
