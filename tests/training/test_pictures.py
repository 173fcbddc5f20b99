"""Augmentation within training: the pictures of a run go by its seed alone, and nothing but training sees them."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cfsweep.config import NetworkConfig
from cfsweep.testing import finish, make_pack, small_stream
from cfsweep.testing.packs import CNN, assert_same, assert_same_outcome, outcomes, restored, varied_runs, weights
from cfsweep.testing.plain import PlainLoop
from cfsweep.training.engine.augment import Moves
from cfsweep.training.engine.feed import Feed
from cfsweep.training.engine.randomness import generator
from cfsweep.training.engine.store import Store
from cfsweep.training.ingredients import registry
from cfsweep.training.pack import Pack
from cfsweep.training.replay_draws import ReplayDraws
from cfsweep.training.spec import RunSpec
from cfsweep.training.streams import Stream
from tests.training.engine.test_augment import sliced

OWN = "tests.training.own_transforms"
LISTS = [("crop", "flip"), ("flip", f"{OWN}:jitter", "crop")]


def augmented(*names: str, **given: Any) -> Stream:
    return replace(small_stream(**given), augment=names)


def trained(stream: Stream, names: tuple[str, ...], runs: tuple[RunSpec, ...], network: NetworkConfig) -> Pack:
    """Its records alone would not tell much: with so few examples runs that differ may score alike."""
    return finish(make_pack(stream, names, runs, network=network, curves=1))


def in_turns() -> list[object]:
    """Each ingredient with each list; with every change one of the two, in turns."""
    pairs = itertools.product(enumerate(["", *registry]), enumerate(LISTS))
    return [
        pytest.param(kind, names, marks=() if number % 2 == place else pytest.mark.slow, id=f"{kind}-{'+'.join(names)}")
        for (number, kind), (place, names) in pairs
    ]


@pytest.mark.parametrize(("kind", "names"), in_turns())
def test_a_run_sees_the_same_pictures_alone_and_in_a_pack_and_when_it_is_restored(
    kind: str, names: tuple[str, ...]
) -> None:
    ingredients = (kind,) if kind else ()
    stream, runs = augmented(*names), varied_runs(ingredients, 4, epochs=2)
    together = make_pack(stream, ingredients, runs, curves=1)
    while not together.done:
        together.train_next_task()
        together = restored(together)
    assert_same(together, trained(stream, ingredients, runs, together.spec.network))
    for k, run in enumerate(runs):
        alone = trained(stream, ingredients, (run,), together.spec.network)
        assert_same_outcome(outcomes(alone)[0], outcomes(together)[k])
        torch.testing.assert_close(weights(alone)[0], weights(together)[k], rtol=1e-3, atol=1e-4)
    plain = trained(small_stream(), ingredients, runs, together.spec.network)
    assert not torch.equal(weights(plain), weights(together)), "augmentation changes nothing"


def test_so_does_a_network_called_for_one_run_after_the_other() -> None:
    stream, runs = augmented("crop", "flip"), varied_runs(("der++",), 3, epochs=2)
    together = trained(stream, ("der++",), runs, CNN)
    for k, run in enumerate(runs):
        alone = trained(stream, ("der++",), (run,), CNN)
        torch.testing.assert_close(weights(alone)[0], weights(together)[k], rtol=1e-3, atol=1e-4)


def test_a_dropped_neighbour_changes_no_picture() -> None:
    stream, runs = augmented("crop", "flip"), varied_runs(("er-ace",), 4, epochs=2)
    whole = trained(stream, ("er-ace",), runs, NetworkConfig(args={"hidden": [8]}))
    pack = make_pack(stream, ("er-ace",), runs, network=whole.spec.network, curves=1)
    pack.train_next_task()
    pack.drop([runs[0].key, runs[2].key])
    finish(pack)
    torch.testing.assert_close(weights(pack), weights(whole)[[1, 3]], rtol=1e-3, atol=1e-4)


class LoopOverExamples(PlainLoop):
    """Every example of every batch is padded, cut out and mirrored by itself, before it is standardised."""

    def batches_of(self, number: int) -> list[Any]:
        self.number, self.step = number, 0
        return super().batches_of(number)

    def batch_loss(self, indices: Any, learned: int) -> Tensor:
        size, n_train = int(self.values["batch_size"]), len(self.stream.tasks[self.number].train)
        per_epoch = -(-n_train // size)
        epoch, place = divmod(self.step, per_epoch)
        self.step += 1
        rng = generator(self.run.seed, "augment", self.number, epoch)
        down, across, mirrored = (rng.integers(low, 2, (per_epoch, size)) for low in (-1, -1, 0))  # 1 of 6 pixels
        raw = self.stream.x.numpy()[indices]
        pictures = [
            sliced(x, ("crop", "flip"), [down[place, k], across[place, k], mirrored[place, k]])
            for k, x in enumerate(raw)
        ]
        seen = (torch.from_numpy(np.stack(pictures)) - self.stream.shift) * self.stream.scale
        logits = self.network(seen)
        inactive = torch.ones_like(logits, dtype=torch.bool)
        for row, index in enumerate(indices):
            inactive[row, self.active(int(self.outputs.task_of[index]), learned)] = False
        return nn.functional.cross_entropy(logits.masked_fill(inactive, -torch.inf), self.outputs.labels[indices])


@pytest.mark.parametrize("seed", range(3))
def test_the_loop_trains_as_one_that_slices_each_example(seed: int) -> None:
    stream = augmented("crop", "flip", seed=seed)
    (run,) = varied_runs((), 1, epochs=3, batch_size=5)  # 22 examples: the last batch of an epoch has two
    run = replace(run, seed=seed)
    pack, twin = finish(make_pack(stream, (), (run,))), LoopOverExamples(stream, run)
    rows = twin.train()
    np.testing.assert_allclose(pack.records[0].test, rows, atol=1e-6)
    torch.testing.assert_close(weights(pack)[0], twin.theta(), rtol=1e-3, atol=1e-4)


def test_what_is_replayed_is_augmented_by_numbers_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[ReplayDraws, int, Tensor]] = []
    examples = ReplayDraws.examples

    def noted(self: ReplayDraws, step: int) -> Any:
        found = examples(self, step)
        seen.append((self, step, found.x))
        return found

    monkeypatch.setattr(ReplayDraws, "examples", noted)
    stream = augmented("crop", "flip")
    (run,) = varied_runs(("er-ace",), 1, epochs=2, batch_size=5)
    finish(make_pack(stream, ("er-ace",), (run,), scenario="class-il"))
    assert len(seen) == 2 * 2 * 5
    moves, changed = Moves(("crop", "flip"), (1, 6, 6)), 0
    for draws, step, x in seen:
        epoch, number = divmod(step, 5)
        drawn = moves.draw(generator(run.seed, "augment_drawn", draws.task, epoch), 5, 5)[number]
        assert draws.places is not None
        assert draws.indices is not None
        indices = draws.indices[0, draws.places[0, step]].numpy()
        for k, raw in enumerate(stream.x.numpy()[indices]):
            expected = (sliced(raw, ("crop", "flip"), drawn[k].tolist()) - stream.shift) * stream.scale
            np.testing.assert_allclose(x[0, k].numpy(), expected, rtol=1e-5, atol=1e-6)
            changed += not np.allclose(expected, (raw - stream.shift) * stream.scale)
    assert changed > 50


@pytest.mark.parametrize("kind", ["ewc", "icarl", "der++", "der++-online", "generative-replay", "early-stopping"])
def test_nothing_but_training_sees_them(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not evaluation, nor the Fisher information, nor herding, nor the logits of a buffer, nor the generator."""
    calls: list[int] = []
    fetched = Moves._fetched

    def counted(self: Moves, x: Tensor, *at: Tensor) -> Tensor:
        calls.append(x.shape[1])
        return fetched(self, x, *at)

    monkeypatch.setattr(Moves, "_fetched", counted)
    (run,) = varied_runs((kind,), 1, epochs=2, batch_size=5)
    pack = finish(make_pack(augmented("crop", "flip"), (kind,), (run,), curves=1))
    (steps,), per_task = [record.steps for record in pack.records], 10
    drawn_beside = {"der++": steps - per_task, "der++-online": steps - 1}.get(kind, 0)  # its first step draws nothing
    assert len(calls) == steps + drawn_beside
    assert steps == 3 * per_task or kind == "early-stopping"


@pytest.mark.parametrize("travels", [False, True])
def test_rows_that_part_within_the_first_task_go_on_with_their_pictures(
    travels: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the one row that they were had its examples fetched."""
    runs = tuple(replace(run, seed=3) for run in varied_runs(("packnet",), 3, epochs=2))
    stream = augmented("crop", "flip")
    monkeypatch.setattr(Store, "travels", travels)
    together = finish(make_pack(stream, ("packnet",), runs))
    for k, run in enumerate(runs):
        alone = finish(make_pack(stream, ("packnet",), (run,)))
        torch.testing.assert_close(weights(alone)[0], weights(together)[k], rtol=1e-3, atol=1e-4)


def test_joint_is_augmented_too() -> None:
    one = finish(make_pack(augmented("crop", "flip"), joint=True, epochs=2))
    other = finish(make_pack(small_stream(), joint=True, epochs=2))
    assert not torch.equal(weights(one), weights(other))


@pytest.mark.parametrize("names", [(), *LISTS], ids="+".join)
@pytest.mark.parametrize("kind", ["", "replay", "der++", "der++-online", "a-gem", "generative-replay"])
def test_examples_that_travel_to_the_device_are_the_same(
    kind: str, names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is one run, they are fetched before they are asked for."""
    ingredients, stream = (kind,) if kind else (), augmented(*names)
    there = trained(stream, ingredients, varied_runs(ingredients, 1), CNN)
    monkeypatch.setattr(Store, "travels", True)
    fetched = []
    at = Feed.at
    monkeypatch.setattr(Feed, "at", lambda self, step: fetched.append(step) or at(self, step))
    assert_same(trained(stream, ingredients, varied_runs(ingredients, 1), CNN), there)
    n_steps = there.records[0].steps
    own = {"der++": 2, "a-gem": 2}.get(kind, 1) * n_steps - (n_steps // 3 if kind in ("der++", "a-gem") else 0)
    assert len(fetched) == own
    fetched.clear()
    trained(stream, ingredients, varied_runs(ingredients, 2), CNN)
    assert not fetched, "rows of a stack see examples of their own"
